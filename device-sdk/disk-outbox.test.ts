import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PowerCutFiles } from '../test/testkit/power-cut-files.ts';
import { DeviceError } from './device-error.ts';
import { DiskOutbox, type DiskOutboxOptions, type StreamRules } from './disk-outbox.ts';
import { messageSize } from './journal-record.ts';
import { DEFAULT_OUTBOX_LIMITS, type OutboxMessage } from './outbox.ts';
import type { Receipt } from './receipt.ts';

const ROOM = 1_000_000;

function open(files: PowerCutFiles, options: Partial<DiskOutboxOptions> = {}): DiskOutbox {
  return DiskOutbox.open({
    files,
    limits: { ...DEFAULT_OUTBOX_LIMITS, inFlight: 4 },
    bytes: ROOM,
    segmentBytes: 400,
    replayRate: 0,
    rulesOf: () => ({ drop: 'newest', bytes: ROOM }),
    owns: () => true,
    now: () => 1_700_000_000_000,
    schedule: () => () => {},
    ...options,
  });
}

function steady(): PowerCutFiles {
  return new PowerCutFiles(Math.random);
}

function add(outbox: DiskOutbox, topic: string, text: string, qos: 0 | 1 = 1): Promise<Receipt> {
  return outbox.add({ topic, payload: Buffer.from(text), qos });
}

/** Everything that waits, sent and acknowledged in turn. */
function drain(outbox: DiskOutbox): string[] {
  const received: string[] = [];
  for (let message = outbox.next(); message !== undefined; message = outbox.next()) {
    received.push(message.payload.toString());
    outbox.settle(message);
  }
  return received;
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'kept',
    (error: DeviceError) => error.code,
  );

describe('a message in the queue on disk', () => {
  it('is sent only once it is stored', async () => {
    const outbox = open(steady());
    const stored = add(outbox, 't', 'a');
    expect(outbox.next()).toBeUndefined();
    await stored;
    expect(outbox.next()?.payload.toString()).toBe('a');
  });

  it('is there again when the queue is opened again, until it was acknowledged', async () => {
    const files = steady();
    const first = open(files);
    for (const text of ['a', 'b', 'c']) await add(first, 't', text);
    first.settle(first.next() as OutboxMessage);
    await first.close();
    const second = open(files.reborn(0, 'loses cache'));
    expect(second.status).toMatchObject({ messages: 2, damaged: 0 });
    expect(drain(second)).toEqual(['b', 'c']);
  });

  it('keeps its name when it is sent by the next process', async () => {
    const files = steady();
    const first = open(files);
    const { key } = await add(first, 't', 'a');
    expect(key).toMatch(/^[\w-]{16}$/);
    expect((await add(first, 't', 'a')).key).not.toBe(key);
    await first.close();
    expect((await add(open(files), 't', 'a')).key).not.toBe(key);
  });

  it('tells when it was acknowledged, to those who ask before and to those who ask after', async () => {
    const outbox = open(steady());
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
    const outbox = open(files);
    const receipt = await add(outbox, 't', 'a');
    const drained = codeOf(outbox.drained());
    await outbox.close();
    expect(await codeOf(receipt.acknowledged)).toBe('closed');
    expect(await drained).toBe('closed');
    expect(await codeOf(add(outbox, 't', 'b'))).toBe('closed');
    expect(drain(open(files))).toEqual(['a']);
  });

  it('that the broker never acknowledges is given up, on disk as well', async () => {
    const files = steady();
    const outbox = open(files, { limits: { ...DEFAULT_OUTBOX_LIMITS, sends: 2 } });
    const receipt = await add(outbox, 't', 'poison');
    for (let round = 0; round < 2; round += 1) {
      expect(outbox.next()?.payload.toString()).toBe('poison');
      outbox.takeBack();
    }
    expect(await codeOf(receipt.acknowledged)).toBe('not_acknowledged');
    await outbox.close();
    expect(open(files).status.messages).toBe(0);
  });

  it('of another device is not sent', async () => {
    const files = steady();
    const outbox = open(files);
    await add(outbox, 'mine', 'a');
    await add(outbox, 'theirs', 'b');
    await outbox.close();
    const next = open(files, { owns: (topic) => topic === 'mine' });
    expect(next.status).toMatchObject({ messages: 1, dropped: 1 });
    expect(drain(next)).toEqual(['a']);
  });
});

