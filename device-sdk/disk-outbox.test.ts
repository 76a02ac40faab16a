import { describe, expect, it } from 'vitest';
import { PowerCutFiles } from '../test/fixtures/power-cut-files.ts';
import { add, drain, MAX_BYTES, openQueue } from '../test/fixtures/queue-on-disk.ts';
import { DeviceError } from './device-error.ts';
import type { DiskOutbox } from './disk-outbox.ts';
import { DEFAULT_OUTBOX_LIMITS, type OutboxMessage } from './outbox.ts';
import type { StreamRules, TopicRules } from './outbox-streams.ts';

function steady(): PowerCutFiles {
  return new PowerCutFiles(Math.random);
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'kept',
    (error: DeviceError) => error.code,
  );

const NEWEST: TopicRules = { drop: 'newest', bytes: MAX_BYTES };

/** The topics under which what may go now is sent. */
function sent(outbox: DiskOutbox): string[] {
  const topics: string[] = [];
  for (let message = outbox.next(); message !== undefined; message = outbox.next()) topics.push(message.topic);
  return topics;
}

describe('a message in the queue on disk', () => {
  it('is sent only once it is stored', async () => {
    const outbox = openQueue(steady());
    const stored = add(outbox, 't', 'a');
    expect(outbox.next()).toBeUndefined();
    await stored;
    expect(outbox.next()?.payload.toString()).toBe('a');
  });

  it('is there again when the queue is opened again, until it was acknowledged', async () => {
    const files = steady();
    const first = openQueue(files);
    for (const text of ['a', 'b', 'c']) await add(first, 't', text);
    first.settle(first.next() as OutboxMessage);
    await first.close();
    const second = openQueue(files.reborn(0, 'loses cache'));
    expect(second.status).toMatchObject({ messages: 2, damaged: 0 });
    expect(drain(second)).toEqual(['b', 'c']);
  });

  it('keeps its name when it is sent by the next process', async () => {
    const files = steady();
    const first = openQueue(files);
    const { key } = await add(first, 't', 'a');
    expect(key).toMatch(/^1\.[\w-]{8}$/);
    expect((await add(first, 't', 'a')).key).not.toBe(key);
    await first.close();
    expect((await add(openQueue(files), 't', 'a')).key).not.toBe(key);
  });

  it('is sent under that name, the same at each try and by the next process, where the topic is to have one', async () => {
    const files = steady();
    const rulesOf = (topic: string) => ({ ...NEWEST, isKeyed: topic === 't' });
    const first = openQueue(files, { rulesOf });
    const { key } = await add(first, 't', 'a');
    await add(first, 'u', 'b');
    expect(sent(first)).toEqual([`t/${key}`, 'u']);
    first.connectionLost();
    expect(sent(first)).toEqual([`t/${key}`]); // alone, since nothing was acknowledged
    await first.close();
    const second = openQueue(files, { rulesOf });
    await add(second, 't', 'c');
    const [again, , newest] = sent(second);
    expect(again).toBe(`t/${key}`);
    expect(newest).toMatch(/^t\/3\.[\w-]{8}$/);
  });

  it('keeps the name that its application gave it, in the stream that it belongs to', async () => {
    const files = steady();
    const topic = 'devices/dev-7/telemetry/temp';
    const rulesOf = (asked: string) => ({ ...NEWEST, drop: 'keep-latest' as const, isKeyed: asked === topic });
    const first = openQueue(files, { rulesOf });
    expect((await add(first, `${topic}/mine`, 'a')).key).toBe('mine');
    await first.close();
    const second = openQueue(files, { rulesOf });
    expect(second.status.messages).toBe(1);
    await add(second, `${topic}/yours`, 'b');
    expect(sent(second)).toEqual([`${topic}/yours`]);
  });

  it('is another one when the queue was lost', async () => {
    const one = await add(openQueue(steady()), 't', 'a');
    const other = await add(openQueue(steady()), 't', 'a');
    expect([one.key, other.key].map((key) => key.split('.')[0])).toEqual(['1', '1']);
    expect(one.key).not.toBe(other.key);
  });

  it('tells when it was acknowledged, to those who ask before and to those who ask after', async () => {
    const outbox = openQueue(steady());
    const receipt = await add(outbox, 't', 'a');
    const before = receipt.acknowledged;
    expect(drain(outbox)).toEqual(['a']);
    await before;
    const later = await add(outbox, 't', 'b');
    expect(drain(outbox)).toEqual(['b']);
    await later.acknowledged;
  });

  it('is told of with an error when the device closes first, and is sent the next time', async () => {
    const files = steady();
    const outbox = openQueue(files);
    const receipt = await add(outbox, 't', 'a');
    const drained = codeOf(outbox.drained());
    await outbox.close();
    expect(await codeOf(receipt.acknowledged)).toBe('closed');
    expect(await drained).toBe('closed');
    expect(await codeOf(add(outbox, 't', 'b'))).toBe('closed');
    expect(drain(openQueue(files))).toEqual(['a']);
  });

  it('that the broker never acknowledges is given up, on disk as well', async () => {
    const files = steady();
    const outbox = openQueue(files, { limits: { ...DEFAULT_OUTBOX_LIMITS, sends: 2 } });
    const receipt = await add(outbox, 't', 'poison');
    for (let round = 0; round < 2; round += 1) {
      expect(outbox.next()?.payload.toString()).toBe('poison');
      outbox.connectionLost();
    }
    expect(await codeOf(receipt.acknowledged)).toBe('not_acknowledged');
    await outbox.close();
    expect(openQueue(files).status.messages).toBe(0);
  });

  it('of another device is not sent', async () => {
    const files = steady();
    const outbox = openQueue(files);
    await add(outbox, 'mine', 'a');
    await add(outbox, 'theirs', 'b');
    await outbox.close();
    const next = openQueue(files, { owns: (topic) => topic === 'mine' });
    expect(next.status).toMatchObject({ messages: 1, dropped: 1 });
    expect(drain(next)).toEqual(['a']);
  });
});

