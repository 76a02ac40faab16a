import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { RefusalLog } from '../limits/index.ts';
import { Listener } from './listener.ts';

const log = pino({ level: 'silent' });

/** What a client reads until the end of its connection. */
async function answerTo(text: string): Promise<string> {
  const server = createServer({ headersTimeout: 20, connectionsCheckingInterval: 10 });
  const listener = new Listener(server, log, new RefusalLog({ perMinutePerSource: 0, now: Date.now }));
  await listener.open((one) => new Promise((resolve) => one.listen(0, '127.0.0.1', () => resolve())));
  onTestFinished(() => listener.close());
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.write(text);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

it.each(['', 'GET / HTTP/1.1\r\nHost'])(
  'a connection that sends no whole request in time gets 408, which browsers do not take for an answer: "%s"',
  async (text) => {
    expect(await answerTo(text)).toMatch(/^HTTP\/1\.1 408 /);
  },
);

it('what is no HTTP gets 400', async () => {
  expect(await answerTo('no HTTP\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
});
