/**
 * The agent's settings: a file of `name = value` lines, all of them optional, and its one parser. It reads no environment
 * and opens no network; a secret never stands in this file, only the path of one.
 */

import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  type DeviceId,
  NAME_RULE,
  parseDecimal,
  parseDeviceId,
  parseEnrollUrl,
  parseMqttUrl,
} from '@rollcall/protocol';
import type { MessageKeys } from '../open-outbox.ts';

/** Where the package's installer puts the settings. */
export const SETTINGS_FILE = '/etc/rollcall-device/device.conf';

const SOCKET_PATH_MAX = 107;
const FILE_MAX_BYTES = 64 * 1024;

const MESSAGE_KEYS = ['automatic', 'none'] as const satisfies readonly MessageKeys[];
const LOG_LEVELS = ['debug', 'info', 'warn', 'silent'] as const;
export type AgentLogLevel = (typeof LOG_LEVELS)[number];

export interface LoopbackAddress {
  readonly host: '127.0.0.1' | '::1';
  /** 0 asks the system for a free one. */
  readonly port: number;
}

export interface AgentSettings {
  /** Identity, clock and queue. Private to the agent's user. */
  readonly state: string;
  /** A file whose first line is the bootstrap token. Needed until the device is enrolled. */
  readonly tokenFile: string;
  /** The name asked for; undefined lets the server choose. */
  readonly id: DeviceId | undefined;
  /** Instead of the enroll server that the token named. */
  readonly enroll: string | undefined;
  /** Instead of the broker that the server announced. */
  readonly broker: string | undefined;
  /** The unix socket for applications on this machine. */
  readonly socket: string;
  /** The unix socket of the owner: enroll and renew. In a directory of mode 0700. */
  readonly controlSocket: string;
  /** Who may use the socket besides the agent's user: its group, or everyone on this machine. */
  readonly socketMode: number;
  /** Where plain MQTT is spoken with applications on this machine; undefined: nowhere. */
  readonly listen: LoopbackAddress | undefined;
  /** Bytes of waiting messages on disk, at most. */
  readonly queueBytes: number;
  /** Whether telemetry that its application named nothing is sent with a key. */
  readonly messageKeys: MessageKeys;
  /** Seconds an application has to answer a command. */
  readonly commandTimeout: number;
  readonly logLevel: AgentLogLevel;
}

const DEFAULTS: AgentSettings = {
  state: '/var/lib/rollcall-device',
  tokenFile: '/etc/rollcall-device/token',
  id: undefined,
  enroll: undefined,
  broker: undefined,
  socket: '/run/rollcall-device/device.sock',
  controlSocket: '/run/rollcall-device/control/agent.sock',
  socketMode: 0o660,
  listen: undefined,
  queueBytes: 64 * 1024 * 1024,
  messageKeys: 'automatic',
  commandTimeout: 30,
  logLevel: 'info',
};

/** What is wrong with the settings, where, and what was expected. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

type Written = { -readonly [Name in keyof AgentSettings]?: AgentSettings[Name] };

/** The value as it is meant, or what was expected of it. */
type Reading<T> = { readonly value: T } | { readonly expected: string };

const READERS: Readonly<Record<string, (text: string, settings: Written) => string | undefined>> = {
  state: setting('state', path),
  'token-file': setting('tokenFile', path),
  id: setting('id', (text) => {
    const value = parseDeviceId(text);
    return value === undefined ? { expected: `a device id of ${NAME_RULE}` } : { value };
  }),
  enroll: setting('enroll', (text) => {
    const value = parseEnrollUrl(text);
    return value === undefined ? { expected: 'https://HOST:PORT' } : { value };
  }),
  broker: setting('broker', (text) => {
    const value = parseMqttUrl(text);
    return value === undefined ? { expected: 'mqtts://HOST:PORT' } : { value };
  }),
  socket: setting('socket', socketPath),
  'control-socket': setting('controlSocket', socketPath),
  'socket-mode': setting('socketMode', (text) =>
    /^0?6[06][06]$/.test(text) ? { value: Number.parseInt(text, 8) } : { expected: '600, 660 or 666' },
  ),
  listen: setting('listen', loopback),
  'queue-bytes': setting('queueBytes', integer(65_536, 1_099_511_627_776)),
  'message-keys': setting('messageKeys', oneOf(MESSAGE_KEYS)),
  'command-timeout': setting('commandTimeout', integer(1, 3600)),
  'log-level': setting('logLevel', oneOf(LOG_LEVELS)),
};