describe('a message of QoS 0', () => {
  it('touches no disk, and fails when the connection is lost', async () => {
    const files = steady();
    const outbox = openQueue(files);
    const sent = add(outbox, 't', 'a', 0);
    outbox.next();
    outbox.connectionLost();
    expect(await codeOf(sent)).toBe('connection_lost');
    expect(files.steps).toBe(0);
  });
});

describe('writing', () => {
  it('is one fsync for everything that was published in one turn', async () => {
    const files = steady();
    const outbox = openQueue(files, { segmentBytes: 100_000 });
    await add(outbox, 't', 'first');
    const before = files.steps;
    await Promise.all(Array.from({ length: 100 }, (_, n) => add(outbox, 't', String(n))));
    expect(files.steps - before).toBe(2); // one append, one sync
  });

  it('that fails refuses the message, and does not bring it back later', async () => {
    const files = steady();
    const outbox = openQueue(files);
    await add(outbox, 't', 'a');
    const create = files.create.bind(files);
    const full = () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }));
    files.create = async (name) => ({ ...(await create(name)), append: full });
    const long = 'x'.repeat(400); // fills the segment, so that the next message begins another
    await add(outbox, 't', long);
    const error = await add(outbox, 't', 'b').catch((thrown: DeviceError) => thrown);
    expect(error).toBeInstanceOf(DeviceError);
    expect(error).toMatchObject({ code: 'queue_unwritable', message: expect.stringContaining('ENOSPC') });
    files.create = create;
    await add(outbox, 't', 'c');
    expect(drain(openQueue(files.reborn(0, 'keeps cache')))).toEqual(['a', long, 'c']);
    expect(drain(outbox)).toEqual(['a', long, 'c']);
  });

  it('that fails half-way refuses the message, although it may be on disk', async () => {
    const files = steady();
    const create = files.create.bind(files);
    let isBroken = false;
    files.create = async (name) => {
      const file = await create(name);
      const sync = () => (isBroken ? Promise.reject(Object.assign(new Error('bad'), { code: 'EIO' })) : file.sync());
      return { ...file, sync };
    };
    const outbox = openQueue(files);
    await add(outbox, 't', 'a');
    isBroken = true;
    expect(await codeOf(add(outbox, 't', 'b'))).toBe('queue_unwritable');
    isBroken = false;
    await add(outbox, 't', 'c');
    expect(files.list()).toHaveLength(2); // no fsync is believed after one that failed
    await outbox.close();
    expect(drain(openQueue(files.reborn(0, 'loses cache')))).toEqual(['a', 'c']);
  });

  it('does not let the files grow for ever, whatever waits', async () => {
    const files = steady();
    const outbox = openQueue(files, {
      rulesOf: (topic) => ({ drop: topic === 'l' ? 'keep-latest' : 'newest', bytes: MAX_BYTES }),
    });
    await add(outbox, 't', 'early'); // waits in the oldest segment all the time
    for (let n = 0; n < 200; n += 1) await add(outbox, 'l', `reading ${n}`);
    const bytes = files.list().reduce((sum, name) => sum + files.read(name).length, 0);
    expect(bytes).toBeLessThan(2_000);
    await outbox.close();
    expect(drain(openQueue(files.reborn(0, 'loses cache')))).toEqual(['early', 'reading 199']);
  });
});

