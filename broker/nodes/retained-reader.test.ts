/** Retained messages on their way from the keeper to the sessions of a node. */

import { afterEach, expect, it, vi } from 'vitest';
import { TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import type { Message } from '../mqtt/message.ts';
import type { ChannelToKeeper } from './node-calls.ts';
import { RetainedPages, type RetainedPiece, type RetainedRequest } from './retained-pages.ts';
import { RetainedReader } from './retained-reader.ts';

let testBroker: TestBroker | undefined;
afterEach(async () => {
  await testBroker?.close();
  testBroker = undefined;
});

const ROOM = { messages: 10, bytes: 1_000 };
const messages = [{ topic: 'a' }] as unknown as readonly Message[];

/** A keeper that answers when a test says so. */
function heldKeeper() {
  const asked: { readonly request: RetainedRequest; readonly answer: (piece: RetainedPiece) => void }[] = [];
  const tell = vi.fn();
  const call = (_: string, request: RetainedRequest) =>
    new Promise<RetainedPiece>((answer) => void asked.push({ request, answer }));
  return { asked, tell, reader: new RetainedReader({ call, tell } as unknown as ChannelToKeeper) };
}

/** Everything that waits for nothing is done. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

it('a limited number of pieces is under way, and others follow in the order in which they were asked for', async () => {
  const { asked, reader } = heldKeeper();
  const filters = Array.from({ length: 30 }, (_, n) => `f${n}`);
  const done: string[] = [];
  const reading = filters.map(async (filter) => {
    for await (const _ of reader.read(filter, () => ROOM));
    done.push(filter);
  });
  await settled();
  expect(asked.map(({ request }) => request.filter)).toEqual(filters.slice(0, 8));
  for (let n = 0; n < filters.length; n += 1) {
    asked[n]?.answer({ messages, cursor: undefined });
    await settled();
    expect(asked.length - done.length).toBeLessThanOrEqual(8);
  }
  await Promise.all(reading);
  expect(asked.map(({ request }) => request.filter)).toEqual(filters);
});

it('the keeper is told of a reading that ends before its end, and forgets it', async () => {
  const pages = new RetainedPages(async function* () {
    for (;;) yield messages;
  });
  const reader = new RetainedReader({
    call: (_: string, request: RetainedRequest) => pages.read(request),
    tell: (_: string, cursor: number) => pages.end(cursor),
  } as unknown as ChannelToKeeper);
  for await (const piece of reader.read('#', () => ROOM)) {
    expect(piece).toEqual(messages);
    expect(pages.size).toBe(1);
    break;
  }
  expect(pages.size).toBe(0);
});

it('many subscribers to everything receive all of it, each piece as large as its client takes', async () => {
  const [topics, bytes, subscribers] = [40, 20_000, 20];
  testBroker = await TestBroker.start({
    nodes: 2,
    limits: { messagesPerSecond: 0, bytesPerSecond: 0, outgoing: 128 * 1_024 },
  });
  const { broker, nodes } = testBroker;
  const topicOf = (n: number) => `devices/dev-${n}/twin/desired`;
  for (let n = 0; n < topics; n += 1) await broker.retain(topicOf(n), Buffer.alloc(bytes, n));
  const [channel] = nodes.channels;
  const call = vi.spyOn(channel as (typeof nodes.channels)[0], 'call');
  const credentials = testBroker.enroll({ kind: 'service', name: 'readers' as never });
  const readers = await Promise.all(
    Array.from({ length: subscribers }, (_, n) =>
      (testBroker as TestBroker).session(credentials, { clientId: `readers-${n}` }, 0),
    ),
  );
  await Promise.all(readers.map((reader) => reader.subscribe({ topic: 'devices/+/twin/desired', qos: 0 })));
  for (const reader of readers) {
    const received = new Set<string>();
    while (received.size < topics) received.add((await reader.nextOf('publish'))?.topic ?? 'none');
    expect(received).not.toContain('none');
  }
  const asked = call.mock.calls.flatMap(([name], at) => (name === 'retained' ? [call.mock.results[at]?.value] : []));
  const pieces = (await Promise.all(asked)) as RetainedPiece[];
  for (const piece of pieces) {
    expect(piece.messages.reduce((sum, { payload }) => sum + payload.length, 0)).toBeLessThanOrEqual(64 * 1_024);
  }
});
