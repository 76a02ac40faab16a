/**
 * Behaviour of every telemetry journal, independent of its storage. Called by the test of each implementation.
 */

import { describe, expect, it } from 'vitest';
import {
  Cursor,
  type StoredMessage,
  type Telemetry,
  type TelemetryMessage,
  type TelemetryRange,
} from '../../telemetry/index.ts';
import { positionOf } from '../../telemetry/position.ts';
import { telemetryIntakeBehaviour } from './telemetry-intake.ts';
import { DAY, deviceNamed, HOUR, message, type OpenFreshTelemetry, START, texts } from './telemetry-messages.ts';
import { messagePropertyBehaviour } from './telemetry-properties.ts';

/** Long enough to fill several segments of the embedded journal; its clock steps back once, and one device stops publishing. */
function longHistory(length: number): TelemetryMessage[] {
  return Array.from({ length }, (_, i) => {
    const devices = i < (length * 2) / 3 ? ['a', 'b', 'c', 'a-b', 'A'] : ['a', 'b', 'c', 'a-b', 'c'];
    const device = devices[(i * 7) % 5] as string;
    const stream = ['t', 'u', 'v'][(i * 11) % 3] as string;
    return message(device, `${i}`, { stream, receivedAt: START + (i < length / 2 ? i : i - 500) });
  });
}

