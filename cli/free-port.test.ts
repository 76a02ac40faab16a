import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { freePort } from './free-port.ts';

const RANGE = '/proc/sys/net/ipv4/ip_local_port_range';
/** That of macOS and Windows. */
const LOWEST_DYNAMIC = 49_152;

it('free ports are different, and none of them is given to an outgoing connection', async () => {
  const lowest = existsSync(RANGE) ? Number.parseInt(readFileSync(RANGE, 'utf8'), 10) : LOWEST_DYNAMIC;
  const ports = await Promise.all(Array.from({ length: 50 }, freePort));
  expect(new Set(ports).size).toBe(50);
  expect(ports.filter((port) => port >= lowest || port < 1024)).toEqual([]);
});

it('a server listens on a free port', async () => {
  const port = await freePort();
  const server = createServer().listen(port, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
});
