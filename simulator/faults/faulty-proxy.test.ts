import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type NetworkConditions, startFaultyProxy } from './faulty-proxy.ts';

const cleanups: (() => unknown)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const GOOD: NetworkConditions = {
  latency: 0,
  jitter: 0,
  loss: 0,
  bandwidth: undefined,
  halfOpen: 0,
  resetHandshake: 0,
};

/** An echo behind a proxy with that line, and a client that is connected to it. */
async function echoOver(line: Partial<NetworkConditions>): Promise<Socket> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  const proxy = await startFaultyProxy({
    target: { host: '127.0.0.1', port },
    conditions: { ...GOOD, ...line },
    random: () => 0.5,
  });
  const client = connect(proxy.target);
  await once(client, 'connect');
  cleanups.push(
    () => server.close(),
    () => proxy.close(),
    () => client.destroy(),
  );
  return client;
}

async function roundTrip(client: Socket, bytes: Buffer): Promise<number> {
  const began = performance.now();
  let back = 0;
  client.write(bytes);
  for (;;) {
    const [chunk] = (await once(client, 'data')) as [Buffer];
    back += chunk.length;
    if (back >= bytes.length) return performance.now() - began;
  }
}

describe('a line', () => {
  it('carries everything, in order', async () => {
    const client = await echoOver({ jitter: 20 });
    const sent = Buffer.from(Array.from({ length: 50_000 }, (_, at) => at & 0xff));
    const back: Buffer[] = [];
    client.on('data', (chunk: Buffer) => back.push(chunk));
    client.end(sent);
    await once(client, 'end');
    expect(Buffer.concat(back).equals(sent)).toBe(true);
  });

  // Waiting less than a line makes wait would be a broken line; waiting longer only a busy machine.
  it.each([
    ['with latency', { latency: 40 }, 1, 79],
    ['with loss waits as for a retransmission', { loss: 1 }, 1, 399],
    ['of little bandwidth', { bandwidth: 10_000 }, 1_000, 199],
  ])('%s', async (_, line, bytes, atLeast) => {
    expect(await roundTrip(await echoOver(line), Buffer.alloc(bytes, 'x'))).toBeGreaterThan(atLeast);
  });

  it('that resets handshakes cuts the first flight short', async () => {
    const client = await echoOver({ resetHandshake: 1 });
    client.write(Buffer.alloc(300));
    const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
  });
});
