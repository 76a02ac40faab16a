/** One segment, written and read back: long enough that runs were merged, while messages come that no run holds. */

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { TelemetryMessage } from '../../telemetry/index.ts';
import { deviceNamed } from '../../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { packBatch } from './batch.ts';
import type { Row } from './packed-rows.ts';
import { Segment } from './segment.ts';
import { createSegmentFile } from './segment-file.ts';
import { type MessageFilter, SegmentReader } from './segment-reader.ts';
import { rewriteSegment } from './segment-rewrite.ts';
import { ReceivedNames, SentNames } from './source-names.ts';

const START = Date.UTC(2030, 0, 1);
const FIRST = 1001;
const ALL: MessageFilter = { devices: undefined, stream: undefined, since: 0, until: Number.MAX_SAFE_INTEGER };

function openFile(file: string) {
  const sent = new SentNames();
  const received = new ReceivedNames();
  const segment = new Segment(file, () => false);
  const reader = new SegmentReader(file);
  const append = (messages: readonly TelemetryMessage[]) => {
    const batch = packBatch(messages, sent);
    received.add(batch.names);
    return segment.append([{ batch, names: received }])[0];
  };
  const close = () => {
    reader.close();
    segment.close();
  };
  onTestFinished(close);
  return { segment, reader, append, close };
}

function freshFile(): string {
  const file = join(temporaryDirectory(), 'segment.db');
  createSegmentFile(file, { firstPosition: FIRST });
  return file;
}

/** Some devices speak often, others hardly ever; the clock steps back twice, once by two months. */
function history(length: number): TelemetryMessage[] {
  return Array.from({ length }, (_, i) => {
    const device = i % 997 === 0 ? `rare-${i % 3}` : `pump-${(i * 7919) % 700}`;
    const steps = (i > length / 3 ? 3_600_000 : 0) + (i > length / 2 ? 60 * 86_400_000 : 0);
    return {
      device: deviceNamed(device),
      stream: `s${i % 2}`,
      receivedAt: START + i - steps,
      qos: 1,
      payload: Buffer.from(`${i}`),
    };
  });
}

function read(
  reader: SegmentReader,
  wanted: Partial<MessageFilter>,
  order: 'oldest first' | 'newest first',
  after = 0,
): number[] {
  const found: number[] = [];
  const visit = (row: Row) => found.push(row.position) > 0;
  if (order === 'oldest first') reader.oldestFirst({ ...ALL, ...wanted }, after, visit);
  else reader.newestFirst({ ...ALL, ...wanted }, Number.MAX_SAFE_INTEGER, visit);
  return found;
}

describe('a segment of merged runs, runs and messages in none', () => {
  it('returns what a scan of all messages would, also after it is opened again', () => {
    const file = freshFile();
    const messages = history(40_000);
    const first = openFile(file);
    for (let i = 0; i < messages.length; i += 1000) {
      expect(first.append(messages.slice(i, i + 1000))).toEqual({ first: FIRST + i, repeated: [] });
    }
    const many = Array.from({ length: 20 }, (_, i) => `pump-${i * 31}`);
    const check = (reader: SegmentReader) => {
      for (const devices of [['pump-5'], ['rare-1'], ['nobody'], ['pump-1', 'rare-0', 'nobody'], many, undefined]) {
        for (const more of [{}, { stream: 's1' }, { since: START + 9000, until: START + 12_000 }, { until: START }]) {
          const wanted = { ...ALL, ...more, devices };
          const expected = messages.flatMap((one, i) => {
            if (devices !== undefined && !devices.includes(one.device)) return [];
            if (wanted.stream !== undefined && one.stream !== wanted.stream) return [];
            return one.receivedAt >= wanted.since && one.receivedAt < wanted.until ? FIRST + i : [];
          });
          const middle = FIRST + 20_005;
          expect(read(reader, wanted, 'oldest first')).toEqual(expected);
          expect(read(reader, wanted, 'oldest first', middle)).toEqual(
            expected.filter((position) => position > middle),
          );
          if (devices !== undefined) expect(read(reader, wanted, 'newest first')).toEqual(expected.toReversed());
        }
      }
      const newest = new Map(messages.map((one, i) => [`${one.device} ${one.stream}`, FIRST + i]));
      const found = reader.newest({ devices: undefined });
      expect(found.map(({ source }) => `${source.device} ${source.stream}`)).toEqual([...newest.keys()].sort());
      expect(new Map(found.map(({ source, position }) => [`${source.device} ${source.stream}`, position]))).toEqual(
        newest,
      );
      expect(reader.newest({ devices: ['rare-2'] }).map(({ position }) => position)).toEqual(
        ['rare-2 s0', 'rare-2 s1'].flatMap((name) => newest.get(name) ?? []),
      );
    };
    check(first.reader);
    first.close();
    const again = openFile(file);
    check(again.reader);
    again.segment.complete();
    check(again.reader);
    const more = history(50_000).slice(40_000);
    messages.push(...more);
    again.append(more);
    check(again.reader);
  });
});

