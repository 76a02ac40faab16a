/** Intakes in threads of their own: the behaviour of every journal, and what several threads can do wrong. */

import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { telemetryIntakeBehaviour } from '../../test/behaviour/telemetry-intake.ts';
import { deviceNamed, message } from '../../test/behaviour/telemetry-messages.ts';
import { type NodeThread, startTelemetryNode } from '../../test/fixtures/telemetry-node.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { type EmbeddedTelemetry, openTelemetry, type TelemetryOptions } from '../open.ts';
import { positionNumber } from '../position.ts';
import type { Telemetry } from '../telemetry.ts';

const log = pino({ level: 'silent' });
const PUMP = deviceNamed('pump-1');

async function openJournal(options: Partial<TelemetryOptions> = {}): Promise<EmbeddedTelemetry> {
  const opened = await openTelemetry({ directory: temporaryDirectory(), now: Date.now, log, nodes: 2, ...options });
  onTestFinished(() => opened.close());
  return opened;
}

/** Accepts in a thread of its own, and reads here. */
async function openOverNode(directory: string): Promise<Telemetry> {
  const journal = await openJournal({ directory });
  const node = await startTelemetryNode(journal);
  let followed: Promise<unknown> | undefined;
  return {
    ...journal,
    accept: (one) => followed?.then(() => node.accept(one)) ?? node.accept(one),
    submit: node.submit,
    onPressure: node.onPressure,
    follow: (device, listener) => {
      const stop = journal.follow(device, listener);
      followed = journal.bounds(); // a query that begins after it is answered when it applies
      return stop;
    },
    close: async () => {
      await node.close();
      await journal.close();
    },
  };
}

describe('an intake in another thread', () => {
  telemetryIntakeBehaviour(async () => {
    const directory = temporaryDirectory();
    const telemetry = await openOverNode(directory);
    return {
      telemetry,
      reopen: async () => {
        await telemetry.close();
        return openOverNode(directory);
      },
    };
  });
});

/** Two nodes over one journal. */
async function openTwoNodes(options: Partial<TelemetryOptions> = {}) {
  const journal = await openJournal(options);
  const [one, other] = await Promise.all([startTelemetryNode(journal), startTelemetryNode(journal)]);
  return { journal, one, other };
}

async function everyText(journal: Telemetry): Promise<string[]> {
  const found: string[] = [];
  for await (const page of journal.pages({})) found.push(...page.map(({ payload }) => `${payload}`));
  return found;
}

function isHeldBy(node: NodeThread, device: string, group?: string): Promise<boolean> {
  return node.calls.call('isHeld', { device, group });
}

