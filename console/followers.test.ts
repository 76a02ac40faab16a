import { on } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FOLLOWER_BUFFER, FOLLOWERS_AT_MOST } from './followers.ts';
import { openTestbed, START, send, sendAndWaitForHead, type Testbed } from './testbed.ts';

let bed: Testbed;
beforeEach(async () => {
  bed = await openTestbed();
});
afterEach(() => bed.close());

const follow = (path = '/v1/telemetry/follow') => sendAndWaitForHead(bed, { path });

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
    bed.telemetry.add('dev-1', 'temp', '{"c":1}');
    bed.telemetry.add('dev-2', 'note', 'a\nb');
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
    bed.telemetry.add('dev-1', 'temp', '1');
    bed.telemetry.add('dev-2', 'temp', '2');
    expect(await readLines(response, 1)).toMatchObject([{ device: 'dev-2', payload: 2 }]);
    response.destroy();
  });

  it('leaves no trace when it goes', async () => {
    const response = await follow();
    expect(bed.telemetry.followers.size).toBe(1);
    const gone = new Promise<void>((resolve) => {
      const forget = bed.telemetry.followers.delete.bind(bed.telemetry.followers);
      bed.telemetry.followers.delete = (follower) => {
        const known = forget(follower);
        resolve();
        return known;
      };
    });
    response.destroy();
    await gone;
    expect(bed.telemetry.followers.size).toBe(0);
  });

  it('that does not read is dropped with a last line, and nobody else is', async () => {
    const slow = await follow();
    slow.pause();
    const quick = await follow('/v1/telemetry/follow?device=dev-2');
    const payload = 'x'.repeat(65_536);
    let sent = 0;
    while (bed.telemetry.followers.size === 2 && sent < 100) {
      bed.telemetry.add('dev-1', 'temp', payload);
      sent += 1;
    }
    expect(sent * payload.length).toBeGreaterThan(FOLLOWER_BUFFER);
    expect(sent).toBeLessThan(100);
    bed.telemetry.add('dev-2', 'temp', '2');
    expect(await readLines(quick, 1)).toMatchObject([{ payload: 2 }]);
    quick.destroy();
    const lines = await readLines(slow, Number.POSITIVE_INFINITY);
    expect(lines.length).toBe(sent); // the message that found the buffer full became the last line
    expect(lines.at(-1)).toMatchObject({
      code: 'unavailable',
      detail: 'this follower reads too slowly and was dropped',
    });
  });

  it('hears that the server closes', async () => {
    const response = await follow();
    const [lines] = await Promise.all([readLines(response, 1), bed.console.close()]);
    expect(lines).toMatchObject([{ code: 'unavailable', detail: 'the server is closing' }]);
  });

  it('is refused when there are too many', async () => {
    const followers = await Promise.all(Array.from({ length: FOLLOWERS_AT_MOST }, () => follow()));
    expect((await send(bed, { path: '/v1/telemetry/follow' })).json).toMatchObject({ code: 'unavailable' });
    expect(bed.telemetry.followers.size).toBe(FOLLOWERS_AT_MOST);
    for (const response of followers) response.destroy();
  });
});

describe('the client', () => {
  /** Resolves when someone follows. */
  function followed(): Promise<void> {
    const follow = bed.telemetry.follow.bind(bed.telemetry);
    return new Promise((resolve) => {
      bed.telemetry.follow = (device, listener) => {
        resolve();
        return follow(device, listener);
      };
    });
  }

  it('follows until its signal', async () => {
    const stop = new AbortController();
    const messages = bed.client.followTelemetry('dev-1', stop.signal)[Symbol.asyncIterator]();
    const subscribed = followed();
    const first = messages.next();
    await subscribed;
    bed.telemetry.add('dev-1', 'note', 'warm \u2028 day');
    expect(await first).toMatchObject({ value: { device: 'dev-1', text: 'warm \u2028 day' } });
    const next = messages.next();
    stop.abort();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  it('stops when it is closed', async () => {
    const subscribed = followed();
    const first = bed.client.followTelemetry()[Symbol.asyncIterator]().next();
    await subscribed;
    await bed.client.close();
    expect(await first).toEqual({ done: true, value: undefined });
  });

  it('throws what ended it', async () => {
    const subscribed = followed();
    const first = bed.client.followTelemetry()[Symbol.asyncIterator]().next();
    const refused = expect(first).rejects.toMatchObject({ code: 'unavailable', detail: 'the server is closing' });
    await subscribed;
    await bed.console.close();
    await refused;
  });

  it('throws when there is no server to follow, and when the query is wrong', async () => {
    await expect(bed.client.followTelemetry('a b')[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'request_invalid',
    });
    await bed.console.close();
    await expect(bed.client.followTelemetry()[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'server_unreachable',
    });
  });
});
