/** A journal is moved from a data directory to a store that several nodes share, and back. */

import type { DeviceId } from '@rollcall/protocol';
import { expect, it } from 'vitest';
import { openTestJournal } from '../../test/fixtures/journal.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { openNode } from '../../test/fixtures/postgres-journal.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { Cursor } from '../cursor.ts';
import { positionNumber, positionOf } from '../position.ts';
import type { Telemetry, TelemetryMessage } from '../telemetry.ts';
import {
  compareJournalWithLanes,
  compareLanesWithJournal,
  copyJournalToLanes,
  copyLanesToJournal,
  type JournalCopy,
} from './copy-journal.ts';

const DAY = 86_400_000;
const BEGIN = Date.UTC(2030, 0, 1, 12);

function message(device: string, at: number, more: Partial<TelemetryMessage> = {}): TelemetryMessage {
  const payload = Buffer.from(`${device} at ${at}`);
  return { device: device as DeviceId, stream: 'heat', receivedAt: at, qos: 1, payload, ...more };
}

async function all(journal: Telemetry, after?: Cursor) {
  const found: { position: number; text: string }[] = [];
  for await (const page of journal.pages(after === undefined ? {} : { after })) {
    for (const { position, payload } of page) {
      found.push({ position: positionNumber(position), text: Buffer.from(payload).toString() });
    }
  }
  return found;
}

const positions = async (journal: Telemetry) => (await all(journal)).map(({ position }) => position);

describeWithClients('a journal that is moved', ['postgres'], () => {
  const postgres = suitePostgres();

  /** Three days of two devices, with keys and properties. */
  async function filled() {
    const directory = temporaryDirectory();
    const journal = await openTestJournal({ directory });
    for (const day of [0, 1, 2]) {
      const at = BEGIN + day * DAY;
      await Promise.all([
        journal.accept(message('a', at, { key: `${day}.epoch`, deviceTime: 1.5, deviceSequence: 7 })),
        journal.accept(message('b', at + 1, { key: `word ${day}`, qos: 2 })),
        journal.accept(
          message('a', at + 2, { stream: 'cold', contentType: 'text/plain', userProperties: [['x', 'y']] }),
        ),
      ]);
    }
    return { directory, journal };
  }

  async function shared(directory: string) {
    const database = await postgres().open();
    const none = () => {};
    const copy: JournalCopy = { directory, database, journal: 'telemetry', copied: none, compared: none };
    return { database, copy };
  }

  it('has the same messages at the same positions, and each key is known', async () => {
    const { directory, journal } = await filled();
    const before = await all(journal);
    await journal.close();
    const { database, copy } = await shared(directory);
    const now = () => BEGIN + 2 * DAY + 10;
    await copyJournalToLanes(copy, now());
    expect(await compareJournalWithLanes(copy)).toMatchObject({ messages: 9 });
    const node = await openNode(database, 'node-1', { now });
    expect(await all(node)).toEqual(before);
    expect(await all(node, Cursor.of([7]))).toEqual(before.slice(7));
    const [newest] = await node.last('a' as DeviceId);
    expect(newest).toMatchObject({ stream: 'cold', contentType: 'text/plain', userProperties: [['x', 'y']] });
    for (const [device, key] of [
      ['a', '2.epoch'],
      ['b', 'word 2'],
      ['a', '1.epoch'],
    ] as const) {
      expect(await node.accept(message(device, now(), { key }))).toBe('repeated');
    }
    expect(await node.accept(message('a', now(), { key: '3.epoch' }))).toBe('stored');
    expect(await all(node)).toHaveLength(10);
  });

  it('goes on where its copy was interrupted', async () => {
    const { directory, journal } = await filled();
    const { copy } = await shared(directory);
    await copyJournalToLanes(copy, BEGIN + 2 * DAY);
    await journal.accept(message('a', BEGIN + 2 * DAY + 5, { key: '9.epoch' }));
    await journal.close();
    const copied: number[] = [];
    await copyJournalToLanes({ ...copy, copied: (messages) => copied.push(messages) }, BEGIN + 2 * DAY);
    expect(copied).toEqual([1]);
    expect(await compareJournalWithLanes(copy)).toMatchObject({ messages: 10 });
  });

  it('is found to differ where a message of the source is not in the target', async () => {
    const { directory, journal } = await filled();
    const { copy } = await shared(directory);
    await copyJournalToLanes(copy, BEGIN + 2 * DAY);
    await journal.accept(message('a', BEGIN + 2 * DAY + 5));
    await journal.close();
    await expect(compareJournalWithLanes(copy)).rejects.toMatchObject({ code: 'store_differs' });
  });

  it('comes back with the messages of all nodes, in the order of each device, with known keys and readers where they were', async () => {
    const { directory, journal } = await filled();
    const first = await all(journal);
    await journal.close();
    const { database, copy } = await shared(directory);
    let at = BEGIN + 2 * DAY + 10;
    const now = () => at;
    await copyJournalToLanes(copy, now());
    const [one, two] = [await openNode(database, 'node-1', { now }), await openNode(database, 'node-2', { now })];
    const cursors = new Map<string, Cursor>([['embedded', Cursor.of([4])]]);
    for (let n = 0; n < 6; n += 1) {
      at += 1_000;
      const node = n % 2 === 0 ? one : two;
      await node.claimed('a' as DeviceId);
      await node.accept(message('a', at, { key: `${100 + n}.epoch` }));
      if (n === 3) cursors.set('half', (await one.bounds()).end);
    }
    cursors.set('end', (await one.bounds()).end);
    await Promise.all([one.close(), two.close()]);

    const back: JournalCopy = { ...copy, directory: temporaryDirectory() };
    const translated = await copyLanesToJournal(back, cursors);
    expect(await compareLanesWithJournal(back)).toMatchObject({ messages: 15 });
    const again = await openTestJournal({ directory: back.directory, now });
    const found = await all(again);
    expect(found.slice(0, 9)).toEqual(first);
    const own = found.filter(({ text }) => text.startsWith('a')).map(({ text }) => Number(text.slice(5)));
    expect(own).toEqual(own.toSorted((x, y) => x - y));
    expect(translated.get('embedded')).toBe(4);
    expect((await all(again, Cursor.of([translated.get('half') as number]))).length).toBe(2);
    expect(await all(again, Cursor.of([translated.get('end') as number]))).toEqual([]);
    expect(await again.accept(message('a', at, { key: '105.epoch' }))).toBe('repeated');
    expect(await again.accept(message('a', at, { key: '104.epoch' }))).toBe('repeated');
    expect(await again.accept(message('a', at, { key: '106.epoch' }))).toBe('stored');
  });

  it('gives no position of its first lane to another message when it comes back', async () => {
    const { database, copy } = await shared(temporaryDirectory());
    let at = BEGIN;
    const now = () => at;
    const [one, two] = [await openNode(database, 'node-1', { now }), await openNode(database, 'node-2', { now })];
    for (const node of [one, two, one, one]) {
      at += 10;
      await node.accept(message(node === one ? 'a' : 'b', at));
    }
    await Promise.all([one.close(), two.close()]);
    await copyLanesToJournal(copy, new Map());
    const journal = await openTestJournal({ directory: copy.directory, now });
    expect(await positions(journal)).toEqual([1, 4, 5, 6]);
    // A reader that had the first two of lane 0 gets what it lacks.
    expect((await all(journal, Cursor.before(positionOf(3)))).map(({ position }) => position)).toEqual([4, 5, 6]);
    await journal.close();
  });
});