describe('a message of QoS 0', () => {
  it('touches no disk, and fails when the connection is lost', async () => {
    const files = steady();
    const outbox = open(files);
    const sent = add(outbox, 't', 'a', 0);
    outbox.next();
    outbox.takeBack();
    expect(await codeOf(sent)).toBe('connection_lost');
    expect(files.steps).toBe(0);
  });
});

describe('writing', () => {
  it('is one fsync for everything that was published in one turn', async () => {
    const files = steady();
    const outbox = open(files, { segmentBytes: 100_000 });
    await add(outbox, 't', 'first');
    const before = files.steps;
    await Promise.all(Array.from({ length: 100 }, (_, n) => add(outbox, 't', String(n))));
    expect(files.steps - before).toBe(2); // one append, one sync
  });

  it('that fails refuses the message, and does not bring it back later', async () => {
    const files = steady();
    const outbox = open(files);
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
    expect(drain(open(files.reborn(0, 'keeps cache')))).toEqual(['a', long, 'c']);
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
    const outbox = open(files);
    await add(outbox, 't', 'a');
    isBroken = true;
    expect(await codeOf(add(outbox, 't', 'b'))).toBe('queue_unwritable');
    isBroken = false;
    await add(outbox, 't', 'c');
    expect(files.list()).toHaveLength(2); // no fsync is believed after one that failed
    await outbox.close();
    expect(drain(open(files.reborn(0, 'loses cache')))).toEqual(['a', 'c']);
  });

  it('does not let the files grow for ever, whatever waits', async () => {
    const files = steady();
    const outbox = open(files, {
      rulesOf: (topic) => ({ drop: topic === 'l' ? 'keep-latest' : 'newest', bytes: ROOM }),
    });
    await add(outbox, 't', 'early'); // waits in the oldest segment all the time
    for (let n = 0; n < 200; n += 1) await add(outbox, 'l', `reading ${n}`);
    const bytes = files.list().reduce((sum, name) => sum + files.read(name).length, 0);
    expect(bytes).toBeLessThan(2_000);
    await outbox.close();
    expect(drain(open(files.reborn(0, 'loses cache')))).toEqual(['early', 'reading 199']);
  });
});

describe('a queue that is full', () => {
  const small = (drop: StreamRules['drop'], bytes = 200) => ({ bytes: 200, rulesOf: () => ({ drop, bytes }) });

  it('refuses what comes, under the rule "newest"', async () => {
    const outbox = open(steady(), small('newest'));
    const results = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((text) => codeOf(add(outbox, 't', text)));
    expect(new Set(await Promise.all(results))).toEqual(new Set(['kept', 'outbox_full']));
    expect(drain(outbox).join('')).toBe('abcde');
    expect(await codeOf(add(outbox, 't', 'h'))).toBe('kept');
  });

  it('lets the oldest of the same stream go, under the rule "oldest"', async () => {
    const outbox = open(steady(), small('oldest'));
    const first = await add(outbox, 't', 'a');
    await add(outbox, 'u', 'other');
    for (const text of ['b', 'c', 'd', 'e', 'f']) await add(outbox, 't', text);
    expect(await codeOf(first.acknowledged)).toBe('message_dropped');
    expect(outbox.status.dropped).toBe(2);
    expect(drain(outbox)).toEqual(['other', 'c', 'd', 'e', 'f']);
  });

  it('never drops what is in flight', async () => {
    const outbox = open(steady(), small('oldest'));
    await add(outbox, 't', 'a');
    const a = outbox.next() as OutboxMessage;
    for (const text of ['b', 'c', 'd', 'e', 'f']) await add(outbox, 't', text);
    expect(a.payload.toString()).toBe('a');
    expect(outbox.settle(a)).toBe(true);
    expect(drain(outbox)).toEqual(['c', 'd', 'e', 'f']);
  });

  it('keeps a stream within its own share', async () => {
    const outbox = open(steady(), { rulesOf: (topic) => ({ drop: 'newest', bytes: topic === 't' ? 40 : ROOM }) });
    expect(await codeOf(add(outbox, 't', 'a'))).toBe('kept');
    expect(await codeOf(add(outbox, 't', 'b'))).toBe('outbox_full');
    expect(await codeOf(add(outbox, 'u', 'c'))).toBe('kept');
  });

  it('keeps the latest only, full or not, under the rule "keep-latest"', async () => {
    const files = steady();
    const outbox = open(files, small('keep-latest'));
    for (const text of ['a', 'b', 'c']) await add(outbox, 't', text);
    await add(outbox, 'u', 'd');
    expect(outbox.status).toMatchObject({ messages: 2, dropped: 2 });
    await outbox.close();
    expect(drain(open(files))).toEqual(['c', 'd']);
  });

  it('counts again from what it finds on disk', async () => {
    const files = steady();
    const outbox = open(files, small('newest'));
    for (const text of ['a', 'b', 'c', 'd', 'e']) await add(outbox, 't', text);
    await outbox.close();
    expect(await codeOf(add(open(files, small('newest')), 't', 'f'))).toBe('outbox_full');
  });
});

