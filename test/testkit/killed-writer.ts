/** A child process that writes until it is killed, and what it reported as done before that. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/**
 * Runs `program` (a TypeScript file of this folder) under this Node and kills it with SIGKILL once it has reported
 * `lines` lines. Returns every whole line that it reported, those after the signal included.
 */
export async function writeUntilKilled(program: string, args: readonly string[], lines: number): Promise<string[]> {
  const script = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  let text = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    text += chunk;
    if (text.split('\n').length > lines) child.kill('SIGKILL');
  }
  const [code, signal] = await ended;
  if (signal !== 'SIGKILL') throw new Error(`expected the writer to be killed, found it ended with ${code ?? signal}`);
  return text.slice(0, text.lastIndexOf('\n')).split('\n');
}
