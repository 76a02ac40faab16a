import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { realTimers } from '../schedule.ts';
import type { AgentDevice } from './agent-device.ts';
import { CommandQueue } from './command-queue.ts';
import { startHttpServer } from './http-server.ts';

const CONNECTIONS = 256;

async function connected(path: string): Promise<Socket> {
  const socket = createConnection(path);
  onTestFinished(() => {
    socket.destroy();
  });
  await once(socket, 'connect');
  return socket;
}

it('holds so many connections of applications at once, and closes one more unheard', async () => {
  const socket = join(temporaryDirectory(), 'device.sock');
  const commandQueue = new CommandQueue({ timeout: 1_000, schedule: realTimers });
  const device = {} as AgentDevice; // nothing is asked of it
  const server = await startHttpServer({
    socket,
    socketMode: 0o600,
    isControl: false,
    device,
    commandQueue,
    schedule: realTimers,
  });
  onTestFinished(() => server.close());
  const held: Socket[] = [];
  while (held.length < CONNECTIONS) held.push(await connected(socket));
  const heard: Buffer[] = [];
  const more = await connected(socket);
  more.on('data', (chunk: Buffer) => heard.push(chunk));
  await once(more, 'close');
  expect(heard).toEqual([]);
  const last = held.at(-1) as Socket;
  last.write('GET /v1/nothing HTTP/1.1\r\nHost: device\r\n\r\n');
  const [answer] = (await once(last, 'data')) as [Buffer];
  expect(String(answer)).toMatch(/^HTTP\/1.1 404 /);
});
