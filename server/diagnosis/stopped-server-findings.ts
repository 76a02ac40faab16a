/** Checks of a server that does not run: what would keep it from starting. They change nothing in the stores. */

import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { formatHostPort } from '@rollcall/protocol';
import type { Finding } from '../../console/index.ts';
import { LOCK_FILE, lockDirectory } from '../../storage/index.ts';
import type { Config } from '../config/config.ts';
import { sinkSettings } from '../config/sink-settings.ts';
import { EMBEDDED_STORE } from '../config/store-config.ts';
import { type DataDirectory, dataDirectoryAt } from '../data-directory.ts';
import { expectUsableDirectory } from '../migration/usable-store.ts';
import { storeInspections } from '../store-inspection.ts';
import {
  clockFinding,
  directoryFinding,
  diskFinding,
  failed,
  keyFilesFinding,
  ok,
  openFilesFinding,
  problemFinding,
  warning,
} from './machine-findings.ts';
import { stoppedNodeFindings } from './shared-store-findings.ts';

export interface StoppedServerOptions {
  readonly config: Config;
  /** Environment variables that hold the credentials of sinks. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly runtime: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

const MONTH_MS = 30 * 86_400_000;

export async function examineStoppedServer(options: StoppedServerOptions): Promise<readonly Finding[]> {
  const { config, version, runtime, now } = options;
  const data = dataDirectoryAt(config.data);
  const findings: Finding[] = [
    ok('version', `rollcall ${version} on ${runtime}`),
    failed(
      'server',
      `none answers at ${data.socket}`,
      'rollcall serve, or systemctl start rollcall; the checks below say what would keep it from starting',
    ),
    clockFinding(now),
    openFilesFinding(false),
    ...(await portFindings(config)),
  ];
  const directory = directoryFinding(data.path);
  findings.push(directory);
  const isShared = config.store.url !== EMBEDDED_STORE;
  if (isShared) findings.push(...(await stoppedNodeFindings(config)));
  if (directory.outcome === 'failed') return findings;
  if (!isShared) findings.push(...migrationFindings(data.path));
  const lock = lockFinding(data.path);
  findings.push(lock, keyFilesFinding(data), ...authorityFindings(data, now), await diskFinding(data.path));
  if (lock.outcome === 'ok' && !isShared) findings.push(...storeFindings(data, options));
  return findings;
}

/** Only of a directory whose fleet has moved away, or is being moved into it: a server refuses it. */
function migrationFindings(path: string): readonly Finding[] {
  try {
    expectUsableDirectory(path);
    return [];
  } catch (error) {
    return [problemFinding('migration', error)];
  }
}

/** Takes the lock for a moment: a server that starts just then waits for it. */
function lockFinding(path: string): Finding {
  if (!existsSync(join(path, LOCK_FILE))) return ok('lock', 'no server has used this directory yet');
  try {
    lockDirectory(path).release();
    return ok('lock', 'no process holds the data directory');
  } catch (error) {
    return problemFinding('lock', error);
  }
}

function authorityFindings({ authority }: DataDirectory, now: number): readonly Finding[] {
  if (!existsSync(authority)) return [ok('authority', 'there is none yet: the first start creates it')];
  const findings: Finding[] = [];
  for (const name of readdirSync(authority)
    .filter((each) => /^(root|issuing)[\w.-]*\.pem$/.test(each))
    .sort()) {
    const file = join(authority, name);
    try {
      const certificate = new X509Certificate(readFileSync(file));
      const end = certificate.validToDate.getTime();
      const found = `${name} is valid until ${certificate.validToDate.toISOString()}`;
      if (end <= now) findings.push(failed('authority', found, 'docs/ca.md describes how to replace a CA'));
      else if (end <= now + MONTH_MS)
        findings.push(warning('authority', found, 'rollcall ca rotate, once the server runs'));
      else findings.push(ok('authority', found));
    } catch (error) {
      findings.push(failed('authority', `${file}: ${(error as Error).message}`, 'restore it from a backup'));
    }
  }
  return findings;
}

function storeFindings(
  data: DataDirectory,
  { config, environment, now }: Pick<StoppedServerOptions, 'config' | 'environment' | 'now'>,
): readonly Finding[] {
  try {
    const sinks = sinkSettings(config.sinks, { environment, now: () => now });
    return storeInspections(data, sinks).map(([name, inspect]) => storeFinding(name, inspect));
  } catch (error) {
    return [problemFinding('sinks', error)];
  }
}

function storeFinding(name: string, inspect: () => void): Finding {
  try {
    inspect();
    return ok('stores', `this version can open the ${name}`);
  } catch (error) {
    return problemFinding('stores', error);
  }
}

async function portFindings({ enroll, mqtt, console, health, certificateStatus }: Config): Promise<readonly Finding[]> {
  const listeners = [
    ['EST', enroll],
    ['MQTT', mqtt],
    ['console', console],
    ...(mqtt.webSocket.listen ? [['WebSocket', mqtt.webSocket] as const] : []),
    ...(health.listen ? [['health', health] as const] : []),
    ...(certificateStatus.listen ? [['certificate status', certificateStatus] as const] : []),
  ] as const;
  const findings: Finding[] = [];
  for (const [name, { host, port }] of listeners) {
    const code = port === 0 ? undefined : await listenOnce(host, port);
    const address = formatHostPort(host, port);
    if (code === undefined) findings.push(ok('ports', `${name}: ${address} is free`));
    else if (code === 'EADDRINUSE')
      findings.push(
        failed('ports', `${name}: another program listens on ${address}`, 'stop it, or choose another port'),
      );
    else
      findings.push(
        failed(
          'ports',
          `${name}: this machine cannot listen on ${address}: ${code}`,
          'choose an address of this machine, or a port that this user may use',
        ),
      );
  }
  return findings;
}

/** Resolves with the error code, or undefined when the address is free. */
function listenOnce(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port }, () => server.close(() => resolve(undefined)));
  });
}
