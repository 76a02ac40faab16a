import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below the ports that an operating system gives to outgoing connections and to servers that ask for any (Linux: from 32768, others: from
 * 49152): none of these takes the port between this call and the start of the server, nor while it restarts.
 */
const LOWEST = 10_000;
const HIGHEST = 32_767;

const ATTEMPTS = 100;

const given = new Set<number>();

/**
 * A TCP port of 127.0.0.1 that nothing listens on: for a server that cannot choose one itself, or that has to be found there again after a
 * restart. Each call of one process returns another one. Rejects when none was found.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(LOWEST, HIGHEST + 1);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port of 127.0.0.1 was found between ${LOWEST} and ${HIGHEST}`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