describe('a block', () => {
  it('of which one bit changed is refused when it is read, and the others are not', () => {
    const file = freshFile();
    const { append, close } = openFile(file);
    append([
      { device: deviceNamed('pump-1'), stream: 's', receivedAt: START, qos: 1, payload: Buffer.from('a clear text') },
    ]);
    append([
      { device: deviceNamed('pump-1'), stream: 's', receivedAt: START, qos: 1, payload: Buffer.from('another one') },
    ]);
    close();
    const at = readFileSync(file).indexOf('a clear text');
    const descriptor = openSync(file, 'r+');
    writeSync(descriptor, 'A', at);
    closeSync(descriptor);
    const { reader } = openFile(file);
    expect(() => reader.at(FIRST)).toThrow(expect.objectContaining({ code: 'database_damaged' }));
    expect(`${reader.at(FIRST + 1)?.payload}`).toBe('another one');
  });
});

describe('the MQTT 5 properties in a segment', () => {
  const sent = (userProperties: TelemetryMessage['userProperties']): TelemetryMessage => ({
    device: deviceNamed('pump-1'),
    stream: 's',
    receivedAt: START,
    qos: 1,
    payload: Buffer.from('21.5'),
    ...(userProperties !== undefined && { userProperties, contentType: 'text/plain', payloadFormatIndicator: 1 }),
  });

  it('are covered by the checksum of their block', () => {
    const file = freshFile();
    const { append, close } = openFile(file);
    append([sent([['unit', 'a clear text']])]);
    append([sent([['unit', 'another one']])]);
    close();
    const at = readFileSync(file).indexOf('a clear text');
    const descriptor = openSync(file, 'r+');
    writeSync(descriptor, 'A', at);
    closeSync(descriptor);
    const { reader } = openFile(file);
    expect(() => reader.at(FIRST)).toThrow(expect.objectContaining({ code: 'database_damaged' }));
    expect(reader.at(FIRST + 1)).toMatchObject({
      userProperties: [['unit', 'another one']],
      contentType: 'text/plain',
    });
  });

  it('take their texts, a byte for each length, and nothing in a message without any', () => {
    const { segment, reader, append } = openFile(freshFile());
    append([sent(undefined), sent([['unit', 'celsius']]), { ...sent(undefined), payloadFormatIndicator: 0 }]);
    const database = new Database(segment.file, { readonly: true });
    onTestFinished(() => {
      database.close();
    });
    const [meta, data] = database.prepare('SELECT meta, data FROM blocks').raw().get() as [Buffer, Buffer];
    expect([0, 1, 2].map((i) => meta.readUInt32LE(i * 16 + 8))).toEqual([4, 4 + 1 + 10 + 1 + 2 + 4 + 7, 4]);
    expect(data).toHaveLength(4 + 29 + 4);
    expect(reader.at(FIRST + 2)).toMatchObject({ payloadFormatIndicator: 0, userProperties: null, contentType: null });
  });

  it('stay with their messages in a copy without the messages of another device', () => {
    const file = freshFile();
    const { append, close } = openFile(file);
    const other = { ...sent([['unit', 'kelvin']]), device: deviceNamed('pump-2') };
    append([other, sent([['unit', 'celsius']]), other, sent(undefined), sent([['', '']])]);
    close();
    const draft = `${file}.new`;
    expect(rewriteSegment({ file, draft, devices: ['pump-2'], which: 'removed', mark: 'a' })).toBe(2);
    const reader = new SegmentReader(draft);
    onTestFinished(() => reader.close());
    const rows: Row[] = [];
    reader.oldestFirst(ALL, 0, (row) => rows.push(row) > 0);
    expect(rows.map(({ position, userProperties, payload }) => [position, userProperties, `${payload}`])).toEqual([
      [FIRST + 1, [['unit', 'celsius']], '21.5'],
      [FIRST + 3, null, '21.5'],
      [FIRST + 4, [['', '']], '21.5'],
    ]);
  });

  it('are appended to a segment that an earlier version wrote, whose messages are read as before', () => {
    const file = freshFile();
    writeOlderBlock(file, FIRST, ['1', '2']);
    const { append, reader } = openFile(file);
    expect(append([sent([['unit', 'celsius']])])).toEqual({ first: FIRST + 2, repeated: [] });
    const rows: Row[] = [];
    reader.oldestFirst(ALL, 0, (row) => rows.push(row) > 0);
    const older = { contentType: 'text/old', deviceSequence: 7, key: '1.k', userProperties: null };
    expect(rows.map(({ payload, ...row }) => ({ ...row, payload: `${payload}` }))).toMatchObject([
      { ...older, payload: '1', payloadFormatIndicator: null },
      { ...older, payload: '2', payloadFormatIndicator: null },
      { payload: '21.5', payloadFormatIndicator: 1, contentType: 'text/plain', userProperties: [['unit', 'celsius']] },
    ]);
    const database = new Database(file, { readonly: true });
    expect(database.pragma('user_version', { simple: true })).toBe(3);
    database.close();
  });
});

