/**
 * Where the database is and how it is reached: a URL without secrets, and what files hold. Reads no files: what they hold comes
 * from functions, at each connection, so that files can be replaced while the server runs.
 */

import { isLoopbackHost, Problem, parseDecimal } from '@rollcall/protocol';

export interface PostgresHost {
  /** A name, an address without brackets, or the directory of a unix socket. */
  readonly host: string;
  readonly port: number;
}

export interface PostgresTlsMaterial {
  /** PEM; the authorities of the system without it. */
  readonly ca?: string | undefined;
  /** PEM, the chain leaf first, and its key. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export interface PostgresAddress {
  /** One or more; the primary is whichever of them accepts writes. */
  readonly hosts: readonly PostgresHost[];
  readonly database: string;
  readonly user: string;
}

export interface PostgresSettings extends PostgresAddress {
  /** For the password, at each connection; without it none is sent. */
  readonly password?: (() => string) | undefined;
  /**
   * For the certificates, at each connection; the server is verified against the host's name always. Undefined is plaintext, which
   * only loopback addresses and unix sockets may have.
   */
  readonly tls?: (() => PostgresTlsMaterial) | undefined;
  /** The schema of all tables (`search_path`); `rollcall` without it. */
  readonly schema?: string | undefined;
  /** Connections at most, of which writes leave two to reads; 10 without it. */
  readonly connections?: number | undefined;
  /** How many standbys have to confirm each commit, at least: a server that does not demand as many is refused. 0 without it. */
  readonly standbys?: number | undefined;
  /** Told of the host that is the primary: at the first connection, and after each failover. */
  readonly onPrimary?: ((address: PostgresHost) => void) | undefined;
  /** As `pg_stat_activity` shows it; `rollcall` without it. */
  readonly applicationName?: string | undefined;
  readonly timeouts?: Partial<PostgresTimeouts> | undefined;
}

/** Milliseconds. */
export interface PostgresTimeouts {
  /** Until a host has accepted a connection. */
  readonly connect: number;
  /** For one statement, by the server. */
  readonly statement: number;
  /** For the wait for one lock, by the server. */
  readonly lock: number;
  /**
   * For the next statement of a transaction, by the server, which then ends the session: shorter than the wait for a lock, so that others
   * wait out a client that is cut off.
   */
  readonly idle: number;
  /** Until the server confirms a COMMIT: it waits while the quorum of standbys is lost. The outcome is unknown after that. */
  readonly commit: number;
  /** For all tries of a transaction that failed before its COMMIT was sent, and for the wait for a connection. */
  readonly retry: number;
}

export const DEFAULT_TIMEOUTS: PostgresTimeouts = {
  connect: 3_000,
  statement: 30_000,
  lock: 5_000,
  idle: 2_000,
  commit: 30_000,
  retry: 10_000,
};

export const DEFAULT_SCHEMA = 'rollcall';
const SCHEMA = /^[a-z_][a-z0-9_]{0,39}$/;

const DEFAULT_PORT = 5432;
const HOSTS_AT_MOST = 16;
const URL_SHAPE = /^postgres(?:ql)?:\/\/(?:([^@/?#]*)@)?([^@/?#]+)\/([^@/?#]+)$/;
const HOST_SHAPE = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/;

/**
 * `postgres://user@host1,host2:5432/database`: a port that is missing is 5432, the user `rollcall`; a unix socket's directory is a host
 * whose slashes are written %2F. Throws Problem `config_invalid`, which repeats nothing of the URL, for it may hold a secret.
 */
export function parsePostgresUrl(text: string): PostgresAddress {
  if (!/^postgres(ql)?:\/\//.test(text)) throw invalid('expected a URL that begins with postgres://');
  if (/[?#]/.test(text)) {
    throw invalid('expected a URL without query and fragment; files and other settings are options beside it');
  }
  const [, user, hosts, database] = URL_SHAPE.exec(text) ?? [];
  if (hosts === undefined || database === undefined) {
    throw invalid('expected a URL of the form postgres://user@host1,host2:5432/database');
  }
  if (user?.includes(':')) {
    throw invalid(
      'expected a URL without a password; write it into a file of its own and name that as the password file',
    );
  }
  const found = hosts.split(',');
  if (found.length > HOSTS_AT_MOST) throw invalid(`expected at most ${HOSTS_AT_MOST} hosts`);
  return {
    hosts: found.map(parseHost),
    database: decoded(database),
    user: user === undefined || user === '' ? 'rollcall' : decoded(user),
  };
}

/** Throws Problem `config_invalid` for settings that would send something over a network without TLS, or that cannot be meant. */
export function checkPostgresSettings({ hosts, tls, schema, connections }: PostgresSettings): void {
  if (hosts.length === 0) throw invalid('expected a host');
  const remote = hosts.find(({ host }) => !isUnixSocket(host) && !isLoopbackHost(host));
  if (tls === undefined && remote !== undefined) {
    throw invalid(`expected TLS for ${remote.host}; only this machine is reached without it`);
  }
  if (schema !== undefined && !SCHEMA.test(schema)) {
    throw invalid('expected a schema of 1 to 40 of a-z 0-9 _, the first no digit');
  }
  if (connections !== undefined && !(Number.isInteger(connections) && connections >= 1 && connections <= 1000)) {
    throw invalid('expected 1 to 1000 connections');
  }
}

export function isSameHost(one: PostgresHost, other: PostgresHost): boolean {
  return one.host === other.host && one.port === other.port;
}

export function isUnixSocket(host: string): boolean {
  return host.startsWith('/');
}

function parseHost(text: string): PostgresHost {
  const [, address, name, port] = HOST_SHAPE.exec(text) ?? [];
  const host = address ?? (name === undefined ? undefined : decoded(name));
  const number = port === undefined ? DEFAULT_PORT : parseDecimal(port, 1, 65_535);
  if (host === undefined || host === '')
    throw invalid('expected hosts as name, address or [IPv6 address], each with :port');
  if (number === undefined) throw invalid('expected a port from 1 to 65535');
  return { host, port: number };
}

function decoded(text: string): string {
  try {
    const decoded = decodeURIComponent(text);
    if (!decoded.includes('\0')) return decoded;
  } catch {}
  throw invalid('expected percent-encoded UTF-8 without NUL');
}

function invalid(reason: string): Problem {
  return new Problem('config_invalid', { reason: `database URL: ${reason}` });
}
