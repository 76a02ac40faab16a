/** The program's one logger. What must never be written is declared here, once; rooms receive it and make children. */

import { escapeJson, standardError } from '@rollcall/output';
import { type Logger, pino } from 'pino';

/** Field names that hold secrets wherever they stand. A test pushes secrets through every path and greps the output. */
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

/** Deeper than any field of ours; what lies below is not written, since nobody looked at it. */
const MAX_DEPTH = 6;

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** Logs JSON lines to standard error, so that standard output stays free for results. Never waits for its reader. */
export function createLogger(level: LogLevel): Logger {
  standardError.useAsLog();
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // pino's own wildcard paths made a line eight times as expensive as this walk; names without wildcards cost
      // nothing, and reach the fields that a child logger was made with.
      redact: { paths: [...SECRET_FIELDS], censor: CENSORED },
      formatters: { level: (label) => ({ level: label }), bindings: censored, log: censored },
      serializers: { err: (error: Error) => censored(pino.stdSerializers.err(error) as unknown as Fields) },
    },
    { write: (line: string) => standardError.write(escapeJson(line)) },
  );
}

type Fields = Record<string, unknown>;

/** The same object when it holds no secret, else a copy without: what is logged is not changed for its owner. */
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

/** Errors are left to their serializer. */
function shownValue(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Error || ArrayBuffer.isView(value)) return value;
  return depth === MAX_DEPTH ? '[too deep]' : censoredAt(value as Fields, depth + 1);
}
