import { on, once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  openTestConsole,
  START,
  send,
  sendAndWaitForHead,
  type TestConsole,
} from '../test/fixtures/console/test-console.ts';
import { MAX_FOLLOWER_BACKLOG, MAX_FOLLOWERS } from './followers.ts';

let fixture: TestConsole;
beforeEach(async () => {
  fixture = await openTestConsole();
});
afterEach(() => fixture.close());

const follow = (path = '/v1/telemetry/follow') => sendAndWaitForHead(fixture, { path });

async function readLines(response: IncomingMessage, count: number): Promise<Record<string, unknown>[]> {
  const found: Record<string, unknown>[] = [];
  for await (const [line] of on(createInterface(response), 'line', { close: ['close'] })) {
    if (found.push(JSON.parse(line)) === count) break;
  }
  return found;
}

describe('a follower', () => {
  it('gets each message as one line from the moment its answer begins', async () => {
    const response = await follow();
    expect(response.headers['content-type']).toBe('application/x-ndjson');
    await fixture.say('dev-1', 'temp', '{"c":1}');
    await fixture.say('dev-2', 'note', 'a\nb');
    expect(await readLines(response, 2)).toEqual([
      {
        position: 1,
        device: 'dev-1',
        stream: 'temp',
        receivedAt: new Date(START).toISOString(),
        qos: 1,
        payload: { c: 1 },
      },
      { position: 2, device: 'dev-2', stream: 'note', receivedAt: new Date(START).toISOString(), qos: 1, text: 'a\nb' },
    ]);
    response.destroy();
  });

  it('of one device gets no message of another', async () => {
    const response = await follow('/v1/telemetry/follow?device=dev-2');
    await fixture.say('dev-1', 'temp', '1');
    await fixture.say('dev-2', 'temp', '2');
    expect(await readLines(response, 1)).toMatchObject([{ device: 'dev-2', payload: 2 }]);
    response.destroy();
  });

  it('leaves no trace when it goes', async () => {
    const response = await follow();
    expect(fixture.followers.count).toBe(1);
    const left = once(fixture.followers, 'left');
    response.destroy();
    await left;
    expect(fixture.followers.count).toBe(0);
  });

  it('that does not read is dropped with a last line, and no other follower is', async () => {
    const slow = await follow();
    slow.pause();
    const quick = await follow('/v1/telemetry/follow?device=dev-2');
    const payload = 'x'.repeat(65_536);
    const sent = (2 * MAX_FOLLOWER_BACKLOG) / payload.length;
    const dropped = once(fixture.followers, 'left');
    const stored = Array.from({ length: sent }, () => fixture.say('dev-1', 'temp', payload));
    await Promise.all([...stored, dropped]);
    expect(fixture.followers.count).toBe(1);
    await fixture.say('dev-2', 'temp', '2');
    expect(await readLines(quick, 1)).toMatchObject([{ payload: 2 }]);
    quick.destroy();
    const lines = await readLines(slow, Number.POSITIVE_INFINITY);
    expect(lines.length).toBeGreaterThan(MAX_FOLLOWER_BACKLOG / payload.length);
    expect(lines.length).toBeLessThan(sent);
    expect(lines.at(-1)).toMatchObject({
      code: 'unavailable',
      detail: 'this follower reads too slowly and was dropped',
    });
  });

  it('is told that the server closes', async () => {
    const response = await follow();
    const [lines] = await Promise.all([readLines(response, 1), fixture.console.close()]);
    expect(lines).toMatchObject([{ code: 'unavailable', detail: 'the server is closing' }]);
  });

  it('is refused when there are too many', async () => {
    const followers = await Promise.all(Array.from({ length: MAX_FOLLOWERS }, () => follow()));
    expect((await send(fixture, { path: '/v1/telemetry/follow' })).json).toMatchObject({ code: 'unavailable' });
    expect(fixture.followers.count).toBe(MAX_FOLLOWERS);
    for (const response of followers) response.destroy();
  });
});

describe('the client', () => {
  it('follows until its signal', async () => {
    const stop = new AbortController();
    const messages = fixture.client.followTelemetry({ device: 'dev-1' }, stop.signal)[Symbol.asyncIterator]();
    const subscribed = once(fixture.followers, 'followed');
    const first = messages.next();
    await subscribed;
    await fixture.say('dev-1', 'note', 'warm \u2028 day');
    expect(await first).toMatchObject({ value: { device: 'dev-1', text: 'warm \u2028 day' } });
    const next = messages.next();
    stop.abort();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  it('follows one stream, of all devices', async () => {
    const stop = new AbortController();
    const messages = fixture.client.followTelemetry({ stream: 'climate' }, stop.signal)[Symbol.asyncIterator]();
    const subscribed = once(fixture.followers, 'followed');
    const first = messages.next();
    await subscribed;
    await fixture.say('dev-1', 'note', '1');
    await fixture.say('dev-2', 'climate', '2');
    expect(await first).toMatchObject({ value: { device: 'dev-2', stream: 'climate' } });
    stop.abort();
  });

  it('stops when it is closed', async () => {
    const subscribed = once(fixture.followers, 'followed');
    const first = fixture.client.followTelemetry()[Symbol.asyncIterator]().next();
    await subscribed;
    await fixture.client.close();
    expect(await first).toEqual({ done: true, value: undefined });
  });

  it('throws what ended it', async () => {
    const subscribed = once(fixture.followers, 'followed');
    const first = fixture.client.followTelemetry()[Symbol.asyncIterator]().next();
    const refused = expect(first).rejects.toMatchObject({ code: 'unavailable', detail: 'the server is closing' });
    await subscribed;
    await fixture.console.close();
    await refused;
  });

  it('throws when there is no server to follow, and when the query is wrong', async () => {
    await expect(
      fixture.client.followTelemetry({ device: 'a b' })[Symbol.asyncIterator]().next(),
    ).rejects.toMatchObject({
      code: 'request_invalid',
    });
    await fixture.console.close();
    await expect(fixture.client.followTelemetry()[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'server_unreachable',
    });
  });
});
