/** The data directory of a node that joins: its key and password before the request is sent, the rest once it was answered. */

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type NodeRole, Problem } from '@rollcall/protocol';
import { stringify } from 'yaml';
import { formatDuration } from '../../server/config/index.ts';
import { type NodeFiles, nodeFilesIn } from '../../server/index.ts';
import type { JoinedFleet } from './join-fleet.ts';

export interface NodeSettings {
  readonly name: string;
  readonly roles: readonly NodeRole[];
  readonly enrollUrl: string;
  /** Address that the listeners of devices have; undefined: this machine alone. */
  readonly host: string | undefined;
  readonly publicHosts: readonly string[];
}

export interface PreparedNode {
  readonly key: string;
  readonly password: string;
  /** Returns the path of the configuration. Throws Problem `usage` for files that cannot be written: the fleet knows the node by then. */
  complete(joined: JoinedFleet, settings: NodeSettings): string;
  /** Removes what was made, after a refusal. */
  discard(): void;
}

const PASSWORD_BYTES = 32;
const AUTHORITY_FILE = /^(?:root|issuing)(?:-[0-9a-f]{8})?\.(?:key|uri|pem|crl)$/;

/** Makes key and password. Throws Problem `usage` for a directory that has something in it, or cannot be written. */
export function prepareNode(data: string): PreparedNode {
  const root = resolve(data);
  const files = nodeFilesIn(root);
  const isNew = !existsSync(root);
  return withWriteErrors(root, () => {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    const [first] = readdirSync(root);
    if (first !== undefined) {
      throw new Problem('usage', { reason: `expected an empty directory or none, found ${join(root, first)}` });
    }
    mkdirSync(files.directory, { mode: 0o700 });
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const password = randomBytes(PASSWORD_BYTES).toString('base64url');
    write(files.identity, key, 0o600);
    write(files.databasePassword, `${password}\n`, 0o600);
    return {
      ...{ key, password },
      complete: (joined, settings) =>
        withWriteErrors(root, () => complete(root, files, key, joined, settings), joinAgain(settings.name)),
      discard: () => {
        rmSync(files.directory, { recursive: true, force: true });
        if (isNew) rmSync(root, { recursive: true, force: true });
      },
    };
  });
}

function complete(root: string, files: NodeFiles, key: string, joined: JoinedFleet, settings: NodeSettings): string {
  const authority = Object.entries(joined.authorityFiles);
  if (authority.length > 0) mkdirSync(join(root, 'ca'), { mode: 0o700 });
  for (const [name, text] of authority) {
    if (!AUTHORITY_FILE.test(name)) throw new Problem('unavailable', { detail: 'the answer names an unknown file' });
    write(join(root, 'ca', name), text, /\.(key|uri)$/.test(name) ? 0o600 : 0o644);
  }
  const { name, enrollUrl } = settings;
  write(files.ca, joined.caPem, 0o644);
  write(files.about, `${JSON.stringify({ name, enrollUrl }, undefined, 2)}\n`, 0o644);
  if (joined.store.caPem !== undefined) write(files.databaseCa, joined.store.caPem, 0o644);
  writeFileSync(files.identity, key + joined.certificatePem, { flush: true });
  const config = join(root, 'rollcall.yaml');
  write(config, configText(root, files, joined, settings), 0o644);
  return config;
}

function configText(root: string, files: NodeFiles, joined: JoinedFleet, settings: NodeSettings): string {
  const { store, ports, trustDomain, retentionAge, authority } = joined;
  const { name, roles, host, publicHosts } = settings;
  const listening = (port: number) => ({ ...(host !== undefined && { host }), port });
  const config = {
    data: root,
    trustDomain,
    publicHosts,
    node: { name, roles },
    store: {
      url: store.url,
      ...(store.caPem !== undefined && { caFile: files.databaseCa }),
      passwordFile: files.databasePassword,
      ...{ standbys: store.standbys, schema: store.schema, connections: store.connections },
      ...(store.wakes !== undefined && { wakes: store.wakes }),
    },
    enroll: listening(ports.enroll),
    mqtt: listening(ports.mqtt),
    console: { port: ports.console },
    ...(retentionAge > 0 && { telemetry: { retention: { age: formatDuration(retentionAge) } } }),
    ...(authority?.home === 'pkcs11' && { certificates: { keys: { home: 'pkcs11' } } }),
  };
  return `# Written by "rollcall node join". rollcall.example.yaml explains every option.\n${stringify(config)}`;
}

function write(path: string, text: string, mode: number): void {
  writeFileSync(path, text, { mode, flag: 'wx', flush: true });
}

function joinAgain(name: string): string {
  return `run "rollcall node remove ${name}" at another node, then join with a new token and an empty directory`;
}

function withWriteErrors<T>(path: string, work: () => T, hint?: string): T {
  try {
    return work();
  } catch (error) {
    const { code, path: at = path } = error as NodeJS.ErrnoException;
    if (error instanceof Problem || code === undefined) throw error;
    throw new Problem('usage', { reason: `${at} could not be written: ${code}`, ...(hint !== undefined && { hint }) });
  }
}
