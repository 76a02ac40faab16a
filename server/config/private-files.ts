/** Secrets from files that only their owner can read, or from the environment; never from the settings. */

import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type { Secret } from '../../telemetry/index.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

const MAX_SECRET_BYTES = 65_536;

/** Reads the secret once to check it, and again at each connection. Undefined when neither file nor variable is named. */
export function namedSecret(
  what: string,
  file: string | undefined,
  variable: string | undefined,
  environment: Environment,
): Secret | undefined {
  if (file !== undefined && variable !== undefined)
    throw invalidFile(`${what}: expected a file or a variable, found both`);
  if (file === undefined && variable === undefined) return undefined;
  const read = () => {
    const text = file === undefined ? environment[variable as string] : readPrivateFile(what, resolve(file));
    const secret = text?.replace(/\r?\n$/, '') ?? '';
    if (secret !== '') return secret;
    throw invalidFile(
      `${what}: expected ${file === undefined ? `the variable ${variable} to be set` : `text in ${file}`}`,
    );
  };
  read();
  return read;
}

/** The text of a file that only its owner can read. */
export function readPrivateFile(what: string, file: string): string {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined || !found.isFile()) throw invalidFile(`${what}: expected a file at ${file}, found none`);
  if ((found.mode & 0o077) !== 0) {
    throw new Problem('private_key_exposed', {
      reason: `${what}: expected ${file} to be readable by its owner alone, found mode ${(found.mode & 0o777).toString(8)}`,
      hint: `chmod 600 ${file}`,
    });
  }
  if (found.size > MAX_SECRET_BYTES)
    throw invalidFile(`${what}: expected at most ${MAX_SECRET_BYTES} bytes in ${file}`);
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw invalidFile(`${what}: ${file} could not be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

export function invalidFile(reason: string): Problem {
  return new Problem('config_invalid', { reason });
}
