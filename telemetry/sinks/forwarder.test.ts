import { Problem } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { JOURNAL_BEGIN, openTestJournal } from '../../test/fixtures/journal.ts';
import { ScriptedTarget, startSink } from '../../test/fixtures/sink.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { Cursor } from '../cursor.ts';
import { type Position, positionNumber } from '../position.ts';
import type { StoredMessage, Telemetry } from '../telemetry.ts';
import type { SinkCursor } from './forwarder.ts';
import { type RefusedMessage, TargetDown } from './target.ts';

const upTo = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index);

describe('a forwarder', () => {
  it('delivers everything in the order of the journal, in batches, and then new messages', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a', 'b', 'c'], 50);
    const target = new ScriptedTarget();
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), batch: 40 });
    expect(await sink.caughtUp()).toMatchObject({ position: 150, forwarded: 150, lagMessages: 0, missed: 0 });
    expect(target.positions).toEqual(upTo(150));
    expect(Math.max(...target.batches.map((batch) => batch.length))).toBe(40);
    await journal.fill(['a'], 7, 50);
    await sink.until(({ position }) => position === 157);
    expect(target.positions).toEqual(upTo(157));
  });

  it('continues after a restart where it was', async () => {
    const journal = await openTestJournal();
    const directory = temporaryDirectory();
    await journal.fill(['a'], 100);
    const first = await startSink({ journal, target: new ScriptedTarget(), directory });
    await first.caughtUp();
    await first.forwarder.close(100);
    await journal.fill(['a'], 20, 100);
    const target = new ScriptedTarget();
    await (await startSink({ journal, target, directory })).caughtUp();
    expect(target.positions).toEqual(upTo(20, 101));
  });

  it('repeats at most the current batch after a crash', async () => {
    const journal = await openTestJournal();
    const directory = temporaryDirectory();
    await journal.fill(['a', 'b'], 100);
    const dying = new ScriptedTarget();
    const reached = Promise.withResolvers<void>();
    dying.answer = () => {
      if (dying.batches.length < 4) return [];
      reached.resolve();
      return new Promise(() => {}); // it takes the batch, and nobody hears of it again
    };
    await startSink({ journal, target: dying, directory, batch: 30 });
    await reached.promise;
    const target = new ScriptedTarget();
    await (await startSink({ journal, target, directory, batch: 30 })).caughtUp();
    expect(target.positions).toEqual(upTo(110, 91));
  });

  it('retries what its target does not take now, and loses and reorders nothing', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a', 'b'], 60);
    const target = new ScriptedTarget();
    let failures = 0;
    const arrived: Position[] = [];
    target.answer = (messages) => {
      if (target.batches.length % 3 !== 0) {
        failures += 1;
        throw new TargetDown('expected a target, found none');
      }
      arrived.push(...messages.map(({ position }) => position));
      return [];
    };
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), batch: 25 });
    const status = await sink.caughtUp();
    expect(arrived).toEqual(upTo(120));
    expect(failures).toBeGreaterThan(5);
    expect(status).toMatchObject({ forwarded: 120, retries: failures, state: 'idle', reason: undefined });
  });

  it('says that its target is down, why, and how far it is behind', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 10);
    const target = new ScriptedTarget();
    target.answer = () => {
      throw new TargetDown('ECONNREFUSED');
    };
    const now = () => JOURNAL_BEGIN + 60_001;
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), now });
    const status = await sink.until(({ state }) => state === 'down');
    expect(status).toMatchObject({ reason: 'ECONNREFUSED', lagMessages: 10, lagMs: 60_000, position: 0 });
    target.answer = () => [];
    expect(await sink.caughtUp()).toMatchObject({ lagMessages: 0, lagMs: 0, forwarded: 10 });
  });

  it('writes what is refused for good to the dead letters with the reason, and continues', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 30);
    const target = new ScriptedTarget();
    target.answer = (messages): RefusedMessage[] =>
      messages
        .filter(({ position }) => positionNumber(position) === 13)
        .map((message) => ({ message, reason: 'too odd' }));
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), batch: 10 });
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 29, deadLettered: 1, position: 30 });
    expect(sink.deadLetters()).toMatchObject([
      { reason: 'too odd', message: { position: 13, device: 'a', payload: { count: 12 } } },
    ]);
  });

  it('keeps two files of dead letters at most', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 200);
    const target = new ScriptedTarget();
    target.answer = (messages) => messages.map((message) => ({ message, reason: 'no' }));
    const directory = temporaryDirectory();
    const sink = await startSink({ journal, target, directory, batch: 5, deadLetterBytes: 2000 });
    expect(await sink.caughtUp()).toMatchObject({ deadLettered: 200, forwarded: 0 });
    const { readdirSync, statSync } = await import('node:fs');
    const files = readdirSync(directory).filter((name) => name.startsWith('dead-letters'));
    expect(files.sort()).toEqual(['dead-letters.ndjson', 'dead-letters.ndjson.1']);
    for (const name of files) expect(statSync(`${directory}/${name}`).size).toBeLessThanOrEqual(2000);
  });

  it('forwards only what its filter selects, by device, stream and group', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a', 'b', 'c'], 10);
    const target = new ScriptedTarget();
    const groupOf = async (device: string) => ({ a: 'press', b: 'oven' })[device];
    const filter = { groups: ['press'], streams: ['climate'] };
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), filter, groupOf });
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 10, filtered: 20, position: 30 });
    expect(new Set(target.batches.flat().map(({ device }) => device))).toEqual(new Set(['a']));
    const nothing = await startSink({
      journal,
      target,
      directory: temporaryDirectory(),
      filter: { streams: ['other'] },
    });
    expect(await nothing.caughtUp()).toMatchObject({ forwarded: 0, filtered: 30 });
  });

  it('forwards again from where an operator says', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 40);
    const target = new ScriptedTarget();
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    await sink.caughtUp();
    await sink.forwarder.replay(Cursor.of([30]));
    await sink.until(({ forwarded }) => forwarded === 50);
    expect(target.positions.slice(40)).toEqual(upTo(10, 31));
  });

  it('skips the message that its target does not take, when an operator says so', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 10);
    const target = new ScriptedTarget();
    target.answer = (messages) => {
      if (messages.some(({ position }) => positionNumber(position) === 4)) throw new TargetDown('boom');
      return [];
    };
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), batch: 3 });
    await sink.until(({ state, position }) => state === 'down' && position === 3);
    expect((await sink.forwarder.skip())?.position).toBe(4);
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 9, deadLettered: 1 });
    expect(sink.deadLetters()).toMatchObject([{ reason: 'skipped by an operator', message: { position: 4 } }]);
    expect(await sink.forwarder.skip()).toBeUndefined();
  });

  it('skips nothing later when the message that an operator skips arrives after all', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 1);
    const target = new ScriptedTarget();
    const second = Promise.withResolvers<readonly RefusedMessage[]>();
    const reached = Promise.withResolvers<void>();
    target.answer = () => {
      if (target.batches.length === 1) throw new TargetDown('away');
      reached.resolve();
      return second.promise;
    };
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    await reached.promise;
    const skipped = sink.forwarder.skip();
    second.resolve([]);
    expect(await skipped).toBeUndefined();
    let failures = 0;
    target.answer = () => {
      failures += 1;
      if (failures === 1) throw new TargetDown('away again');
      return [];
    };
    await journal.fill(['a'], 1, 1);
    expect(await sink.until(({ position }) => position === 2)).toMatchObject({ forwarded: 2, deadLettered: 0 });
  });

  it('goes on where it was when a replay cannot be stored, and tells the operator', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 40);
    const target = new ScriptedTarget();
    let isStorable = true;
    const cursor = (file: SinkCursor): SinkCursor => ({
      read: () => file.read(),
      save: (position) => (isStorable ? file.save(position) : Promise.reject(new Problem('unavailable'))),
    });
    const sink = await startSink({ journal, target, directory: temporaryDirectory(), cursor });
    await sink.caughtUp();
    isStorable = false;
    await expect(sink.forwarder.replay(Cursor.of([30]))).rejects.toMatchObject({ code: 'unavailable' });
    isStorable = true;
    await journal.fill(['a'], 2, 40);
    await sink.until(({ position }) => position === 42);
    expect(target.positions).toEqual(upTo(42));
    await sink.forwarder.replay(Cursor.of([41]));
    await sink.until(({ forwarded }) => forwarded === 43);
  });

  it('counts the messages that retention removed before its target had them', async () => {
    let clock = JOURNAL_BEGIN;
    const journal = await openTestJournal({ now: () => clock, retention: { age: 86_400_000, bytes: 0 } });
    const target = new ScriptedTarget();
    target.answer = () => {
      throw new TargetDown('away');
    };
    await journal.fill(['a'], 5);
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    await sink.until(({ state }) => state === 'down');
    await journal.fill(['a'], 25, 5);
    clock = JOURNAL_BEGIN + 5 * 86_400_000;
    await journal.accept({ device: 'a' as never, stream: 's', receivedAt: clock, qos: 1, payload: Buffer.from('new') });
    expect(await journal.prune()).toHaveLength(1);
    await sink.forwarder.checkRetention();
    expect(sink.forwarder.status()).toMatchObject({ missed: 25, state: 'down' });
    await sink.forwarder.checkRetention();
    target.answer = () => [];
    // The five that were in hand arrive all the same.
    expect(await sink.caughtUp()).toMatchObject({ missed: 25, forwarded: 6, position: 31 });
  });
});