export function telemetryBehaviour(name: string, openFresh: OpenFreshTelemetry): void {
  describe(`a telemetry journal on ${name}`, () => {
    telemetryIntakeBehaviour(openFresh);

    it('answers every query about a long history like a full scan', async () => {
      const { telemetry, reopen } = await openFresh();
      const history = longHistory(6000);
      await Promise.all(history.map((one) => telemetry.accept(one)));
      const check = async (asked: Telemetry) => {
        for (const device of ['a', 'b', 'a-b', 'A', 'nobody']) {
          for (const stream of [undefined, 't', 'nothing']) {
            for (const since of [undefined, 0, 2047, 2400, 2750, 3595, 5400, 9000]) {
              for (const limit of [1, 7, 300, 10_000]) {
                const expected = history
                  .filter((one) => one.device === device && (stream === undefined || one.stream === stream))
                  .filter((one) => since === undefined || one.receivedAt >= START + since)
                  .slice(-limit)
                  .map(({ payload }) => `${payload}`);
                const query = {
                  device: deviceNamed(device),
                  limit,
                  ...(stream === undefined ? {} : { stream }),
                  ...(since === undefined ? {} : { since: START + since }),
                };
                expect(texts(await asked.query(query)), JSON.stringify(query)).toEqual(expected);
              }
            }
          }
        }
        const newest = new Map(history.map((one) => [`${one.device} ${one.stream}`, `${one.payload}`]));
        expect((await asked.last()).map((one) => [`${one.device} ${one.stream}`, `${one.payload}`])).toEqual(
          [...newest].sort(([one], [other]) => (one < other ? -1 : 1)),
        );
      };
      await check(telemetry);
      await check(await reopen());
    });

    it.each([0, 10_001, 1.5, Number.NaN])('refuses to read %d messages', async (limit) => {
      const { telemetry } = await openFresh();
      const reading = telemetry.query({ device: deviceNamed('pump-1'), limit });
      await expect(reading).rejects.toMatchObject({ code: 'request_invalid' });
    });

    it('returns the newest message of each stream, of all devices or of one', async () => {
      const { telemetry } = await openFresh();
      expect(await telemetry.last()).toEqual([]);
      for (const [device, stream, text] of [
        ['pump-2', 'pressure', '1'],
        ['pump-1', 'pressure', '2'],
        ['pump-1', 'humidity', '3'],
        ['pump-1', 'pressure', '4'],
      ] as const) {
        await telemetry.accept(message(device, text, { stream }));
      }
      expect(texts(await telemetry.last())).toEqual(['3', '4', '1']);
      expect(texts(await telemetry.last(deviceNamed('pump-1')))).toEqual(['3', '4']);
      expect(await telemetry.last(deviceNamed('pump-3'))).toEqual([]);
    });

    messagePropertyBehaviour(openFresh);

    it('answers queries over many days as over one', async () => {
      const { telemetry, reopen } = await openFresh();
      const days = [0, 1, 1, 2, 40, 41];
      for (const [i, day] of days.entries()) {
        const device = i === 1 ? 'pump-2' : 'pump-1';
        await telemetry.accept(message(device, `${i}`, { receivedAt: START + day * DAY, stream: i < 3 ? 's' : 't' }));
      }
      const check = async (asked: Telemetry) => {
        const query = async (limit: number, since?: number) =>
          texts(
            await asked.query({ device: deviceNamed('pump-1'), limit, ...(since !== undefined && { since }) }),
          ).join('');
        expect(await query(9)).toBe('02345');
        expect(await query(2)).toBe('45');
        expect(await query(9, START + 2 * DAY)).toBe('345');
        expect((await asked.last()).map(({ position, payload }) => `${position}${payload}`)).toEqual([
          '32',
          '65',
          '21',
        ]);
        expect(texts(await asked.last(deviceNamed('pump-2')))).toEqual(['1']);
      };
      await check(telemetry);
      await check(await reopen());
    });

    it('preserves the order when the clock steps back an hour, over midnight too', async () => {
      const { telemetry, reopen } = await openFresh();
      const times = [START - 60_000, START + 60_000, START - HOUR, START + HOUR, START - 5 * DAY, START + 2 * DAY];
      for (const [i, receivedAt] of times.entries()) await telemetry.accept(message('pump-1', `${i}`, { receivedAt }));
      const found = await (await reopen()).query({ device: deviceNamed('pump-1'), limit: 9 });
      expect(found.map(({ position, receivedAt }) => [position, receivedAt])).toEqual(
        times.map((time, i) => [i + 1, time]),
      );
    });

    it('reads any range in pages, oldest first, from any position on', async () => {
      const { telemetry } = await openFresh();
      const history = longHistory(5000);
      await Promise.all(history.map((one) => telemetry.accept(one)));
      const read = async (range: TelemetryRange) => {
        const found: StoredMessage[] = [];
        for await (const page of telemetry.pages(range)) found.push(...page);
        return found;
      };
      const numbered = history.map((one, i) => ({ ...one, position: positionOf(i + 1) }));
      const day = { since: START + 100, until: START + 2300 };
      for (const range of [{}, { after: Cursor.of([4321]) }, day, { ...day, device: deviceNamed('a') }]) {
        for (const more of [{}, { stream: 't' }, { after: Cursor.of([77]) }]) {
          const asked: TelemetryRange = { ...range, ...more };
          const { device, stream, since = 0, until = Infinity, after = Cursor.BEGIN } = asked;
          const expected = numbered.filter(
            (one) =>
              !after.has(one.position) &&
              one.receivedAt >= since &&
              one.receivedAt < until &&
              (device === undefined || one.device === device) &&
              (stream === undefined || one.stream === stream),
          );
          expect(texts(await read(asked)), JSON.stringify(asked)).toEqual(texts(expected));
        }
      }
      const limited = await telemetry.query({ device: deviceNamed('a'), limit: 10_000, ...day });
      expect(limited).toEqual(await read({ device: deviceNamed('a'), ...day }));
      const backwards = telemetry.query({ device: deviceNamed('a'), limit: 1, since: 5, until: 5 });
      await expect(backwards).rejects.toMatchObject({ code: 'request_invalid' });
    });

    it('answers queries about some devices like a full scan', async () => {
      const { telemetry, reopen } = await openFresh();
      const history = longHistory(6000);
      await Promise.all(history.map((one) => telemetry.accept(one)));
      const check = async (asked: Telemetry) => {
        for (const names of [
          ['a', 'A', 'nobody'],
          ['b', 'c', 'a-b', 'A', 'a', '1', '2', '3', '4', '5'],
          ['nobody'],
          [],
        ]) {
          const devices = names.map(deviceNamed);
          const expected = history.filter(({ device }) => devices.includes(device)).map(({ payload }) => `${payload}`);
          expect(texts(await asked.query({ devices, limit: 700 }))).toEqual(expected.slice(-700));
          const found: StoredMessage[] = [];
          for await (const page of asked.pages({ devices })) found.push(...page);
          expect(texts(found)).toEqual(expected);
          const last = (await asked.last()).filter(({ device }) => devices.includes(device));
          expect(await asked.last(devices)).toEqual(last);
        }
      };
      await check(telemetry);
      await check(await reopen());
    });

    it('answers with at most 16 MiB at once, and gives all of it in pages', async () => {
      const { telemetry } = await openFresh();
      const large = Buffer.alloc(200_000, 1);
      const send = (i: number) => telemetry.accept(message('pump-1', large, { stream: `s${i}` }));
      await Promise.all(Array.from({ length: 90 }, (_, i) => send(i)));
      const newest = await telemetry.query({ device: deviceNamed('pump-1'), limit: 100 });
      expect(newest).toHaveLength(83); // so many messages of 200,000 bytes fit into 16 MiB
      const [oldest] = newest as [StoredMessage];
      const before = await telemetry.query({ device: deviceNamed('pump-1'), before: oldest.position, limit: 100 });
      expect([...before, ...newest].map(({ position }) => position)).toEqual(
        Array.from({ length: 90 }, (_, i) => i + 1),
      );
      expect(await telemetry.query({ device: deviceNamed('pump-1'), before: positionOf(1), limit: 100 })).toEqual([]);
      const first = await telemetry.last();
      expect(first).toHaveLength(83);
      const next = await telemetry.last(undefined, `pump-1/${first.at(-1)?.stream}`);
      expect(new Set([...first, ...next].map(({ stream }) => stream)).size).toBe(90);
      let count = 0;
      for await (const page of telemetry.pages({})) count += page.length;
      expect(count).toBe(90);
    });

    it('aggregates a number of the payloads per interval, and counts those without one', async () => {
      const { telemetry } = await openFresh();
      const send = (payload: string, at: number) =>
        telemetry.accept(message('pump-1', payload, { receivedAt: START + at }));
      const sent: [string, number][] = [
        ['{"a":{"b/c":[1,5]}}', 0],
        ['{"a":{"b/c":[1,-2]}}', 500],
        ['{"a":{"b/c":[1,3]}}', 999],
        ['not json', 1000],
        ['{"a":{"b/c":[1,"3"]}}', 1001],
        ['{"a":{"b/c":[1,7]}}', 2500],
        ['{"a":{"b/c":[1,9]}}', 4000],
      ];
      for (const [payload, at] of sent) await send(payload, at);
      const query = { device: deviceNamed('pump-1'), stream: 'temperature', pointer: '/a/b~1c/1', bucket: 1000 };
      expect(await telemetry.series({ ...query, since: START, until: START + 4000 })).toEqual({
        points: [
          { at: START, count: 3, min: -2, max: 5, avg: 2, last: 3 },
          { at: START + 2000, count: 1, min: 7, max: 7, avg: 7, last: 7 },
        ],
        ignored: 2,
      });
      const refused = { code: 'request_invalid' };
      for (const bad of [
        { since: START, until: START },
        { since: START, until: START + 10_001_000 },
        { since: START, until: START + 1, bucket: 0 },
        { since: START, until: START + 1, pointer: 'a' },
        { since: START, until: START + 1, pointer: '/~2' },
      ]) {
        await expect(telemetry.series({ ...query, ...bad })).rejects.toMatchObject(refused);
      }
    });

    it('prunes by age and by bytes, never the newest file, and reports its size', async () => {
      const { telemetry, reopen } = await openFresh();
      const large = Buffer.alloc(100_000, 1);
      for (let day = 0; day < 5; day += 1) {
        for (let i = 0; i < 3; i += 1) {
          await telemetry.accept(message('pump-1', large, { receivedAt: START + day * DAY, stream: `day-${day}` }));
        }
      }
      const before = await telemetry.stats();
      const { begin, end } = await telemetry.bounds();
      expect([`${begin}`, `${end}`]).toEqual(['0', `${before.messages}`]);
      expect(before).toMatchObject({ messages: 15, damaged: [] });
      expect(before.bytes).toBeGreaterThan(1_500_000);
      expect(await telemetry.prune()).toEqual([]);
      // The messages are dated 2030, so by the clock of the server none of them is old.
      expect(await telemetry.prune({ age: DAY, bytes: 0 })).toEqual([]);
      const removed = await telemetry.prune({ age: 0, bytes: Math.floor(before.bytes / 2) });
      const count = removed.reduce((sum, { messages }) => sum + messages, 0);
      expect([3, 6, 9]).toContain(count);
      const after = await telemetry.stats();
      const bounds = await telemetry.bounds();
      expect([bounds.begin.distanceTo(end), `${bounds.end}`]).toEqual([after.messages, `${end}`]);
      expect(after.messages).toBe(15 - count);
      expect(after.bytes).toBeLessThanOrEqual(before.bytes / 2);
      await telemetry.prune({ age: 0, bytes: 1 });
      expect((await telemetry.last()).map(({ stream }) => stream)).toEqual(['day-4']);
      const reopened = await reopen();
      await reopened.accept(message('pump-1', 'next', { receivedAt: START + 4 * DAY }));
      expect(
        (await reopened.query({ device: deviceNamed('pump-1'), limit: 9 })).map(({ position }) => position),
      ).toEqual([13, 14, 15, 16]);
    });
  });
}
