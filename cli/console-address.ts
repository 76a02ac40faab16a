/**
 * How a command reaches the server: by the operator socket of this machine, or over HTTPS with an API key or a certificate of an operator,
 * whom the audit then names. Flags have precedence over the environment.
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
  /** Files with the certificate of an operator, PEM, leaf first, and with its key. */
  readonly cert?: string;
  readonly key?: string;
  /** File with the roots of the fleet, PEM. */
  readonly serverCa?: string;
  readonly json?: boolean;
}

/** Problem `usage`, `private_key_exposed` or `server_unreachable` when the options name no server. */
export function consoleAddressOf(options: FleetOptions): ConsoleAddress {
  const { ROLLCALL_SERVER, ROLLCALL_SERVER_CA } = process.env;
  const namesSocket = options.socket !== undefined;
  if (namesSocket && options.server !== undefined) {
    throw new Problem('usage', { reason: 'expected one of --socket and --server' });
  }
  const isLocal = namesSocket || (options.server === undefined && options.data !== undefined);
  const server = options.server ?? (isLocal ? undefined : ROLLCALL_SERVER);
  const { apiKey, cert, key } = options;
  if (server === undefined) {
    const flag =
      apiKey !== undefined ? '--api-key' : cert !== undefined ? '--cert' : key !== undefined ? '--key' : undefined;
    if (flag !== undefined) throw new Problem('usage', { reason: `expected --server URL with ${flag}` });
    return { socketPath: socketPathOf(options) };
  }
  const credential = credentialOf(options);
  const ca = options.serverCa ?? ROLLCALL_SERVER_CA ?? rootInDataDirectory(options);
  return { url: consoleUrl(server), ...credential, ca: readSmallFile(ca) };
}

/** A flag has precedence over a variable of the environment of another kind. */
function credentialOf({ apiKey, cert, key }: FleetOptions): Pick<HttpsAddress, 'operatorKey' | 'certificate'> {
  const { ROLLCALL_API_KEY_FILE, ROLLCALL_CERT_FILE, ROLLCALL_KEY_FILE } = process.env;
  const isNamed = cert !== undefined || key !== undefined;
  if (apiKey !== undefined && isNamed) throw new Problem('usage', { reason: 'expected one of --api-key and --cert' });
  const keyFile = apiKey ?? (isNamed ? undefined : ROLLCALL_API_KEY_FILE);
  if (keyFile !== undefined) return { operatorKey: readKey(keyFile) };
  const [certFile, certKeyFile] = [cert ?? ROLLCALL_CERT_FILE, key ?? ROLLCALL_KEY_FILE];
  if (certFile !== undefined && certKeyFile !== undefined) {
    return { certificate: { cert: readSmallFile(certFile), key: readSmallFile(certKeyFile, { isSecret: true }) } };
  }
  if (certFile !== undefined || certKeyFile !== undefined) {
    throw new Problem('usage', { reason: 'expected --cert FILE and --key FILE, found one of them' });
  }
  throw new Problem('usage', { reason: 'expected --api-key FILE, or --cert FILE and --key FILE, with --server' });
}

type HttpsAddress = Extract<ConsoleAddress, { readonly url: string }>;

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
