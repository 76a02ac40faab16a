/** What the figures were measured on. */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { findBun } from '../../cli/bun.ts';
import { MOSQUITTO, type Servers } from './servers.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  /** Runnable processes, averaged over the minute before the bench began: what else the machine did. */
  readonly loadBefore: number;
  readonly node: string;
  readonly openssl: string;
  readonly versions: Readonly<Record<string, string>>;
}

export function describeMachine(servers: Servers): Machine {
  const [first] = cpus();
  return {
    cpu: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    kernel: `Linux ${release()}`,
    loadBefore: loadavg()[0] as number,
    node: process.versions.node,
    openssl: process.versions.openssl ?? 'unknown',
    versions: {
      rollcall: manifestVersion('../../package.json'),
      aedes: manifestVersion('../../node_modules/aedes/package.json'),
      ...(servers.names.includes('rollcallOnBun') && { bun: findBun()?.version ?? 'unknown' }),
      ...(servers.names.includes('mosquitto') && { mosquitto: mosquittoVersion() }),
    },
  };
}

function manifestVersion(path: string): string {
  const manifest = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { readonly version: string };
  return manifest.version;
}

function mosquittoVersion(): string {
  const { stdout } = spawnSync(MOSQUITTO, ['-h'], { encoding: 'utf8', timeout: 10_000 });
  return /version (\S+)/.exec(stdout)?.[1] ?? 'unknown';
}