describe('the replay of a backlog', () => {
  it('is paced, and what comes after it is not', async () => {
    let time = 1_000_000;
    const timers: { readonly at: number; readonly action: () => void }[] = [];
    const outbox = open(steady(), {
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
    outbox.watch(pump);
    outbox.begin();
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

/** What an application does: `publish` on one of two streams, or gives the event loop a turn; and what the broker does. */
type Deed =
  | { readonly do: 'publish'; readonly stream: 't' | 'u'; readonly size: number }
  | { readonly do: 'send' | 'acknowledge' | 'lose connection' | 'wait' };

const deeds: fc.Arbitrary<readonly Deed[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('publish' as const),
        stream: fc.constantFrom('t', 'u'),
        size: fc.nat(200),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constantFrom('send' as const, 'acknowledge', 'lose connection', 'wait') }),
    },
  ) as fc.Arbitrary<Deed>,
  { minLength: 5, maxLength: 40 },
);

/** The world outside one device, over several lives of it. */
class World {
  /** Published, in order, by stream. */
  readonly published: { readonly text: string; readonly stream: string }[] = [];
  /** `publish` resolved: from here on it is ours to lose. */
  readonly queued = new Set<string>();
  /** In the order in which the broker got them, repetitions included. */
  readonly received: string[] = [];

  async live(files: PowerCutFiles, program: readonly Deed[]): Promise<void> {
    const outbox = open(files);
    const inFlight: OutboxMessage[] = [];
    for (const deed of program) {
      if (files.isDark) break;
      if (deed.do === 'publish') {
        const text = `${this.published.length}:${'x'.repeat(deed.size)}`;
        this.published.push({ text, stream: deed.stream });
        add(outbox, deed.stream, text).then(
          () => this.queued.add(text),
          () => {},
        );
      } else if (deed.do === 'send') {
        const message = outbox.next();
        if (message === undefined) continue;
        this.received.push(message.payload.toString());
        inFlight.push(message);
      } else if (deed.do === 'acknowledge') {
        const message = inFlight.shift();
        if (message !== undefined) outbox.settle(message);
      } else if (deed.do === 'lose connection') {
        inFlight.length = 0;
        outbox.takeBack();
      } else await new Promise(setImmediate);
    }
    if (!files.isDark) await new Promise(setImmediate);
  }

  /** The last life: power stays on, and everything is sent. */
  judge(files: PowerCutFiles): void {
    const outbox = open(files);
    const last = drain(outbox);
    this.received.push(...last);
    expect(outbox.status).toMatchObject({ messages: 0, bytes: 0, damaged: 0 });
    expect(new Set(last).size, 'nothing twice in one life').toBe(last.length);
    const received = new Set(this.received);
    expect(
      [...this.queued].filter((text) => !received.has(text)),
      'nothing that was queued is lost',
    ).toEqual([]);
    const published = new Set(this.published.map(({ text }) => text));
    expect(
      this.received.filter((text) => !published.has(text)),
      'nothing is made up',
    ).toEqual([]);
    for (const stream of ['t', 'u']) {
      const ofStream = this.published.filter((message) => message.stream === stream).map(({ text }) => text);
      const firsts = [...received].filter((text) => ofStream.includes(text));
      expect(firsts, 'order within a stream').toEqual(ofStream.filter((text) => received.has(text)));
    }
  }
}

/** xorshift, for the choices of the file system. */
function chance(seed: number): () => number {
  let state = (seed | 1) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

describe('a power cut', () => {
  const program: readonly Deed[] = Array.from({ length: 24 }, (_, n): readonly Deed[] => [
    { do: 'publish', stream: n % 3 === 0 ? 'u' : 't', size: (n * 37) % 150 },
    { do: n % 4 === 1 ? 'send' : 'wait' },
    { do: n % 4 === 1 ? 'acknowledge' : 'send' },
    ...(n % 8 === 7 ? [{ do: 'lose connection' } as const] : []),
  ]).flat();

  it.each(['keeps cache', 'loses cache'] as const)(
    'at every single step loses, repeats and disorders nothing (%s)',
    async (cache) => {
      const whole = new PowerCutFiles(chance(1));
      await new World().live(whole, program);
      expect(whole.steps).toBeGreaterThan(40);
      for (let cutAt = 1; cutAt <= whole.steps; cutAt += 1) {
        const files = new PowerCutFiles(chance(cutAt * 7_919), cutAt);
        const world = new World();
        await world.live(files, program);
        world.judge(files.reborn(0, cache));
      }
    },
  );

  it('again and again, in any life, loses, repeats and disorders nothing', async () => {
    const life = fc.record({ program: deeds, cutAt: fc.integer({ min: 1, max: 60 }) });
    const cache = fc.constantFrom('keeps cache' as const, 'loses cache' as const);
    await fc.assert(
      fc.asyncProperty(
        fc.array(life, { minLength: 1, maxLength: 4 }),
        cache,
        fc.integer(),
        async (lives, kept, seed) => {
          const world = new World();
          let files = new PowerCutFiles(chance(seed), lives[0]?.cutAt);
          for (const [index, { program: deedsOfLife }] of lives.entries()) {
            await world.live(files, deedsOfLife);
            files = files.reborn(lives[index + 1]?.cutAt ?? 0, kept);
          }
          world.judge(files);
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('damage', () => {
  const recordLength = (text: string) => messageSize({ topic: 't', payload: Buffer.from(text) });

  async function filled() {
    const files = steady();
    const outbox = open(files);
    const texts: string[] = Array.from({ length: 12 }, (_, n) => `message ${n}`);
    for (const text of texts) await add(outbox, 't', text);
    return { files, texts };
  }

  it('of any single bit costs one message at most, and is counted', async () => {
    const { files, texts } = await filled();
    await fc.assert(
      fc.property(fc.nat(), fc.nat(), (where, bit) => {
        const hurt = files.reborn(0, 'keeps cache');
        const names = hurt.list();
        const name = names[where % names.length] as string;
        const bytes = Buffer.from(hurt.content(name));
        const at = bit % (bytes.length * 8);
        bytes[at >> 3] = (bytes[at >> 3] as number) ^ (1 << (at & 7));
        hurt.replace(name, bytes);
        const outbox = open(hurt);
        const found = drain(outbox);
        expect(found).toHaveLength(11);
        const isTail = at >> 3 >= bytes.length - recordLength(texts.find((text) => !found.includes(text)) as string);
        expect(outbox.status.damaged, 'the end of a file is taken for torn').toBe(isTail ? 0 : 1);
        expect(texts.filter((text) => found.includes(text))).toEqual(found);
      }),
      { numRuns: 200 },
    );
  });

  it('of a length that was cut short costs what was cut off', async () => {
    const { files, texts } = await filled();
    for (let cut = 0; cut < 300; cut += 7) {
      const hurt = files.reborn(0, 'keeps cache');
      const name = [...hurt.list()].sort()[0] as string;
      hurt.replace(name, Buffer.from(hurt.content(name).subarray(0, cut)));
      const found = drain(open(hurt));
      expect(found).toEqual(texts.filter((text) => found.includes(text)));
      expect(found).toEqual(expect.arrayContaining(texts.slice(-2)));
    }
  });

  it('that comes while the device runs is told to whoever waits, and the next message goes out', async () => {
    const files = steady();
    const first = open(files);
    for (const text of ['a', 'b']) await add(first, 't', text);
    await first.close();
    const outbox = open(files);
    const name = files.list()[0] as string;
    files.replace(name, Buffer.from(files.content(name)).fill(0, 0, 20));
    expect(drain(outbox)).toEqual(['b']);
    expect(outbox.status).toMatchObject({ messages: 0, damaged: 1 });
  });

  it('of foreign files in the directory changes nothing', async () => {
    const { files, texts } = await filled();
    files.replace('README', Buffer.from('hello'));
    files.replace('000000000001-zzzzzzzz.queue', Buffer.alloc(100));
    expect(drain(open(files))).toEqual(texts);
  });

  it('can not be forged by a payload that holds a record', async () => {
    const { files } = await filled();
    const [name] = files.list();
    const payload = Buffer.from(files.content(name as string));
    const other = steady();
    const outbox = open(other);
    await outbox.add({ topic: 't', payload, qos: 1 });
    await add(outbox, 't', 'end');
    const hurt = other.list()[0] as string;
    other.replace(hurt, Buffer.from(other.content(hurt)).fill(0xff, 8, 12)); // the checksum of the first record
    expect(drain(open(other))).toEqual(['end']);
  });
});