describe('intakes in several threads', () => {
  it('store everything that a thread acknowledged before it was killed, and others store on', async () => {
    const { journal, one, other } = await openTwoNodes();
    one.calls.tell('publishUntilKilled', { devices: 20, prefix: 'killed' });
    other.calls.tell('publishUntilKilled', { devices: 20, prefix: 'other' });
    await one.untilReported(2000);
    await one.kill();
    const reportedBefore = other.reported.length;
    await other.untilReported(reportedBefore + 500);
    await other.kill();
    const stored = new Set(await everyText(journal));
    const reported = [...one.reported, ...other.reported];
    expect(reported.filter((text) => !stored.has(text))).toEqual([]);
    const [killed = '', last = ''] = [one.reported[0], other.reported.at(-1)];
    expect([killed.startsWith('killed'), last.startsWith('other')]).toEqual([true, true]);
    const { messages } = await journal.stats();
    expect(stored.size).toBe(messages); // each once
    await expect.poll(() => journal.counters().isUnderPressure).toBe(false);
    const counted = journal.counters().stored;
    expect(counted).toBeGreaterThan(0);
    expect(counted).toBeLessThanOrEqual(stored.size);
  });

  it('pass each stored message of a followed device on once, in the order of positions', async () => {
    const { journal, one, other } = await openTwoNodes();
    const heard: string[] = [];
    const positions: number[] = [];
    journal.follow(PUMP, ({ payload, position }) => {
      heard.push(`${payload}`);
      positions.push(positionNumber(position));
    });
    await journal.bounds();
    const sent = Array.from({ length: 400 }, (_, i) => `${i}`);
    await Promise.all(
      sent.flatMap((text, i) => [
        (i % 2 === 0 ? one : other).accept({ ...message('pump-1', text), key: `${i}.e` }),
        one.accept(message('pump-2', 'not followed')),
      ]),
    );
    await Promise.all(sent.map((text, i) => one.accept({ ...message('pump-1', `${text} again`), key: `${i}.e` })));
    await journal.accept(message('pump-1', 'from the keeper'));
    await expect.poll(() => heard.at(-1)).toBe('from the keeper');
    const inJournal = await journal.query({ device: PUMP, limit: 10_000 });
    expect(positions).toEqual(inJournal.map(({ position }) => positionNumber(position)));
    expect(heard.toSorted()).toEqual([...sent, 'from the keeper'].toSorted());
  });

  it('begin with a reader where its follower begins, so that nothing is left out', async () => {
    const { journal, one } = await openTwoNodes();
    one.calls.tell('publishUntilKilled', { devices: 5, prefix: 'p' });
    await one.untilReported(200);
    const heard: number[] = [];
    journal.follow(undefined, ({ position }) => heard.push(positionNumber(position)));
    const { end } = await journal.bounds();
    await expect.poll(() => heard.length).toBeGreaterThan(100);
    await one.kill();
    expect(heard[0]).toBeLessThanOrEqual(Number(`${end}`) + 1);
    expect(heard).toEqual(heard.map((_, i) => (heard[0] as number) + i));
  });

  it('hold a device and a group that are over their share, wherever their messages were stored', async () => {
    const { journal, one, other } = await openTwoNodes({
      retention: { age: 0, bytes: 10_000_000, groups: {} },
      shares: { device: 1, group: 2 },
    });
    const send = (node: NodeThread, device: string) =>
      node.accept({ ...message(device, Buffer.alloc(60_000)), group: 'north' });
    await send(one, 'pump-1');
    expect(await isHeldBy(one, 'pump-1', 'north')).toBe(false);
    await send(other, 'pump-1'); // it moved
    await expect.poll(() => isHeldBy(one, 'pump-1')).toBe(true);
    await expect.poll(() => isHeldBy(other, 'pump-1')).toBe(true);
    expect(await isHeldBy(other, 'pump-2', 'north')).toBe(false);
    await Promise.all([send(one, 'pump-2'), send(other, 'pump-3')]);
    await expect.poll(() => isHeldBy(one, 'pump-4', 'north')).toBe(true);
    await expect.poll(() => isHeldBy(other, 'pump-4', 'north')).toBe(true);
    expect(await isHeldBy(other, 'pump-4', 'south')).toBe(false);
    await expect.poll(() => journal.counters()).toMatchObject({ stored: 4, heldDevices: 1, heldGroups: 1 });
    expect(journal.shares.today(9, 'bytes').devices.map(({ name, messages }) => [name, messages])).toContainEqual([
      'pump-1',
      2,
    ]);
    const late = await startTelemetryNode(journal);
    expect(await isHeldBy(late, 'pump-1')).toBe(true);
  });

  it('store nothing while the disk has less room than the floor, and continue when it has', async () => {
    let free = 1e9;
    const { journal, one } = await openTwoNodes({
      limits: { retryEvery: 10 },
      diskFloor: 1e6,
      disk: { checkEvery: 10, spaceOf: async () => ({ free, size: 1e10 }) },
    });
    await one.accept(message('pump-1', 'a'));
    free = 0;
    await expect.poll(() => journal.counters().isDiskLow).toBe(true);
    const pressure: boolean[] = [];
    one.onPressure((isUnderPressure) => pressure.push(isUnderPressure));
    const waiting = one.accept(message('pump-1', 'b'));
    await expect.poll(() => pressure).toEqual([true]);
    await expect.poll(() => journal.counters()).toMatchObject({ isHeld: true, isUnderPressure: true, stored: 1 });
    free = 1e9;
    expect(await waiting).toBe('stored');
    await expect.poll(() => pressure).toEqual([true, false]);
    await expect.poll(() => journal.counters()).toMatchObject({ isHeld: false, isUnderPressure: false, stored: 2 });
  });

  it('store on when the thread that writes the journal ended, and their followers are told of everything', async () => {
    const { journal, one, other } = await openTwoNodes({ limits: { retryEvery: 10 } });
    const heard: string[] = [];
    journal.follow(PUMP, ({ payload }) => heard.push(`${payload}`));
    await Promise.all([one.accept(message('pump-1', 'a')), other.accept(message('pump-1', 'b'))]);
    // A call that the writing thread does not know ends it.
    (await journal.connectNode()).connection.journal.postMessage([1, 0, 'no such call', undefined]);
    const send = async (node: NodeThread, text: string) => {
      // What was under way is refused, and sent again as a device does it.
      const outcome = () => node.accept({ ...message('pump-1', text), key: text }).catch(() => undefined);
      await expect.poll(outcome).toBeDefined();
    };
    await Promise.all([send(one, 'c'), send(other, 'd')]);
    await journal.accept(message('pump-1', 'e'));
    await expect.poll(() => heard.toSorted()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect((await everyText(journal)).toSorted()).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('wake a reader of the journal that waits for messages', async () => {
    const { journal, one } = await openTwoNodes();
    const woken = new Promise<void>((resolve) => journal.onStored(resolve));
    await one.accept(message('pump-1', 'a'));
    await woken;
    expect(await everyText(journal)).toEqual(['a']);
  });

  it('tell how long commits took', async () => {
    const seconds: number[] = [];
    const { one } = await openTwoNodes({ observeCommit: (took) => seconds.push(took) });
    await one.accept({ ...message('pump-1', 'a'), receivedAt: Date.now() });
    await expect.poll(() => seconds).toEqual([expect.any(Number)]);
  });

  it('admit no more streams than a device may have, also when it moves from one to the other', async () => {
    const { journal, one, other } = await openTwoNodes({ streams: 2 });
    const load = async (node: NodeThread, known: readonly string[]) => {
      await expect.poll(() => journal.streams.of('pump-1')).toEqual(known);
      await node.calls.call('loadStreams', { device: 'pump-1', streams: journal.streams.of('pump-1') });
    };
    const admit = (node: NodeThread, stream: string) => node.calls.call('admit', { device: 'pump-1', stream });
    expect(await admit(one, 'a')).toBe(false); // not loaded
    await load(one, []);
    expect(await admit(one, 'a')).toBe(true);
    await load(other, ['a']);
    expect([await admit(other, 'b'), await admit(other, 'c'), await admit(other, 'a')]).toEqual([true, false, true]);
    await load(one, ['a', 'b']);
    expect([await admit(one, 'b'), await admit(one, 'c')]).toEqual([true, false]);
  });
});
