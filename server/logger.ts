/** The only logger of the program. Redacts secrets by field name. Modules receive it and create child loggers. */

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
  'pfx',
]);

const CENSORED = '[redacted]';

/** Deeper than any field of Rollcall. Values below it are not searched for secrets, so they are not written. */
const MAX_DEPTH = 6;

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** Logs JSON lines to standard error, so that standard output stays free for results. Never waits for the reader of the stream. */
export function createLogger(level: LogLevel): Logger {
  standardError.useAsLog();
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // Wildcard paths of pino made a line eight times as expensive as `censored()`. Names without wildcards cost
      // nothing, and apply to the bindings of child loggers.
      redact: { paths: [...SECRET_FIELDS], censor: CENSORED },
      formatters: { level: (label) => ({ level: label }), bindings: censored, log: censored },
      serializers: { err: (error: Error) => censored(pino.stdSerializers.err(error) as unknown as Fields) },
    },
    { write: (line: string) => standardError.write(escapeJson(line)) },
  );
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
