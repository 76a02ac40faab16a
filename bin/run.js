// Runs a Node program in place of this one: same streams, same signals, same exit code.

import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** Those that a supervisor, a terminal or a person sends. SIGUSR1 has a listener so that Node opens no inspector for it. */
const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];

/**
 * Replaces this process where Node can do that (22.15 and 23.11 can). An older Node starts a child and forwards signals;
 * with `ipc` the child has a channel to this process, whose end tells it that this process is gone.
 */
export function runInPlace(node, args, { ipc = false } = {}) {
  if (typeof process.execve === 'function') process.execve(node, [node, ...args], process.env);
  const child = spawn(node, args, { stdio: ipc ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit' });
  // A terminal sends some of them to both; the program takes the same signal twice in a moment for one.
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`rollcall: error: ${node} could not be started: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