describe('a queue that is full', () => {
  const small = (drop: StreamRules['drop'], bytes = 200) => ({ bytes: 200, rulesOf: () => ({ drop, bytes }) });

  it('refuses what comes, under the rule "newest"', async () => {
    const outbox = openQueue(steady(), small('newest'));
    const results = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((text) => codeOf(add(outbox, 't', text)));
    expect(new Set(await Promise.all(results))).toEqual(new Set(['kept', 'outbox_full']));
    expect(drain(outbox).join('')).toBe('abcde');
    expect(await codeOf(add(outbox, 't', 'h'))).toBe('kept');
  });

  it('lets the oldest of the same stream go, under the rule "oldest"', async () => {
    const outbox = openQueue(steady(), small('oldest'));
    const first = await add(outbox, 't', 'a');
    await add(outbox, 'u', 'other');
    for (const text of ['b', 'c', 'd', 'e', 'f']) await add(outbox, 't', text);
    expect(await codeOf(first.acknowledged)).toBe('message_dropped');
    expect(outbox.status.dropped).toBe(2);
    expect(drain(outbox)).toEqual(['other', 'c', 'd', 'e', 'f']);
  });

  it('never drops what is in flight', async () => {
    const outbox = openQueue(steady(), small('oldest'));
    await add(outbox, 't', 'a');
    const a = outbox.next() as OutboxMessage;
    for (const text of ['b', 'c', 'd', 'e', 'f']) await add(outbox, 't', text);
    expect(a.payload.toString()).toBe('a');
    expect(outbox.settle(a)).toBe(true);
    expect(drain(outbox)).toEqual(['c', 'd', 'e', 'f']);
  });

  it('keeps a stream within its own share', async () => {
    const outbox = openQueue(steady(), {
      rulesOf: (topic) => ({ drop: 'newest', bytes: topic === 't' ? 40 : MAX_BYTES }),
    });
    expect(await codeOf(add(outbox, 't', 'a'))).toBe('kept');
    expect(await codeOf(add(outbox, 't', 'b'))).toBe('outbox_full');
    expect(await codeOf(add(outbox, 'u', 'c'))).toBe('kept');
  });

  it('keeps the latest only, full or not, under the rule "keep-latest"', async () => {
    const files = steady();
    const outbox = openQueue(files, small('keep-latest'));
    for (const text of ['a', 'b', 'c']) await add(outbox, 't', text);
    await add(outbox, 'u', 'd');
    expect(outbox.status).toMatchObject({ messages: 2, dropped: 2 });
    await outbox.close();
    expect(drain(openQueue(files))).toEqual(['c', 'd']);
  });

  it('counts again from what it finds on disk', async () => {
    const files = steady();
    const outbox = openQueue(files, small('newest'));
    for (const text of ['a', 'b', 'c', 'd', 'e']) await add(outbox, 't', text);
    await outbox.close();
    expect(await codeOf(add(openQueue(files, small('newest')), 't', 'f'))).toBe('outbox_full');
  });
});

