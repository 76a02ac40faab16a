import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type ListeningSockets, openListeningSockets } from './listening-sockets.ts';

const host = '127.0.0.1';
const opened: { close(): unknown }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close()));
});

async function open(options: {
  perTurn: number;
  port?: number;
  isJoining?: boolean;
  accepted?: (socket: net.Socket) => void;
}) {
  const sockets: ListeningSockets = await openListeningSockets({
    host,
    port: 0,
    accepted: (socket) => socket.destroy(),
    failed: () => {},
    ...options,
  });
  opened.push(sockets);
  return sockets;
}

/** How many connections each turn of the event loop accepts when `count` have come at once. */
async function acceptedByTurn(perTurn: number, count: number): Promise<readonly number[]> {
  const turns: number[] = [0];
  let left = count;
  const done = Promise.withResolvers<void>();
  const { port } = await open({
    perTurn,
    accepted: (socket) => {
      socket.destroy();
      turns.push((turns.pop() ?? 0) + 1);
      left -= 1;
      if (left === 0) done.resolve();
    },
  });
  const turn = () => {
    if (left === 0) return;
    turns.push(0);
    setImmediate(turn);
  };
  for (let n = 0; n < count; n += 1) {
    const socket = net.connect(port, host);
    socket.on('error', () => {});
  }
  turn();
  await done.promise;
  return turns;
}

describe('listening sockets', () => {
  it.runIf(process.platform === 'linux')('take in several connections in one turn of the event loop', async () => {
    const turns = await acceptedByTurn(8, 64);
    expect(turns.reduce((sum, each) => sum + each)).toBe(64);
    expect(Math.max(...turns)).toBeGreaterThan(1);
    expect(Math.max(...turns)).toBeLessThanOrEqual(8);
  });

  it('accept one connection per turn if there is one socket', async () => {
    const turns = await acceptedByTurn(1, 16);
    expect(Math.max(...turns)).toBe(1);
  });

  it('refuse a port in use, even if its user shares it', async () => {
    const taken = { code: 'address_in_use' };
    const { port } = await open({ perTurn: 8 });
    await expect(open({ perTurn: 8, port })).rejects.toMatchObject(taken);
    await expect(open({ perTurn: 1, port })).rejects.toMatchObject(taken);
    const stranger = net.createServer().listen(0, host);
    await once(stranger, 'listening');
    opened.push({ close: () => new Promise((resolve) => stranger.close(resolve)) });
    await expect(open({ perTurn: 8, port: (stranger.address() as AddressInfo).port })).rejects.toMatchObject(taken);
  });

  it.runIf(process.platform === 'linux')('join a port of this process, and share its connections', async () => {
    let count = 0;
    const both = Promise.withResolvers<void>();
    const takers = new Set<string>();
    const accepted = (name: string) => (socket: net.Socket) => {
      socket.destroy();
      takers.add(name);
      count += 1;
      if (takers.size === 2) both.resolve();
      else if (count < 1_000) connectOnce();
    };
    const { port } = await open({ perTurn: 2, accepted: accepted('first') });
    await open({ perTurn: 2, port, isJoining: true, accepted: accepted('second') });
    const connectOnce = () => net.connect(port, host).on('error', () => {});
    connectOnce();
    await both.promise;
  });

  it('are closed when every accepted connection is closed', async () => {
    const accepted = Promise.withResolvers<net.Socket>();
    const sockets = await openListeningSockets({
      host,
      port: 0,
      perTurn: 8,
      accepted: accepted.resolve,
      failed: () => {},
    });
    const client = net.connect(sockets.port, host).resume();
    const socket = await accepted.promise;
    let isClosed = false;
    const closing = sockets.close().then(() => {
      isClosed = true;
    });
    await expect(once(net.connect(sockets.port, host), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(isClosed).toBe(false);
    socket.end();
    await Promise.all([closing, once(client, 'close')]);
  });
});
