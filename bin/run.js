// Runs a program in place of this one: same streams, same signals, same exit code.

import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** Signals of supervisors, terminals and operators. SIGUSR1 has a listener so that Node does not open its inspector. */
const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];

/**
 * Replaces this process where Node can do that (22.15 and 23.11 can). An older Node starts a child and forwards signals;
 * with `ipc` the child has a channel to this process, which closes when this process ends. `asChild`: always start a child.
 */
export function runInPlace(program, args, { ipc = false, asChild = false } = {}) {
  if (!asChild && typeof process.execve === 'function') process.execve(program, [program, ...args], process.env);
  const child = spawn(program, args, { stdio: ipc ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit' });
  // A terminal sends some signals to both processes; the program treats a repeated signal within a moment as one.
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`rollcall: error: ${program} could not be started: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
