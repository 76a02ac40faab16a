/** Secrets on a command line appear in `ps` and in shell histories, so each option also accepts `@FILE` or `-` (standard input). */

import { readFileSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';

const SECRET_MAX_BYTES = 4_096;

/** The text itself, the first line of a file for `@FILE`, or of standard input for `-`. */
export function readSecretArgument(argument: string, option: string): string {
  if (argument !== '-' && !argument.startsWith('@')) return argument;
  const source = argument === '-' ? 'standard input' : argument.slice(1);
  let content: Buffer;
  try {
    content = readFileSync(argument === '-' ? 0 : source);
  } catch (error) {
    throw new Problem('usage', {
      reason: `${option} could not be read from ${source}: ${(error as NodeJS.ErrnoException).code}`,
    });
  }
  if (content.length > SECRET_MAX_BYTES) {
    throw new Problem('usage', {
      reason: `${option}: expected at most ${SECRET_MAX_BYTES} bytes in ${source}, found ${content.length}`,
    });
  }
  const secret = content.toString('utf8').split('\n', 1)[0]?.trim() ?? '';
  if (secret === '')
    throw new Problem('usage', { reason: `${option}: expected a secret in the first line of ${source}` });
  return secret;
}