/** Messages of schema 2: the content type is among the extras, and there are no properties. */
function writeOlderBlock(file: string, position: number, payloads: readonly string[]): void {
  const messages = payloads.map((payload) => {
    const extras = Buffer.alloc(20);
    extras.writeDoubleLE(Number.NaN, 0);
    extras.writeDoubleLE(7, 8);
    extras.writeUInt16LE(3, 16);
    extras.writeUInt16LE(8, 18);
    return Buffer.concat([extras, Buffer.from(`1.ktext/old${payload}`)]);
  });
  const meta = Buffer.alloc(messages.length * 16);
  for (const [i, bytes] of messages.entries()) {
    const words = [1, START % 2 ** 32, bytes.length, (Math.floor(START / 2 ** 32) << 16) | 0x100 | 1];
    for (const [word, value] of words.entries()) meta.writeUInt32LE(value, i * 16 + word * 4);
  }
  const data = Buffer.concat(messages);
  const database = new Database(file);
  database.exec("INSERT INTO devices VALUES (1, 'pump-1'); INSERT INTO sources VALUES (1, 1, 's')");
  database.prepare('INSERT INTO blocks VALUES (?, ?, ?, ?)').run(position, crc32(data, crc32(meta)), meta, data);
  database.pragma('user_version = 2');
  database.close();
}

describe('source names', () => {
  it('are sent to the worker once, and again when either end may have lost them', () => {
    const sent = new SentNames();
    const received = new ReceivedNames();
    expect([sent.numberOf('a', 's'), sent.numberOf('b', 's'), sent.numberOf('a', 's')]).toEqual([1, 2, 1]);
    received.add(sent.take());
    expect(sent.take()).toEqual({ first: 3, texts: [] });
    expect([received.device(2), received.stream(2)]).toEqual(['b', 's']);
    sent.numberOf('c', 's');
    sent.take();
    sent.numberOf('d', 's');
    expect(() => received.add(sent.take())).toThrow(expect.objectContaining({ code: 'internal' }));
    sent.clear();
    expect(sent.numberOf('b', 't')).toBe(1);
    const edition = received.edition;
    received.add(sent.take());
    expect([received.device(1), received.stream(1), received.edition > edition]).toEqual(['b', 't', true]);
  });
});