/** Throws a SettingsError that names file, line and expectation. Lines that are empty or begin with # are passed over. */
export function parseSettings(text: string, file: string): AgentSettings {
  const written: Written = {};
  const seen = new Set<string>();
  for (const [index, line] of text.split('\n').entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const where = `${file}, line ${index + 1}`;
    const equals = trimmed.indexOf('=');
    if (equals < 1) throw new SettingsError(`${where}: expected name = value`);
    const name = trimmed.slice(0, equals).trim();
    const read = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
    if (read === undefined) {
      throw new SettingsError(
        `${where}: expected one of ${Object.keys(READERS).join(', ')}, found ${JSON.stringify(name.slice(0, 64))}`,
      );
    }
    if (seen.has(name)) throw new SettingsError(`${where}: expected ${name} once, found it again`);
    seen.add(name);
    const expected = read(trimmed.slice(equals + 1).trim(), written);
    if (expected !== undefined) throw new SettingsError(`${where}: ${name}: expected ${expected}`);
  }
  const settings = { ...DEFAULTS, ...written };
  if (written.socket === undefined || written.controlSocket !== undefined) return settings;
  const beside = join(dirname(written.socket), 'control/agent.sock');
  if (Buffer.byteLength(beside) <= SOCKET_PATH_MAX) return { ...settings, controlSocket: beside };
  throw new SettingsError(
    `${file}: expected control-socket, because ${beside} is longer than ${SOCKET_PATH_MAX} bytes`,
  );
}

/** The settings of a file; the defaults when the file that is always looked for isn't there. */
export function readSettings(file: string | undefined): AgentSettings {
  const path = file ?? SETTINGS_FILE;
  try {
    const { size } = statSync(path);
    if (size > FILE_MAX_BYTES) throw new SettingsError(`${path}: expected at most ${FILE_MAX_BYTES} bytes`);
    return parseSettings(readFileSync(path, 'utf8'), path);
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && file === undefined) return DEFAULTS;
    throw new SettingsError(`${path} could not be read: ${code ?? 'unknown'}`);
  }
}

function setting<Name extends keyof AgentSettings>(
  name: Name,
  read: (text: string) => Reading<AgentSettings[Name]>,
): (text: string, settings: Written) => string | undefined {
  return (text, settings) => {
    const reading = read(text);
    if ('expected' in reading) return reading.expected;
    (settings as Record<string, unknown>)[name] = reading.value;
    return undefined;
  };
}

/** The kernel's own bound (108 with the NUL at its end) would show as a connection that is refused. */
function socketPath(text: string): Reading<string> {
  return Buffer.byteLength(text) > SOCKET_PATH_MAX
    ? { expected: `a path of at most ${SOCKET_PATH_MAX} bytes` }
    : path(text);
}

function path(text: string): Reading<string> {
  return text.startsWith('/') ? { value: text } : { expected: 'an absolute path' };
}

function integer(least: number, most: number): (text: string) => Reading<number> {
  return (text) => {
    const value = parseDecimal(text, least, most);
    return value === undefined ? { expected: `a whole number from ${least} to ${most}` } : { value };
  };
}

function oneOf<T extends string>(words: readonly T[]): (text: string) => Reading<T> {
  return (text) => {
    const value = words.find((word) => word === text);
    return value === undefined ? { expected: words.join(', ') } : { value };
  };
}

/** Never another address: what comes in here speaks as this device, without proving anything. */
function loopback(text: string): Reading<LoopbackAddress> {
  const found = /^(127\.0\.0\.1|\[::1\]):(\d{1,5})$/.exec(text);
  const port = Number(found?.[2]);
  if (found === null || port > 65_535) return { expected: '127.0.0.1:PORT or [::1]:PORT, this machine and no other' };
  return { value: { host: found[1] === '[::1]' ? '::1' : '127.0.0.1', port } };
}
