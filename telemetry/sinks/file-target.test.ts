import {
  appendFileSync,
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { hasControls } from '@rollcall/output';
import type { DeviceId } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { SETS_OF_PROPERTIES } from '../../test/behaviour/telemetry-properties.ts';
import { openTestJournal } from '../../test/fixtures/journal.ts';
import { startSink } from '../../test/fixtures/sink.ts';
import { smallDisk } from '../../test/fixtures/small-disk.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { Cursor } from '../cursor.ts';
import { positionOf } from '../position.ts';
import { FileTarget } from './file-target.ts';

const MIB = 1_048_576;

function linesOf(path: string): readonly { readonly position: number }[] {
  const text = readFileSync(path, 'utf8');
  expect(text.endsWith('\n') || text === '').toBe(true);
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

describe('a file as target', () => {
  it('holds the MQTT 5 properties of each message, on its one line whatever text they hold', async () => {
    const journal = await openTestJournal();
    for (const properties of SETS_OF_PROPERTIES) {
      const sent = { device: 'dev-1' as DeviceId, stream: 's', receivedAt: 0, payload: Buffer.from('1') };
      await journal.accept({ ...sent, qos: 1, ...properties });
    }
    const path = join(temporaryDirectory(), 'messages.ndjson');
    const target = new FileTarget({ path, rotateBytes: MIB, keep: 1 });
    await (await startSink({ journal, target, directory: temporaryDirectory() })).caughtUp();
    const read = linesOf(path).map((line) => {
      const { contentType, payloadFormatIndicator, userProperties } = line as never;
      return { contentType, payloadFormatIndicator, userProperties };
    });
    expect(read).toEqual(
      SETS_OF_PROPERTIES.map(({ userProperties, ...rest }) => ({
        ...rest,
        userProperties: userProperties?.map(([name, value]) => ({ name, value })),
      })),
    );
    expect(hasControls(readFileSync(path, 'utf8').replaceAll('\n', ''))).toBe(false);
  });

  it('holds each message on a line, its payload as JSON, as text or as base64', async () => {
    const journal = await openTestJournal();
    const payloads = ['{"n":12345678901234567890}', '{\n "a": 1 }', 'plain \u2028 text', Buffer.from([0xff, 0x00])];
    for (const payload of payloads) {
      await journal.accept({
        device: 'dev-1' as DeviceId,
        stream: 's',
        receivedAt: 0,
        qos: 1,
        payload: Buffer.from(payload as string),
        deviceTime: 1,
        key: String(payload),
      });
    }
    const path = join(temporaryDirectory(), 'out', 'messages.ndjson');
    const target = new FileTarget({ path, rotateBytes: MIB, keep: 1 });
    await (await startSink({ journal, target, directory: temporaryDirectory() })).caughtUp();
    expect(linesOf(path)).toMatchObject([
      { position: 1, device: 'dev-1', receivedAt: '1970-01-01T00:00:00.000Z', deviceTime: '1970-01-01T00:00:00.001Z' },
      { position: 2, payload: { a: 1 } },
      { position: 3, text: 'plain \u2028 text' },
      { position: 4, base64: '/wA=' },
    ]);
    expect(readFileSync(path, 'utf8')).toContain('"payload":{"n":12345678901234567890}}\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('begins a new file when one is full, and keeps so many', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 100);
    const directory = temporaryDirectory();
    const path = join(directory, 'm.ndjson');
    const target = new FileTarget({ path, rotateBytes: 2000, keep: 3 });
    await (await startSink({ journal, target, directory: temporaryDirectory(), batch: 10 })).caughtUp();
    expect(readdirSync(directory).sort()).toEqual(['m.ndjson', 'm.ndjson.1', 'm.ndjson.2', 'm.ndjson.3']);
    const kept = ['m.ndjson.3', 'm.ndjson.2', 'm.ndjson.1', 'm.ndjson'].flatMap((name) =>
      linesOf(join(directory, name)),
    );
    const positions = kept.map(({ position }) => position);
    expect(positions.at(-1)).toBe(100);
    expect(positions).toEqual(positions.map((_, index) => 101 - positions.length + index));
  });

  it('writes nothing twice after a crash, and cuts a torn line off', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 60);
    const path = join(temporaryDirectory(), 'm.ndjson');
    const options = { path, rotateBytes: MIB, keep: 1 };
    const first = await startSink({ journal, target: new FileTarget(options), directory: temporaryDirectory() });
    await first.caughtUp();
    await first.forwarder.close(100);
    appendFileSync(path, '{"position":61,"device":"a","str');
    await journal.fill(['a'], 10, 60);
    // The cursor was lost: everything is forwarded again, from the first message on.
    const again = await startSink({ journal, target: new FileTarget(options), directory: temporaryDirectory() });
    expect(await again.caughtUp()).toMatchObject({ forwarded: 70 });
    expect(linesOf(path).map(({ position }) => position)).toEqual(Array.from({ length: 70 }, (_, index) => index + 1));
    await again.forwarder.replay(Cursor.of([65]));
    await again.until(({ forwarded }) => forwarded === 75);
    expect(linesOf(path)).toHaveLength(75);
  });

  it('waits while its directory is not one, and goes on when it is', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 5);
    const directory = temporaryDirectory();
    appendFileSync(join(directory, 'out'), 'in the way');
    const path = join(directory, 'out', 'm.ndjson');
    const sink = await startSink({
      journal,
      target: new FileTarget({ path, rotateBytes: MIB, keep: 1 }),
      directory: temporaryDirectory(),
    });
    const { reason } = await sink.until(({ state }) => state === 'down');
    expect(reason).toMatch(/EEXIST|ENOTDIR/);
    rmSync(join(directory, 'out'));
    await sink.caughtUp();
    expect(linesOf(path)).toHaveLength(5);
  });

  describe('that somebody else touches', () => {
    async function open(batch = 10, path = join(temporaryDirectory(), 'out', 'm.ndjson')) {
      const journal = await openTestJournal();
      const target = new FileTarget({ path, rotateBytes: MIB, keep: 1 });
      const sink = await startSink({ journal, target, directory: temporaryDirectory(), batch });
      let count = 0;
      const send = async (messages: number) => {
        await journal.fill(['a'], messages, count);
        count += messages;
        await sink.until(({ position }) => position === count);
      };
      return { path, sink, send };
    }
    const positionsIn = (path: string) => linesOf(path).map(({ position }) => position);

    it('is begun anew after it was moved, and nothing was lost', async () => {
      const { path, sink, send } = await open();
      await send(5);
      renameSync(path, `${path}.old`);
      await send(5);
      expect([positionsIn(`${path}.old`), positionsIn(path)]).toEqual([
        [1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10],
      ]);
      const text = `${path} was moved: nothing was lost, the moved file holds the messages from position 1 to 5`;
      expect(sink.forwarder.status()).toMatchObject({ notice: { text }, losses: 0 });
    });

    it.each(['file', 'directory'])(
      'is begun anew after its %s was deleted, and what was lost can be replayed',
      async (what) => {
        const { path, sink, send } = await open();
        await send(5);
        rmSync(what === 'file' ? path : dirname(path), { recursive: true });
        await sink.forwarder.checkTarget(); // no message comes
        expect(sink.forwarder.status()).toMatchObject({
          losses: 1,
          notice: {
            text: `${path} was deleted: the messages from position 1 to 5 that it held are lost there; a replay from 1 writes them again`,
          },
        });
        await sink.forwarder.replay(Cursor.BEGIN);
        await sink.until(({ forwarded }) => forwarded === 10);
        await send(1);
        expect(positionsIn(path)).toEqual([1, 2, 3, 4, 5, 6]);
      },
    );

    it('is deleted while a batch is written: the batch is in the next file as well', async () => {
      const path = join(temporaryDirectory(), 'm.ndjson');
      const target = new FileTarget({ path, rotateBytes: MIB, keep: 1 });
      const about = { device: 'dev-1' as DeviceId, stream: 'a', receivedAt: 1, qos: 1 } as const;
      const first = { ...about, position: positionOf(1), payload: Buffer.from('1') };
      // Between the look at the file and the write.
      const second = {
        ...about,
        position: positionOf(2),
        get payload() {
          rmSync(path, { force: true });
          return Buffer.from('2');
        },
      };
      await target.deliver([first]);
      await target.deliver([second]);
      await target.close();
      expect(positionsIn(path)).toEqual([2]);
      expect(target.takeNotice()).toMatchObject({ isLoss: true });
    });

    it('goes on at its new end after it was copied and cut, and says what is lost unless it was copied', async () => {
      const { path, sink, send } = await open();
      await send(5);
      copyFileSync(path, `${path}.copy`);
      truncateSync(path);
      await send(5);
      expect([positionsIn(`${path}.copy`), positionsIn(path)]).toEqual([
        [1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10],
      ]);
      expect(sink.forwarder.status().notice?.text).toMatch(/was cut from \d+ to 0 bytes .* a replay from 1 writes/);
    });

    it('is replaced by a file with another number, which stays whole', async () => {
      const { path, sink, send } = await open();
      await send(5);
      renameSync(path, `${path}.old`);
      appendFileSync(path, '{"of":"somebody else"}\n');
      await send(1);
      expect(readFileSync(path, 'utf8')).toMatch(/^\{"of":"somebody else"\}\n\{"position":6,/);
      expect(sink.forwarder.status().losses).toBe(0);
    });

    it('is on a full disk: waits, and has each line whole and once when there is room', async (context) => {
      const disk = smallDisk(MIB);
      if (disk === undefined) return context.skip('mounting needs more rights than this user has');
      const { path, sink, send } = await open(10, join(disk, 'm.ndjson'));
      await send(5);
      const ballast = join(disk, 'ballast');
      const room = statfsSync(disk);
      writeFileSync(ballast, Buffer.alloc(room.bavail * room.bsize));
      const sent = send(200);
      await sink.until(({ state }) => state === 'down');
      rmSync(ballast);
      await sent;
      expect(positionsIn(path)).toEqual(Array.from({ length: 205 }, (_, index) => index + 1));
      expect(sink.forwarder.status().notice).toBeUndefined();
    });
  });
});
