/** Secrets on a command line appear in `ps` and in shell histories, so each option also accepts `@FILE` or `-` (standard input). */

import { readFileSync, readSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';

const SECRET_MAX_BYTES = 4_096;

/** The text itself, the first line of a file for `@FILE`, or of standard input for `-`. */
export function readSecretArgument(argument: string, option: string): string {
  if (argument !== '-' && !argument.startsWith('@')) return argument;
  const source = argument === '-' ? 'standard input' : argument.slice(1);
  let content: Buffer;
  try {
    content = argument === '-' ? readStandardInput() : readFileSync(source);
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

const PAUSE_MS = 10;

/** Waits for its writer, also where another process has made the pipe one that does not: `readFileSync` would throw EAGAIN. */
function readStandardInput(): Buffer {
  const chunks: Buffer[] = [];
  let size = 0;
  while (size <= SECRET_MAX_BYTES) {
    const chunk = Buffer.alloc(SECRET_MAX_BYTES + 1);
    try {
      const count = readSync(0, chunk);
      if (count === 0) break;
      chunks.push(chunk.subarray(0, count));
      size += count;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EOF') break;
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
  return Buffer.concat(chunks);
}
