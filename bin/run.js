// Runs a Node program in place of this one: same streams, same signals, same exit code.

import { spawn } from 'node:child_process';
import { constants } from 'node:os';

export function runInPlace(node, args) {
  const child = spawn(node, args, { stdio: 'inherit' });
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  process.on('SIGINT', () => {}); // the terminal sends it to both; the child decides what it means
  child.on('error', (error) => {
    process.stderr.write(`rollcall: error: ${node} could not be started: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