describe('the replay of a backlog', () => {
  it('is paced, and what comes after it is not', async () => {
    let time = 1_000_000;
    const timers: { readonly at: number; readonly action: () => void }[] = [];
    const outbox = openQueue(steady(), {
      replayRate: 10,
      limits: { ...DEFAULT_OUTBOX_LIMITS, inFlight: 1_000 },
      now: () => time,
      schedule: (wait, action) => {
        timers.push({ at: time + wait, action });
        return () => {};
      },
    });
    for (let n = 0; n < 30; n += 1) await add(outbox, 't', String(n));
    const sent: { readonly text: string; readonly at: number }[] = [];
    const pump = () => {
      for (let message = outbox.next(); message !== undefined; message = outbox.next()) {
        sent.push({ text: message.payload.toString(), at: time - 1_000_000 });
        outbox.settle(message);
      }
    };
    outbox.onReady(pump);
    outbox.connectionOpened(0xffff);
    pump();
    for (let n = 30; n < 60; n += 1) await add(outbox, 't', String(n));
    for (let timer = timers.shift(); timer !== undefined; timer = timers.shift()) {
      time = timer.at;
      timer.action();
    }
    expect(sent.map(({ text }) => Number(text))).toEqual(Array.from({ length: 60 }, (_, n) => n));
    for (const second of [0, 1]) {
      const count = sent.filter(({ at }) => at >= second * 1_000 && at < (second + 1) * 1_000).length;
      expect(count).toBeGreaterThanOrEqual(9);
      expect(count).toBeLessThanOrEqual(13);
    }
    expect(new Set(sent.slice(30).map(({ at }) => at)).size).toBe(1);
  });
});

describe('priority', () => {
  const ranked = (bytes: number) => ({
    bytes,
    rulesOf: (topic: string): TopicRules => ({
      drop: topic === 'alarm' || topic === 'firm' ? 'newest' : 'oldest',
      bytes,
      priority: topic === 'alarm' ? 'high' : topic === 'noise' ? 'low' : 'normal',
    }),
  });

  it('lets messages overtake all that wait, keeps the order within a stream, and is the same after a restart', async () => {
    const files = steady();
    const outbox = openQueue(files, ranked(MAX_BYTES));
    for (const [topic, text] of [
      ['noise', 'n1'],
      ['t', 't1'],
      ['alarm', 'a1'],
      ['noise', 'n2'],
      ['alarm', 'a2'],
      ['t', 't2'],
    ]) {
      await add(outbox, topic as string, text as string);
    }
    await outbox.close();
    expect(drain(openQueue(files, ranked(MAX_BYTES)))).toEqual(['a1', 'a2', 't1', 't2', 'n1', 'n2']);
  });

  it('makes room in a full queue at the cost of lesser streams, the least first, and of none that hold on', async () => {
    const outbox = openQueue(steady(), ranked(250));
    for (const [topic, text] of [
      ['firm', 'f'],
      ['t', 'x'],
      ['noise', '1'],
      ['noise', '2'],
      ['t', 'y'],
      ['noise', '3'],
    ]) {
      await add(outbox, topic as string, text as string);
    }
    expect(outbox.status.dropped).toBe(0);
    for (const text of ['A', 'B', 'C', 'D', 'E', 'F']) {
      const code = await codeOf(add(outbox, 'alarm', text));
      expect(code).toBe(text === 'F' ? 'outbox_full' : 'kept');
    }
    expect(drain(outbox)).toEqual(['A', 'B', 'C', 'D', 'E', 'f']);
  });
});
