/**
 * Enrollment, renewal, first use and recovery in a process that kills itself before the n-th statement that it gives to
 * SQLite, COMMIT included; for `killed-issuance.test.ts`. Arguments: the data directory, n, and what `issuanceOrder` wrote.
 * Prints a line for each answer, as a device would have received it. Ends with 0 when there were fewer statements.
 */

import { writeSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { openKeptAuthority } from './testbed-authority.ts';
import { carryOut, type IssuanceOrder } from './testbed-issuance.ts';

const [, , data = '', step = '', order = ''] = process.argv;
let left = Number(step);
let isCounting = false;

const probe = new Database(':memory:');
const statement = Object.getPrototypeOf(probe.prepare('SELECT 1')) as Record<string, (...args: unknown[]) => unknown>;
probe.close();
for (const name of ['run', 'get', 'all']) {
  const real = statement[name] as (...args: unknown[]) => unknown;
  statement[name] = function counted(...args) {
    if (isCounting) left -= 1;
    if (isCounting && left === 0) process.kill(process.pid, 'SIGKILL');
    return real.apply(this, args);
  };
}

const issuance = await openKeptAuthority(join(data));
isCounting = true;
for await (const answer of carryOut(issuance, JSON.parse(order) as IssuanceOrder)) writeSync(1, `${answer}\n`);
isCounting = false;
await issuance.close();
