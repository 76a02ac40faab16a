import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { DeviceProxy } from './device-proxy.ts';

const cleanups: (() => unknown)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** A server that says back what it hears, and how many came to it. */
async function echoed() {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  const line = await DeviceProxy.open(() => ({ host: '127.0.0.1', port }));
  cleanups.push(() => {
    line.close();
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { line, sockets };
}

async function call(line: DeviceProxy): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: line.port });
  socket.on('error', () => {});
  cleanups.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** Also with an error, which `once` would throw. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

async function answerOf(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  const [bytes] = await once(socket, 'data');
  return String(bytes);
}

describe('the line of one device', () => {
  it('carries both ways', async () => {
    const { line } = await echoed();
    expect(await answerOf(await call(line), 'there and back')).toBe('there and back');
  });

  it('that is interrupted closes no connection, and destroys the open ones when it is restored', async () => {
    const { line, sockets } = await echoed();
    const socket = await call(line);
    await answerOf(socket, 'before');
    let isClosed = false;
    socket.once('close', () => {
      isClosed = true;
    });
    line.cut();
    socket.write('into the dark');
    const during = await call(line);
    expect(isClosed).toBe(false);
    const ends = [closed(socket), closed(during)];
    line.restore();
    await Promise.all(ends);
    expect(await answerOf(await call(line), 'after')).toBe('after');
    expect(sockets.length).toBe(2); // who came meanwhile was led nowhere
  });

  it('that is reset is gone on both sides at once', async () => {
    const { line, sockets } = await echoed();
    const socket = await call(line);
    await answerOf(socket, 'before');
    const ends = [closed(socket), closed(sockets[0] as Socket)];
    line.reset();
    await Promise.all(ends);
  });
});
