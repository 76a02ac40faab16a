import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DeviceId } from '@rollcall/protocol';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HOSTILE_TEXT } from '../../test/behaviour/telemetry-properties.ts';
import { openTestJournal } from '../../test/fixtures/journal.ts';
import { startSink } from '../../test/fixtures/sink.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { positionOf } from '../position.ts';
import { EventDigest } from './event-digest.ts';
import { TargetDown } from './target.ts';
import { WebhookTarget, type WebhookTargetOptions } from './webhook-target.ts';

const SECRET = 'a secret of enough characters';

interface Received {
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly events: readonly { readonly id: string; readonly position: string; readonly data?: { count: number } }[];
}

interface Receiver {
  readonly url: string;
  readonly received: Received[];
  /** Of the events that were taken, in their order. */
  readonly counts: (number | undefined)[];
  readonly server: Server;
}

type Answers = (received: Received, response: ServerResponse) => void;

const takes: Answers = (_, response) => response.writeHead(204).end();

/** A real HTTP server; `answers` ends the response, or doesn't. */
async function receive(answers: Answers = takes, port = 0): Promise<Receiver> {
  const received: Received[] = [];
  const counts: (number | undefined)[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const one = { headers: request.headers, body, events: JSON.parse(body) };
    received.push(one);
    response.on('finish', () => {
      if (response.statusCode < 300)
        counts.push(...one.events.map((event: Received['events'][0]) => event.data?.count));
    });
    answers(one, response);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received, counts, server };
}

