import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StoredMessage } from '../telemetry/index.ts';
import {
  openTestConsole,
  START,
  send,
  sendAndWaitForHead,
  type TestConsole,
} from '../test/fixtures/console/test-console.ts';
import { findStreamStart, MAX_MISSED, type StreamSource, streamEvents } from './event-stream.ts';
import { liveBatch } from './live-feed.ts';

let fixture: TestConsole;
const open: IncomingMessage[] = [];
beforeEach(async () => {
  fixture = await openTestConsole();
});
afterEach(async () => {
  for (const response of open.splice(0)) response.destroy();
  await fixture.close();
});

const PATH = '/v1/telemetry/follow';

interface Message {
  readonly id: string | undefined;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into messages of every shape
  readonly data: any;
}

async function follow(lastEventId?: string, path = PATH, listener: 'unix' | 'tcp' = 'unix'): Promise<IncomingMessage> {
  const headers = {
    accept: 'text/event-stream',
    ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
    ...(listener === 'tcp' && { authorization: `Bearer ${fixture.operatorKey}` }),
  };
  const response = await sendAndWaitForHead(fixture, { listener, path, headers });
  open.push(response);
  return response;
}

/** The messages with data, until there are so many; the last id, as a browser keeps it. */
async function readEvents(response: IncomingMessage, count: number) {
  const events: Message[] = [];
  let [rest, lastId] = ['', ''];
  const reader = response.setEncoding('utf8')[Symbol.asyncIterator]();
  while (events.length < count) {
    const { done, value } = await reader.next();
    if (done) break;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop() as string;
    for (const block of blocks) {
      const fields = new Map(block.split('\n').map((line) => line.split(/: (.*)/s, 2) as [string, string]));
      lastId = fields.get('id') ?? lastId;
      const data = fields.get('data');
      if (data !== undefined) {
        events.push({ id: fields.get('id'), event: fields.get('event') ?? 'message', data: JSON.parse(data) });
      }
    }
  }
  return { events, lastId };
}

const idsOf = (events: readonly Message[]) => events.map(({ id }) => Number(id));
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const say = (count: number, device = 'dev-1', payload = '1') =>
  Promise.all(Array.from({ length: count }, () => fixture.say(device, 'temp', payload)));

