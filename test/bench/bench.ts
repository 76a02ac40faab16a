/** The resources of a row of the bench. */

import type { LoadGenerator } from './load-generator.ts';
import type { Sizes } from './options.ts';
import type { RunningServer, Servers } from './servers.ts';

export interface Bench {
  readonly sizes: Sizes;
  readonly servers: Servers;
  readonly load: LoadGenerator;
  /** Another load generator, with devices of its own. */
  newLoad(): LoadGenerator;
  /** A bootstrap token for many devices of a running server. */
  mint(socketPath: string): Promise<string>;
}

export async function repeat(times: number, act: () => Promise<void>): Promise<void> {
  for (let done = 0; done < times; done += 1) await act();
}

export async function startAll(servers: Servers): Promise<readonly RunningServer[]> {
  const running: RunningServer[] = [];
  for (const name of servers.names) running.push(await servers.start(name));
  return running;
}

export async function stopAll(running: readonly RunningServer[]): Promise<void> {
  for (const server of running) await server.stop();
}
