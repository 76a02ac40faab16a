/**
 * A whole rotation in a process that kills itself before the n-th act that changes a file or the registry; for
 * `rotation.test.ts`. Arguments: the data directory, n. Ends with 0 when there were fewer.
 */

import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Registry } from '../registry/registry.ts';

const [, , data = '', step = ''] = process.argv;
let left = Number(step);
let isCounting = false;
const tick = (): void => {
  if (!isCounting) return;
  left -= 1;
  if (left === 0) process.kill(process.pid, 'SIGKILL');
};

const patched = fs as unknown as Record<string, (...args: never[]) => Promise<unknown>>;
for (const name of ['open', 'link', 'unlink', 'rename']) {
  const real = patched[name] as (...args: never[]) => Promise<unknown>;
  patched[name] = async (...args) => {
    tick();
    return real(...args);
  };
}
syncBuiltinESMExports();

const { openRegistry } = await import('../registry/open.ts');
const { openAuthority } = await import('./authority.ts');
const { TEST_LIFETIMES } = await import('./test-lifetimes.ts');
const log = pino({ level: 'silent' });
const registry = await openRegistry({ file: join(data, 'registry.db'), now: Date.now, log });
const WRITES = new Set([
  'addIssuers',
  'activateIssuer',
  'taintIssuer',
  'retireIssuer',
  'recordServerCertificate',
  'nextCrlNumber',
]);
const counted = new Proxy(registry, {
  get: (target, name: keyof Registry) => {
    const method = target[name] as (...args: unknown[]) => unknown;
    if (!WRITES.has(name)) return method;
    return (...args: unknown[]) => {
      tick();
      return method(...args);
    };
  },
});
const authority = await openAuthority({
  directory: join(data, 'ca'),
  trustDomain: 'fleet.example',
  hosts: ['localhost'],
  lifetimes: TEST_LIFETIMES,
  registry: counted,
  now: Date.now,
  log,
});
isCounting = true;
const old = authority.cas.active.id;
const id = await authority.rotation.prepare('issuing', 'operator/test');
await authority.rotation.activate(id, 0, 'operator/test');
await authority.rotation.taint(old, 'operator/test');
await authority.rotation.retire(old, 10, 'operator/test');
await authority.close();
await registry.close();