describe('a stream of server-sent events', () => {
  it('begins with the next message, and its id is the position', async () => {
    await say(2);
    const response = await follow();
    expect(response.headers['content-type']).toBe('text/event-stream');
    await fixture.say('dev-1', 'temp', '{"c":1}');
    const { events } = await readEvents(response, 1);
    expect(events).toMatchObject([
      { id: '3', event: 'message', data: { position: 3, device: 'dev-1', payload: { c: 1 } } },
    ]);
  });

  it.each(['unix', 'tcp'] as const)(
    'that is resumed over %s continues with what was missed, in order and once, and then with what is stored',
    async (listener) => {
      await say(3);
      const first = await follow('0', PATH, listener);
      const { lastId } = await readEvents(first, 3);
      first.destroy();
      await say(2_500);
      const second = await follow(lastId, PATH, listener);
      await say(500);
      const { events } = await readEvents(second, 3_000);
      expect(idsOf(events)).toEqual(numbers(4, 3_003));
    },
  );

  it('gives a quiet reader a position, from which it resumes', async () => {
    await say(5);
    const quiet = await follow(undefined, `${PATH}?device=dev-2`);
    for await (const chunk of quiet) {
      expect(`${chunk}`).toBe('id: 5\n\n');
      break;
    }
    await fixture.say('dev-2', 'temp', '2');
    const { events } = await readEvents(await follow('5', `${PATH}?device=dev-2`), 1);
    expect(idsOf(events)).toEqual([6]);
  });

  it('of one device gets no missed message of another', async () => {
    await say(3);
    await say(2, 'dev-2');
    await say(1);
    await say(1, 'dev-2');
    const { events } = await readEvents(await follow('1', `${PATH}?device=dev-2`), 3);
    expect(idsOf(events)).toEqual([4, 5, 7]);
  });

  it.each(['9', 'abc', '-1', '1e3', ' '])(
    'with the unknown position "%s" states from where it continues',
    async (id) => {
      await say(3);
      const response = await follow(id);
      await say(1);
      const { events } = await readEvents(response, 2);
      const after = id === '9' ? { after: 9 } : {};
      expect(events[0]).toEqual({ id: '3', event: 'gap', data: { reason: 'unknown', ...after, continuesAfter: 3 } });
      expect(idsOf(events.slice(1))).toEqual([4]);
    },
  );

  it('with a position that was pruned states from where it continues', async () => {
    await say(3);
    fixture.clock.now = START + 3 * 86_400_000;
    await fixture.say('dev-1', 'temp', 'later', fixture.clock.now);
    await fixture.client.pruneTelemetry({ olderThanSeconds: 86_400 });
    const { events } = await readEvents(await follow('1'), 2);
    expect(events).toMatchObject([
      { id: undefined, event: 'gap', data: { reason: 'pruned', after: 1, continuesAfter: 3 } },
      { id: '4', event: 'message', data: { position: 4 } },
    ]);
    const { events: unharmed } = await readEvents(await follow('3'), 1);
    expect(idsOf(unharmed)).toEqual([4]);
  });

  it('that missed too much gets the oldest of it, and continues with the newest', async () => {
    await say(MAX_MISSED + 5);
    const response = await follow('2');
    const { events } = await readEvents(response, MAX_MISSED + 1);
    expect(idsOf(events.slice(0, MAX_MISSED))).toEqual(numbers(3, MAX_MISSED + 2));
    const [newest, sent] = [MAX_MISSED + 5, MAX_MISSED + 2];
    const data = { reason: 'too_many', after: sent, continuesAfter: newest };
    expect(events.at(-1)).toEqual({ id: `${newest}`, event: 'gap', data });
  });

  it('that is read slowly gets what was stored meanwhile from the journal', async () => {
    const payload = 'x'.repeat(65_536);
    await say(60, 'dev-1', payload);
    const response = await follow('0');
    response.pause();
    await say(40, 'dev-1', payload);
    const { events } = await readEvents(response, 100);
    expect(idsOf(events)).toEqual(numbers(1, 100));
  });

  it('misses nothing of a burst that is stored between its last look at the journal and its first live message', async () => {
    const { telemetry } = fixture;
    const view = ({ position }: StoredMessage) => ({ position, json: `"${'x'.repeat(65_536)}"` });
    await say(3);
    const bursts = [20, 2, 0];
    const source: StreamSource = {
      bounds: () => telemetry.bounds(),
      follow: (listener) => telemetry.follow(undefined, (message) => listener(liveBatch([view(message)]))),
      pages: async function* (after) {
        for await (const page of telemetry.pages({ after })) yield page.map(view);
        await say(bursts.shift() ?? 0);
      },
    };
    let text = '';
    const begun = Promise.withResolvers<void>();
    const send = (block: string | Buffer) => {
      text += block;
      if (`${block}`.startsWith('id: 25\n')) begun.resolve();
    };
    const flow = { send, drained: async () => {}, fail: begun.reject };
    const stop = streamEvents(source, await findStreamStart(source, { 'last-event-id': '1' }), flow);
    await begun.promise;
    stop();
    expect([...text.matchAll(/^id: (\d+)\ndata/gm)].map(([, id]) => Number(id))).toEqual(numbers(2, 25));
  });

  it('is not begun with a header that is too long', async () => {
    const headers = { accept: 'text/event-stream', 'last-event-id': '1'.repeat(4097) };
    expect((await send(fixture, { path: PATH, headers })).json).toMatchObject({ code: 'request_invalid' });
    expect(fixture.followers.count).toBe(0);
  });
});
