/** Starts `rollcall-device`. Everything it does stands in main.ts, which a test can import without starting it. */

import { main } from './main.ts';

// SIGUSR1 opens Node's inspector, SIGUSR2 ends a process: neither is an order to the agent.
for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
