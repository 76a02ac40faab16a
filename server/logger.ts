/** The only logger of the program. Redacts secrets by field name. Modules receive it and create child loggers. */

import { fstatSync } from 'node:fs';
import { escapeJson, standardError } from '@rollcall/output';
import { type Logger, pino } from 'pino';

/** Names of fields that hold secrets at any depth. A test sends secrets through every path and searches the output. */
const SECRET_FIELDS: ReadonlySet<string> = new Set([
  'secret',
  'password',
  'passphrase',
  'token',
  'tokenText',
  'key',
  'privateKey',
  'authorization',
  'operatorKey',
  'metricsKey',
  'pfx',
]);

const CENSORED = '[redacted]';

/** Deeper than any field of Rollcall. Values below it are not searched for secrets, so they are not written. */
const MAX_DEPTH = 6;

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/**
 * `json`: each line has its time. `journal`: no line has, and each begins with its priority (sd-daemon(3)). `auto`: `journal` where
 * standard error is a stream of journald.
 */
export type LogFormat = 'auto' | 'json' | 'journal';

export interface LogOptions {
  /** `json` unless it is given. */
  readonly format?: LogFormat;
  /** The variable JOURNAL_STREAM of the environment. */
  readonly journalStream?: string | undefined;
  /** Takes the lines with their levels of pino, in place of standard error: those of another thread. */
  readonly write?: ((line: string, level: number) => void) | undefined;
}

/** Priorities of syslog, by the level of pino. */
const PRIORITIES: Readonly<Record<number, string>> = {
  10: '<7>',
  20: '<7>',
  30: '<6>',
  40: '<4>',
  50: '<3>',
  60: '<2>',
};

/** Logs JSON lines to standard error, so that standard output stays free for results. Never waits for the reader of the stream. */
export function createLogger(level: LogLevel, { format = 'json', journalStream, write }: LogOptions = {}): Logger {
  const isJournal = format === 'journal' || (format === 'auto' && isJournalStream(journalStream));
  if (write === undefined) standardError.useAsLog({ isJournal });
  const family: WeakRef<Logger>[] = [];
  const log = pino(
    {
      onChild: (child) => remember(family, child),
      level,
      base: null,
      timestamp: isJournal ? false : pino.stdTimeFunctions.isoTime,
      // Wildcard paths of pino made a line eight times as expensive as `censored()`. Names without wildcards cost
      // nothing, and apply to the bindings of child loggers.
      redact: { paths: [...SECRET_FIELDS], censor: CENSORED },
      formatters: { level: (label) => ({ level: label }), bindings: censored, log: censored },
      serializers: { err: (error: Error) => censored(pino.stdSerializers.err(error) as unknown as Fields) },
    },
    destinationOf(write ?? (isJournal ? writeToJournal : writeToStandardError)),
  );
  families.set(log, family);
  if (isJournal) journalLogs.add(log);
  return log;
}

/** Child loggers by their root: each has a level of its own. */
const families = new WeakMap<Logger, WeakRef<Logger>[]>();

/** Above it, loggers that are gone are removed at each power of two. HTTP requests have loggers of their own, for a moment. */
const FAMILY_KEPT = 64;

function remember(family: WeakRef<Logger>[], child: Logger): void {
  family.push(new WeakRef(child));
  const isPowerOfTwo = (family.length & (family.length - 1)) === 0;
  if (family.length <= FAMILY_KEPT || !isPowerOfTwo) return;
  const living = family.filter((one) => one.deref() !== undefined);
  family.splice(0, family.length, ...living);
}

/** Changes the level of a logger that `createLogger` made, and of its children. Does nothing to other loggers. */
export function setLogLevel(log: Logger, level: LogLevel): void {
  const family = families.get(log);
  if (family === undefined) return;
  log.level = level;
  for (const child of family) {
    const found = child.deref();
    if (found !== undefined) found.level = level;
  }
}

/** Loggers whose lines have no time. */
const journalLogs = new WeakSet<Logger>();

/** The format of the lines of a logger, for a logger in another thread that writes to the same destination. */
export function logFormatOf(log: Logger): 'json' | 'journal' {
  return journalLogs.has(log) ? 'journal' : 'json';
}

/** Writes a line that the logger of another thread made to the destination of this one. */
export function writeLogLine(log: Logger, line: string, level: number): void {
  const destination = (log as unknown as Readonly<Record<symbol, LogDestination>>)[pino.symbols.streamSym];
  if (destination === undefined) return;
  destination.lastLevel = level;
  destination.write(line);
}

interface LogDestination {
  lastLevel?: number;
  write(line: string): void;
}

/** pino sets the level of the line that it is about to write. */
function destinationOf(write: (line: string, level: number) => void): LogDestination {
  const destination = {
    [Symbol.for('pino.metadata')]: true,
    lastLevel: 30,
    write: (line: string) => write(line, destination.lastLevel),
  };
  return destination;
}

function writeToStandardError(line: string): void {
  standardError.write(escapeJson(line));
}

function writeToJournal(line: string, level: number): void {
  standardError.write(`${PRIORITIES[level] ?? ''}${escapeJson(line)}`);
}

/** `named`: `device:inode` of the stream that systemd connected to journald; another stream may have replaced it since (systemd.exec(5)). */
function isJournalStream(named: string | undefined): boolean {
  if (named === undefined) return false;
  const { dev, ino } = fstatSync(2, { bigint: true });
  return named === `${dev}:${ino}`;
}

type Fields = Record<string, unknown>;

/** The same object when it holds no secret, otherwise a redacted copy: the object of the caller does not change. */
function censored(fields: Fields): Fields {
  return censoredAt(fields, 1);
}

function censoredAt(fields: Fields, depth: number): Fields {
  let copy: Fields | undefined;
  for (const name in fields) {
    const value = fields[name];
    const shown = SECRET_FIELDS.has(name) && value !== undefined ? CENSORED : shownValue(value, depth);
    if (shown === value) continue;
    copy ??= (Array.isArray(fields) ? [...fields] : { ...fields }) as Fields;
    copy[name] = shown;
  }
  return copy ?? fields;
}

/** Errors are redacted by their serializer. */
function shownValue(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Error || ArrayBuffer.isView(value)) return value;
  return depth === MAX_DEPTH ? '[too deep]' : censoredAt(value as Fields, depth + 1);
}
