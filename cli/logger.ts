/** The program's one logger. What must never be written is declared here, once; rooms receive it and make children. */

import { type Logger, pino } from 'pino';

/** Field names that hold secrets wherever they stand. A test pushes secrets through every path and greps the output. */
const SECRET_FIELDS = [
  'secret',
  'password',
  'token',
  'tokenText',
  'key',
  'privateKey',
  'authorization',
  'operatorKey',
  'pfx',
];

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** Logs JSON lines to standard error, so that standard output stays free for results. */
export function createLogger(level: LogLevel): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`, `*.headers.${field}`]),
        censor: '[redacted]',
      },
    },
    pino.destination({ dest: 2, sync: false, minLength: 0 }),
  );
}
