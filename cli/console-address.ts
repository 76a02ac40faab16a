/**
 * How a command reaches the server: by the operator socket of this machine, or over HTTPS with the API key of an operator, whom
 * the audit then names. Flags have precedence over the environment.
 */

import { existsSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type { ConsoleAddress } from '../console/client.ts';
import { CONSOLE_SOCKET } from '../server/config/index.ts';

const TRUST_BUNDLE = 'trust-bundle.pem';
/** Larger than any file of keys or roots. */
const MAX_FILE_BYTES = 1_048_576;

export interface FleetOptions {
  readonly data?: string;
  readonly socket?: string;
  /** `https://HOST:PORT` of a console. */
  readonly server?: string;
  /** File with an API key. */
  readonly apiKey?: string;
  /** File with the roots of the fleet, PEM. */
  readonly serverCa?: string;
  readonly json?: boolean;
}

/** Problem `usage`, `private_key_exposed` or `server_unreachable` when the options name no server. */
export function consoleAddressOf(options: FleetOptions): ConsoleAddress {
  const { ROLLCALL_SERVER, ROLLCALL_API_KEY_FILE, ROLLCALL_SERVER_CA } = process.env;
  const namesSocket = options.socket !== undefined;
  if (namesSocket && options.server !== undefined) {
    throw new Problem('usage', { reason: 'expected one of --socket and --server' });
  }
  const isLocal = namesSocket || (options.server === undefined && options.data !== undefined);
  const server = options.server ?? (isLocal ? undefined : ROLLCALL_SERVER);
  if (server === undefined) {
    if (options.apiKey !== undefined) throw new Problem('usage', { reason: 'expected --server URL with --api-key' });
    return { socketPath: socketPathOf(options) };
  }
  const keyFile = options.apiKey ?? ROLLCALL_API_KEY_FILE;
  if (keyFile === undefined) throw new Problem('usage', { reason: 'expected --api-key FILE with --server' });
  const ca = options.serverCa ?? ROLLCALL_SERVER_CA ?? rootInDataDirectory(options);
  return { url: consoleUrl(server), operatorKey: readKey(keyFile), ca: readSmallFile(ca) };
}

/** Whether a flag or the environment names a server. */
export function namesServer({ data, socket, server }: FleetOptions): boolean {
  const { ROLLCALL_DATA, ROLLCALL_SERVER } = process.env;
  return [data, socket, server, ROLLCALL_DATA, ROLLCALL_SERVER].some((name) => name !== undefined);
}

/** The data directory that a command names; without one ./data, and where that is missing the one of the server that a package installed. */
export function dataDirectoryOf({ data }: Pick<FleetOptions, 'data'>): string {
  const { ROLLCALL_DATA, ROLLCALL_SYSTEM_DATA } = process.env;
  const installed = existsSync('data/registry.db') ? undefined : ROLLCALL_SYSTEM_DATA;
  return resolve(data ?? ROLLCALL_DATA ?? (installed || './data'));
}

export function socketPathOf(options: FleetOptions): string {
  if (options.socket !== undefined) return resolve(options.socket);
  const data = dataDirectoryOf(options);
  const path = join(data, CONSOLE_SOCKET);
  const state = stateOf(path);
  if (state === 'there') return path;
  if (state === 'forbidden') {
    throw new Problem('server_unreachable', {
      reason: `this user may not enter ${data}, where the operator socket is`,
      hint: 'run the command as root or as the user of the server: "sudo rollcall ..."',
    });
  }
  throw new Problem('server_unreachable', {
    reason: `there is no operator socket in ${data}`,
    hint: 'start a server with "rollcall serve", or name the data directory or socket of one with --data DIR or --socket PATH',
  });
}

function stateOf(path: string): 'there' | 'missing' | 'forbidden' {
  try {
    statSync(path);
    return 'there';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'forbidden' : 'missing';
  }
}

function consoleUrl(text: string): string {
  const url = URL.parse(text);
  const isPlain = url !== null && url.pathname === '/' && `${url.search}${url.hash}${url.username}` === '';
  if (isPlain && url.protocol === 'https:') return url.origin;
  throw new Problem('usage', { reason: 'expected --server as https://HOST:PORT, the URL of a console' });
}

function rootInDataDirectory(options: FleetOptions): string {
  const path = join(dataDirectoryOf(options), TRUST_BUNDLE);
  if (existsSync(path)) return path;
  throw new Problem('usage', {
    reason: `expected --server-ca FILE with --server: there is no ${path}`,
    hint: `copy ${TRUST_BUNDLE} from the data directory of the server`,
  });
}

function readKey(path: string): string {
  const key = readSmallFile(path, { isSecret: true }).trim();
  if (/^[A-Za-z0-9_-]{1,128}$/.test(key)) return key;
  throw new Problem('usage', { reason: `expected one API key in ${path}` });
}

function readSmallFile(name: string, { isSecret = false } = {}): string {
  const path = resolve(name);
  let found: { readonly mode: number; readonly size: number; readonly text: string };
  try {
    const file = openSync(path, 'r');
    const { mode, size } = fstatSync(file);
    found = { mode, size, text: size > MAX_FILE_BYTES ? '' : readFileSync(file, 'utf8') };
  } catch (error) {
    throw new Problem('usage', { reason: `cannot read ${path}: ${(error as NodeJS.ErrnoException).code}` });
  }
  if (isSecret && (found.mode & 0o077) !== 0) {
    throw new Problem('private_key_exposed', {
      reason: `expected mode 600 on ${path}, found ${(found.mode & 0o777).toString(8)}`,
      hint: 'revoke the key if others may have read it: rollcall operator key revoke ID',
    });
  }
  if (found.size > MAX_FILE_BYTES) throw new Problem('usage', { reason: `expected a small file, found ${path}` });
  return found.text;
}
