import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeUntilKilled } from '../test/fixtures/killed-writer.ts';
import { PowerCutFiles } from '../test/fixtures/power-cut-files.ts';
import { add, drain, openQueue } from '../test/fixtures/queue-on-disk.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { journalFiles } from './journal-files.ts';
import { messageSize } from './journal-record.ts';
import type { OutboxMessage } from './outbox.ts';

function steady(): PowerCutFiles {
  return new PowerCutFiles(Math.random);
}

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
    const outbox = openQueue(files);
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
        outbox.connectionLost();
      } else await new Promise(setImmediate);
    }
    if (!files.isDark) await new Promise(setImmediate);
  }

  /** The last life: power stays on, and everything is sent. */
  judge(files: PowerCutFiles): void {
    const outbox = openQueue(files);
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

describe('a process that is killed', () => {
  it('again and again leaves every message that was safe, in order and once', async () => {
    const directory = temporaryDirectory();
    const reported: string[] = [];
    for (const life of [1, 2, 3]) {
      const args = [directory, String(life * 1_000_000)];
      reported.push(...(await writeUntilKilled('queue-writer.ts', args, 40 * life)));
    }
    const outbox = openQueue(journalFiles(directory));
    const found = drain(outbox);
    await outbox.close();
    expect(reported.length).toBeGreaterThan(200);
    expect(found.filter((text) => reported.includes(text))).toEqual(reported);
    expect(new Set(found).size).toBe(found.length);
    expect(found.map(Number)).toEqual(found.map(Number).sort((a, b) => a - b));
    expect(outbox.status.damaged).toBe(0);
  });
});

describe('damage', () => {
  const recordLength = (text: string) => messageSize({ topic: 't', payload: Buffer.from(text) });

  async function filled() {
    const files = steady();
    const outbox = openQueue(files);
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
        const outbox = openQueue(hurt);
        const found = drain(outbox);
        expect(found).toHaveLength(11);
        const isTail = at >> 3 >= bytes.length - recordLength(texts.find((text) => !found.includes(text)) as string);
        expect(outbox.status.damaged, 'the end of a file is taken for torn').toBe(isTail ? 0 : 1);
        expect(texts.filter((text) => found.includes(text))).toEqual(found);
      }),
      { numRuns: 200 },
    );
  });

  it('that is truncated loses only the truncated records', async () => {
    const { files, texts } = await filled();
    for (let cut = 0; cut < 300; cut += 7) {
      const hurt = files.reborn(0, 'keeps cache');
      const name = [...hurt.list()].sort()[0] as string;
      hurt.replace(name, Buffer.from(hurt.content(name).subarray(0, cut)));
      const found = drain(openQueue(hurt));
      expect(found).toEqual(texts.filter((text) => found.includes(text)));
      expect(found).toEqual(expect.arrayContaining(texts.slice(-2)));
    }
  });

  it('that comes while the device runs rejects the waiting promise, and the next message goes out', async () => {
    const files = steady();
    const first = openQueue(files);
    for (const text of ['a', 'b']) await add(first, 't', text);
    await first.close();
    const outbox = openQueue(files);
    const name = files.list()[0] as string;
    files.replace(name, Buffer.from(files.content(name)).fill(0, 0, 20));
    expect(drain(outbox)).toEqual(['b']);
    expect(outbox.status).toMatchObject({ messages: 0, damaged: 1 });
  });

  it('of foreign files in the directory changes nothing', async () => {
    const { files, texts } = await filled();
    files.replace('README', Buffer.from('hello'));
    files.replace('000000000001-zzzzzzzz.queue', Buffer.alloc(100));
    expect(drain(openQueue(files))).toEqual(texts);
  });

  it('can not be forged by a payload that holds a record', async () => {
    const { files } = await filled();
    const [name] = files.list();
    const payload = Buffer.from(files.content(name as string));
    const other = steady();
    const outbox = openQueue(other);
    await outbox.add({ topic: 't', payload, qos: 1 });
    await add(outbox, 't', 'end');
    const hurt = other.list()[0] as string;
    other.replace(hurt, Buffer.from(other.content(hurt)).fill(0xff, 8, 12)); // the checksum of the first record
    expect(drain(openQueue(other))).toEqual(['end']);
  });
});
