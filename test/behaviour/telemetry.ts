/**
 * What every telemetry journal does, whatever engine stands behind it. Called by the test of each implementation.
 */

import { describe, expect, it } from 'vitest';
import { type DeviceId, parseDeviceId } from '../../contract/identity.ts';
import type { StoredMessage, Telemetry, TelemetryMessage } from '../../telemetry/telemetry.ts';

export interface FreshTelemetry {
  readonly telemetry: Telemetry;
  /** Closes the journal and opens what it left behind. */
  reopen(): Promise<Telemetry>;
}

/** Opens an empty journal that lives until the test ends. */
export type OpenFreshTelemetry = () => Promise<FreshTelemetry>;

const START = Date.UTC(2030, 0, 1);

export function deviceNamed(text: string): DeviceId {
  const id = parseDeviceId(text);
  if (id === undefined) throw new Error(`expected a device id, found ${text}`);
  return id;
}

export function message(
  device: string,
  payload: string | Uint8Array,
  { stream = 'temperature', receivedAt = START }: { readonly stream?: string; readonly receivedAt?: number } = {},
): TelemetryMessage {
  return { device: deviceNamed(device), stream, receivedAt, qos: 1, payload: Buffer.from(payload) };
}

/** Long enough to fill several runs of the embedded journal; its clock steps back once, and one device falls silent. */
function longHistory(length: number): TelemetryMessage[] {
  return Array.from({ length }, (_, i) => {
    const devices = i < (length * 2) / 3 ? ['a', 'b', 'c', 'a-b', 'A'] : ['a', 'b', 'c', 'a-b', 'c'];
    const device = devices[(i * 7) % 5] as string;
    const stream = ['t', 'u', 'v'][(i * 11) % 3] as string;
    return message(device, `${i}`, { stream, receivedAt: START + (i < length / 2 ? i : i - 500) });
  });
}

function texts(found: readonly StoredMessage[]): string[] {
  return found.map(({ payload }) => Buffer.from(payload).toString());
}

export function telemetryBehaviour(name: string, openFresh: OpenFreshTelemetry): void {
  describe(`a telemetry journal on ${name}`, () => {
    it('gives back what it accepted, byte for byte', async () => {
      const { telemetry } = await openFresh();
      const whole = Uint8Array.from({ length: 512 }, (_, i) => i % 256);
      const payloads = [new Uint8Array(0), whole, whole.subarray(3, 9), Buffer.alloc(300_000, 0xfe)];
      const accepted = payloads.map((payload, i) => ({ ...message('pump-1', ''), payload, qos: (i % 3) as 0 | 1 | 2 }));
      for (const one of accepted) await telemetry.accept(one);
      const found = await telemetry.query({ device: deviceNamed('pump-1'), limit: 10 });
      expect(found.map(({ position }) => position)).toEqual([1, 2, 3, 4]);
      for (const [i, one] of accepted.entries()) {
        const { payload, ...rest } = found[i] as StoredMessage;
        expect(rest).toEqual({
          position: i + 1,
          device: 'pump-1',
          stream: 'temperature',
          receivedAt: START,
          qos: one.qos,
        });
        expect(Buffer.compare(payload, one.payload)).toBe(0);
      }
    });

    it('keeps the order in which messages were accepted', async () => {
      const { telemetry } = await openFresh();
      await Promise.all(['1', '2', '3', '4'].map((text) => telemetry.accept(message('pump-1', text))));
      expect(texts(await telemetry.query({ device: deviceNamed('pump-1'), limit: 10 }))).toEqual(['1', '2', '3', '4']);
    });

    it('keeps everything over a restart, and goes on counting', async () => {
      const { telemetry, reopen } = await openFresh();
      await telemetry.accept(message('pump-1', 'before'));
      const reopened = await reopen();
      await reopened.accept(message('pump-1', 'after'));
      const found = await reopened.query({ device: deviceNamed('pump-1'), limit: 10 });
      expect(found.map(({ position, payload }) => [position, `${payload}`])).toEqual([
        [1, 'before'],
        [2, 'after'],
      ]);
    });

    it('answers every question about a long history as a look through all of it would', async () => {
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

    it('knows the newest message of each stream, of all devices or of one', async () => {
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

    it('tells followers what was accepted, in order, with its position, once it can be read', async () => {
      const { telemetry } = await openFresh();
      await telemetry.accept(message('pump-1', 'too early'));
      const all: StoredMessage[] = [];
      const one: StoredMessage[] = [];
      const reads: Promise<readonly StoredMessage[]>[] = [];
      telemetry.follow(undefined, (stored) => {
        all.push(stored);
        reads.push(telemetry.query({ device: stored.device, limit: 1 }));
      });
      const stop = telemetry.follow(deviceNamed('pump-2'), (stored) => one.push(stored));
      await telemetry.accept(message('pump-1', 'a'));
      await telemetry.accept(message('pump-2', 'b'));
      stop();
      await telemetry.accept(message('pump-2', 'c'));
      expect(all.map(({ position, payload }) => `${position}${payload}`)).toEqual(['2a', '3b', '4c']);
      expect(one.map(({ position, payload }) => `${position}${payload}`)).toEqual(['3b']);
      expect((await Promise.all(reads)).flat()).toEqual(all);
    });

    it('is not disturbed by a follower that fails', async () => {
      const { telemetry } = await openFresh();
      const heard: StoredMessage[] = [];
      telemetry.follow(undefined, () => {
        throw new Error('follower');
      });
      telemetry.follow(undefined, (stored) => heard.push(stored));
      await Promise.all([telemetry.accept(message('pump-1', 'a')), telemetry.accept(message('pump-1', 'b'))]);
      expect(texts(heard)).toEqual(['a', 'b']);
      expect(await telemetry.query({ device: deviceNamed('pump-1'), limit: 9 })).toHaveLength(2);
    });

    it('refuses what is no message, without harm to those accepted beside it', async () => {
      const { telemetry } = await openFresh();
      const sound = message('pump-1', 'a');
      const outcomes = await Promise.allSettled([
        telemetry.accept(sound),
        telemetry.accept({ ...sound, payload: 'text' as never }),
        telemetry.accept({ ...sound, stream: undefined as never }),
        telemetry.accept({ ...sound, receivedAt: Number.NaN }),
        telemetry.accept({ ...sound, qos: 3 as never }),
        telemetry.accept(sound),
      ]);
      expect(outcomes.map((outcome) => outcome.status)).toEqual([
        'fulfilled',
        ...Array.from({ length: 4 }, () => 'rejected'),
        'fulfilled',
      ]);
      expect(await telemetry.query({ device: deviceNamed('pump-1'), limit: 9 })).toHaveLength(2);
    });

    it('stores what was accepted before it was closed, and nothing afterwards', async () => {
      const { telemetry, reopen } = await openFresh();
      const waiting = [telemetry.accept(message('pump-1', 'a')), telemetry.accept(message('pump-1', 'b'))];
      const reopened = await reopen();
      await Promise.all(waiting);
      expect(texts(await reopened.query({ device: deviceNamed('pump-1'), limit: 9 }))).toEqual(['a', 'b']);
      const closed = { code: 'unavailable' };
      await expect(telemetry.accept(message('pump-1', 'c'))).rejects.toMatchObject(closed);
      await expect(telemetry.query({ device: deviceNamed('pump-1'), limit: 9 })).rejects.toMatchObject(closed);
      await expect(telemetry.last()).rejects.toMatchObject(closed);
      await telemetry.close();
    });
  });
}