function targetOf(url: string, options: Partial<WebhookTargetOptions> = {}): WebhookTarget {
  return new WebhookTarget({
    url,
    source: 'telemetry',
    tls: 'none',
    trustDomain: 'rollcall.internal',
    name: 'hook',
    secret: () => SECRET,
    timeout: 5_000,
    now: () => 1_893_456_000_000,
    ...options,
  });
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

describe('a webhook as target', () => {
  it('gets batches of CloudEvents, signed with their time', async () => {
    const journal = await openTestJournal();
    await journal.fill(['dev.1'], 3);
    const receiver = await receive();
    const target = targetOf(receiver.url, { bearer: () => 'opensesame' });
    await (await startSink({ journal, target, directory: temporaryDirectory() })).caughtUp();
    const [{ headers, body, events }] = receiver.received as [Received];
    expect(headers).toMatchObject({
      'content-type': 'application/cloudevents-batch+json; charset=utf-8',
      authorization: 'Bearer opensesame',
      'webhook-id': 'hook-1-3',
      'webhook-timestamp': '1893456000',
    });
    const mac = createHmac('sha256', SECRET).update(`hook-1-3.1893456000.${body}`).digest('base64');
    expect(headers['webhook-signature']).toBe(`v1,${mac}`);
    expect(events[0]).toEqual({
      specversion: '1.0',
      id: '1893456000001-1',
      type: 'fleet.telemetry',
      source: '//rollcall.internal/telemetry',
      subject: 'devices/dev.1/telemetry/climate',
      time: '2030-01-01T00:00:00.001Z',
      datacontenttype: 'application/json',
      position: '1',
      qos: 1,
      data: { count: 0 },
    });
  });

  it('gets a payload that is no text as base64, and text as text', async () => {
    const journal = await openTestJournal();
    const message = { device: 'dev-1' as DeviceId, stream: 's', receivedAt: 0, qos: 1 } as const;
    await journal.accept({ ...message, payload: Buffer.from([0xff]) });
    await journal.accept({ ...message, payload: Buffer.from('hello') });
    const receiver = await receive();
    await (await startSink({ journal, target: targetOf(receiver.url), directory: temporaryDirectory() })).caughtUp();
    expect(receiver.received.flatMap(({ events }) => events)).toMatchObject([
      { datacontenttype: 'application/octet-stream', data_base64: '/w==' },
      { datacontenttype: 'text/plain; charset=utf-8', data: 'hello' },
    ]);
  });

  it('gets MQTT 5 properties as attributes that CloudEvents allow, whatever text they hold', async () => {
    const journal = await openTestJournal();
    const message = { device: 'dev-1' as DeviceId, stream: 's', receivedAt: 0, qos: 1 } as const;
    const userProperties = [
      ['unit', 'celsius'],
      ['unit', `${HOSTILE_TEXT}\u0085\ufffe`],
    ] as const;
    const send = (contentType: string, payload: string) =>
      journal.accept({ ...message, contentType, payload: Buffer.from(payload) });
    await send('application/vnd.climate+json; v=1', '{"celsius":21.5}');
    await send('application/json', 'not json');
    await send('text/plain', '21.5');
    await send(HOSTILE_TEXT, '21.5');
    await journal.accept({ ...message, payload: Buffer.from('1'), payloadFormatIndicator: 1, userProperties });
    const receiver = await receive();
    await (await startSink({ journal, target: targetOf(receiver.url), directory: temporaryDirectory() })).caughtUp();
    const events = receiver.received.flatMap((one) => one.events) as readonly Record<string, unknown>[];
    expect(events).toMatchObject([
      { datacontenttype: 'application/vnd.climate+json; v=1', data: { celsius: 21.5 } },
      { datacontenttype: 'application/json', data_base64: Buffer.from('not json').toString('base64') },
      { datacontenttype: 'text/plain', data_base64: Buffer.from('21.5').toString('base64') },
      { datacontenttype: 'application/json', data: 21.5 },
      { datacontenttype: 'application/json', data: 1, payloadformat: 1 },
    ]);
    expect(events.map(({ contenttype: text }) => text && JSON.parse(text as string))).toEqual([
      undefined,
      undefined,
      undefined,
      HOSTILE_TEXT,
      undefined,
    ]);
    expect(events.map(({ userproperties: text }) => text && JSON.parse(text as string))).toEqual([
      ...[undefined, undefined, undefined, undefined],
      userProperties.map(([name, value]) => ({ name, value })),
    ]);
    for (const event of events) {
      for (const [name, value] of Object.entries(event)) {
        expect(name).toMatch(name === 'data_base64' ? /./ : /^[a-z0-9]{1,20}$/);
        if (name !== 'data') expect(`${value}`).toMatch(/^[ -~]+$/);
      }
    }
  });

  it('may be away at the start and die in the middle', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 60);
    const first = await receive((_, response) => {
      if (first.received.length < 3) response.writeHead(200).end('ok');
      else response.destroy();
    });
    const { port } = first.server.address() as AddressInfo;
    first.server.close();
    const sink = await startSink({ journal, target: targetOf(first.url), directory: temporaryDirectory(), batch: 10 });
    expect((await sink.until(({ state }) => state === 'down')).reason).toMatch(/^ECONNREFUSED/);
    await new Promise<void>((resolve) => first.server.listen(port, '127.0.0.1', resolve));
    await sink.until(({ position, state }) => position === 20 && state === 'down');
    first.server.closeAllConnections();
    await new Promise((resolve) => first.server.close(resolve));
    const second = await receive(takes, port);
    await sink.caughtUp();
    expect([...first.counts, ...second.counts]).toEqual(upTo(60));
  });

  it('may refuse one message, which is put aside; those around it arrive in order', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 40);
    const receiver = await receive(({ events }, response) => {
      if (events.some(({ data }) => data?.count === 17)) response.writeHead(422).end('seventeen is no number');
      else response.writeHead(200).end();
    });
    const target = targetOf(receiver.url);
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), batch: 40 });
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 39, deadLettered: 1 });
    expect(receiver.counts).toEqual(upTo(40).filter((count) => count !== 17));
    expect(sink.deadLetters()[0]).toMatchObject({
      reason: 'expected an answer of 2xx, found 422: seventeen is no number',
      message: { position: 18 },
    });
  });

  it.each([
    [401, 'who are you', {}],
    [404, '', {}],
    [500, 'oops', {}],
    [302, '', { location: 'http://127.0.0.1:1/elsewhere' }],
  ])('that answers %i is down: nothing is thrown away, and no redirect followed', async (status, words, headers) => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 5);
    let isWell = false;
    const receiver = await receive((_, response) => {
      if (isWell) response.writeHead(200).end();
      else response.writeHead(status, headers).end(words);
    });
    const sink = await startSink({ journal, target: targetOf(receiver.url), directory: temporaryDirectory() });
    const { reason } = await sink.until(({ state }) => state === 'down');
    expect(reason).toBe(`expected an answer of 2xx, found ${status}${words === '' ? '' : `: ${words}`}`);
    isWell = true;
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 5, deadLettered: 0 });
    expect(receiver.counts).toEqual(upTo(5));
  });

  it('gets the only event of an interval as it is, and a summary before the first ones of several', async () => {
    const receiver = await receive();
    const target = targetOf(receiver.url, { source: 'events' });
    const event = (position: number, stream: string) => {
      const payload = Buffer.from(JSON.stringify({ id: `e${position}` }));
      return {
        position: positionOf(position),
        device: 'a',
        stream,
        receivedAt: position * 1_000,
        qos: 1,
        payload,
      } as const;
    };
    for (const events of [
      [event(1, 'cert.revoked')],
      Array.from({ length: 201 }, (_, n) => event(n + 2, n === 0 ? 'cert.revoked' : 'presence.connect_failed')),
    ]) {
      const digest = new EventDigest(0);
      digest.add(events);
      expect(await target.deliver(digest.messages, new AbortController().signal, digest)).toEqual([]);
    }
    expect(receiver.received.map(({ headers, events }) => [headers['webhook-id'], events.length])).toEqual([
      ['hook-1-1', 1],
      ['hook-2-201', 201],
    ]);
    const [summary, first] = receiver.received[1]?.events ?? [];
    expect(summary).toEqual({
      specversion: '1.0',
      id: 'hook-2-201',
      type: 'fleet.sink.summary',
      source: '//rollcall.internal/sinks/hook',
      time: '1970-01-01T00:03:22.000Z',
      datacontenttype: 'application/json',
      data: {
        from: '1970-01-01T00:00:02.000Z',
        to: '1970-01-01T00:03:22.000Z',
        events: 201,
        included: 200,
        types: { 'presence.connect_failed': 200, 'cert.revoked': 1 },
      },
    });
    expect(first?.id).toBe('e2');
  });

  it('that refuses a digest refuses it as a whole', async () => {
    const receiver = await receive((_, response) => response.writeHead(400).end('no'));
    const digest = new EventDigest(0);
    const event = { device: 'a', stream: 's', receivedAt: 1, qos: 1, payload: Buffer.from('{}') } as const;
    digest.add([1, 2, 3].map((position) => ({ ...event, position: positionOf(position) })));
    const target = targetOf(receiver.url, { source: 'events' });
    expect(await target.deliver(digest.messages, new AbortController().signal, digest)).toHaveLength(3);
    expect(receiver.received).toHaveLength(1);
  });

  it('is left alone as long as it asks', async () => {
    const target = targetOf(
      (await receive((_, response) => response.writeHead(429, { 'retry-after': '7' }).end())).url,
    );
    const message = { position: positionOf(1), device: 'a' as DeviceId, stream: 's', receivedAt: 0, qos: 1 } as const;
    const sent = target.deliver([{ ...message, payload: Buffer.from('1') }], new AbortController().signal);
    await expect(sent).rejects.toMatchObject({ retryAfter: 7_000 });
    await target.close();
  });

  it('that never answers is given up after its time, and one that answers at length is not read', async () => {
    const message = { position: positionOf(1), device: 'a' as DeviceId, stream: 's', receivedAt: 0, qos: 1 } as const;
    const batch = [{ ...message, payload: Buffer.from('1') }];
    const { signal } = new AbortController();
    const silentTarget = targetOf((await receive(() => {})).url, { timeout: 20 });
    await expect(silentTarget.deliver(batch, signal)).rejects.toThrow('expected an answer in 20 ms');
    const chatty = await receive((_, response) => void response.writeHead(200).end(Buffer.alloc(100_000)));
    await expect(targetOf(chatty.url).deliver(batch, signal)).rejects.toThrow(
      'expected an answer of at most 65536 bytes',
    );
  });

  it('that wants to speak another protocol is down, and is asked again', async () => {
    const message = { position: positionOf(1), device: 'a' as DeviceId, stream: 's', receivedAt: 0, qos: 1 } as const;
    const { url } = await receive((_, response) => {
      response.socket?.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n');
    });
    const target = targetOf(url, { timeout: 1_000 });
    const sent = target.deliver([{ ...message, payload: Buffer.from('1') }], new AbortController().signal);
    await expect(sent).rejects.toThrow(TargetDown);
    await target.close();
  });

  it('that is slow gets everything, one batch at a time', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a', 'b'], 30);
    let open = 0;
    let most = 0;
    const receiver = await receive((_, response) => {
      open += 1;
      most = Math.max(most, open);
      setImmediate(() =>
        setImmediate(() => {
          open -= 1;
          response.writeHead(200).end();
        }),
      );
    });
    const target = targetOf(receiver.url);
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), batch: 7 });
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 60 });
    expect(most).toBe(1);
    expect(receiver.received.flatMap(({ events }) => events.map(({ position }) => Number(position)))).toEqual(
      Array.from({ length: 60 }, (_, index) => index + 1),
    );
  });
});