describe('a sink whose target is dead', () => {
  it('holds one page in memory, and storing messages never waits for it', async () => {
    const journal = await openTestJournal();
    let pages = 0;
    let inMemory = 0;
    const counting: Telemetry = {
      ...journal,
      async *pages(range) {
        for await (const page of journal.pages(range)) {
          pages += 1;
          inMemory = Math.max(inMemory, page.length);
          yield page;
        }
      },
    };
    const target = new ScriptedTarget();
    const reached = Promise.withResolvers<void>();
    target.answer = () => {
      reached.resolve();
      return new Promise<never>(() => {});
    };
    const sink = await startSink({ journal: counting, target, directory: temporaryDirectory(), batch: 500 });
    await journal.fill(['a'], 1);
    await reached.promise;
    for (let round = 0; round < 10; round += 1) await journal.fill(['a', 'b'], 500, round * 500);
    // All stored, while one delivery was waited for the whole time.
    expect(journal.counters()).toMatchObject({ stored: 10_001, queuedBytes: 0, isUnderPressure: false });
    expect(target.batches).toHaveLength(1);
    expect([pages, inMemory]).toEqual([1, 1]);
    expect(sink.forwarder.status().lagMessages).toBe(10_001);
    const held: StoredMessage[] = target.batches.flat();
    expect(held).toHaveLength(1);
  });
});
