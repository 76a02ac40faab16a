/** What a device and a group may store in a day, and who is held first when the disk is nearly full. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceId } from '@rollcall/protocol';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DAY, message, START } from '../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { openTelemetry, type TelemetryOptions } from './open.ts';
import { type ShareOverrun, StorageShares } from './storage-shares.ts';

const MIB = 1_048_576;

function of(device: string, bytes: number, group = 'default') {
  return { ...message(device, Buffer.alloc(bytes)), group };
}

function openShares(device: number, group: number, now = () => START) {
  const shares = new StorageShares({ device, group }, now);
  const over: ShareOverrun[] = [];
  const changed: (string | undefined)[] = [];
  shares.listen({ exceeded: (found) => over.push(found), changed: (name) => changed.push(name) });
  return { shares, over, changed };
}

describe('shares of a day', () => {
  it('hold the device that is over its share, and no other, until the day ends', () => {
    let now = START;
    const { shares, over, changed } = openShares(MIB, 0, () => now);
    shares.stored([of('loud', MIB), of('quiet', 1000)], []);
    expect([shares.isHeld('loud', 'default'), shares.isHeld('quiet', 'default')]).toEqual([true, false]);
    expect(over).toMatchObject([{ kind: 'device', name: 'loud', shareBytes: MIB, cause: 'share' }]);
    shares.stored([of('loud', 1000)], []);
    expect(over).toHaveLength(1);
    now += DAY;
    shares.update(undefined, 0);
    expect(shares.isHeld('loud', 'default')).toBe(false);
    expect(changed).toEqual(['loud', undefined]);
  });

  it('do not charge a message that was stored before', () => {
    const { shares } = openShares(MIB, 0);
    shares.stored([of('again', MIB), of('again', MIB / 2)], [0]);
    expect(shares.isHeld('again', undefined)).toBe(false);
  });

  it('charge the bytes of user properties and content type in UTF-8', () => {
    const { shares } = openShares(MIB, 0);
    const properties = { userProperties: [['name', '温'.repeat(MIB / 12)]] as const, contentType: 'a/b' };
    const sent = { ...of('pump-1', 0), ...properties };
    shares.stored([sent, sent, sent], []);
    expect(shares.isHeld('pump-1', undefined)).toBe(false);
    shares.stored([sent, { ...of('pump-1', 0), contentType: 'x'.repeat(1000) }], []);
    expect(shares.isHeld('pump-1', undefined)).toBe(true);
    expect(shares.largest(1)[0]?.bytes).toBeGreaterThan(MIB + 1000);
  });

  it('hold every device of a group that is over its share', () => {
    const { shares, over } = openShares(0, MIB);
    shares.stored([of('a-1', MIB / 2, 'a'), of('a-2', MIB / 2, 'a'), of('b-1', MIB / 2, 'b')], []);
    expect([shares.isHeld('a-3', 'a'), shares.isHeld('b-1', 'b')]).toEqual([true, false]);
    expect(over).toMatchObject([{ kind: 'group', name: 'a' }]);
  });

  it('shrink near the floor of the disk, so that the largest are held first', () => {
    const { shares, over } = openShares(100 * MIB, 0);
    shares.stored([of('heavy', 60 * MIB), of('middle', 10 * MIB), of('light', 1000)], []);
    const held = (free: number) => {
      shares.update(free, 100);
      return ['heavy', 'middle', 'light'].filter((name) => shares.isHeld(name, undefined));
    };
    expect(held(1000)).toEqual([]);
    expect(held(150)).toEqual(['heavy']);
    expect(held(105)).toEqual(['heavy', 'middle']);
    expect(held(1000)).toEqual([]);
    expect(over.map(({ name, cause }) => [name, cause])).toEqual([
      ['heavy', 'disk'],
      ['middle', 'disk'],
    ]);
  });

  it('state who stored most today by bytes or by messages, what each may store, and nothing of the day before', () => {
    let now = START;
    const { shares } = openShares(MIB, 0, () => now);
    expect(shares.today(9, 'bytes')).toMatchObject({ isCounted: true, devices: [], deviceShare: MIB, groupShare: 0 });
    shares.stored([of('loud', 2 * MIB, 'a'), of('often', 10, 'b'), of('often', 10, 'b'), of('again', 5, 'b')], [3]);
    const names = (by: 'bytes' | 'messages') => shares.today(9, by).devices.map(({ name }) => name);
    expect([names('bytes'), names('messages')]).toEqual([
      ['loud', 'often'],
      ['often', 'loud'],
    ]);
    expect(shares.today(1, 'messages')).toMatchObject({
      since: Math.floor(START / DAY) * DAY,
      devices: [{ name: 'often', messages: 2, isHeld: false }],
      groups: [{ name: 'b', messages: 2 }],
    });
    expect(shares.today(1, 'bytes').devices).toMatchObject([{ name: 'loud', isHeld: true }]);
    now += DAY;
    expect(shares.today(9, 'bytes').devices).toEqual([]);
  });

  it('count nothing where neither devices nor groups have a share', () => {
    const { shares } = openShares(0, 0);
    shares.stored([of('a', 10)], []);
    expect(shares.today(9, 'bytes')).toMatchObject({ isCounted: false, devices: [] });
  });

  it('count in bounded memory, and know the largest among a million devices', () => {
    const { shares } = openShares(MIB, 0);
    const loud = of('loud', 900);
    const payload = Buffer.alloc(10);
    for (let i = 0; i < 1_000_000; i += 1000) {
      shares.stored(
        Array.from({ length: 1000 }, (_, n) => ({ ...loud, device: `d-${i + n}` as DeviceId, payload })),
        [],
      );
      shares.stored([loud], []);
    }
    expect(shares.largest(1)).toMatchObject([{ name: 'loud', bytes: expect.closeTo(939_000, -5) }]);
  });
});

describe('a journal with shares', () => {
  async function openJournal(directory: string, options: Partial<TelemetryOptions> = {}) {
    const telemetry = await openTelemetry({
      directory,
      now: () => START,
      log: pino({ level: 'silent' }),
      disk: { spaceOf: async () => ({ free: 30 * MIB, size: 40 * MIB }) },
      shares: { device: 10, group: 0 },
      retention: { age: 0, bytes: { percent: 50 } },
      ...options,
    });
    onTestFinished(() => telemetry.close());
    return telemetry;
  }

  it('counts the share as a part of the bound on bytes, and knows it after a restart', async () => {
    const directory = temporaryDirectory();
    const before = await openJournal(directory);
    const store = () => before.accept(of('loud', MIB));
    await Promise.all([store(), before.accept(of('quiet', 1000))]);
    expect(before.counters().heldDevices).toBe(0);
    await store();
    expect(before.counters().heldDevices).toBe(1);
    await before.close();
    const after = await openJournal(directory);
    expect([after.shares.isHeld('loud', undefined), after.shares.isHeld('quiet', undefined)]).toEqual([true, false]);
  });

  it('holds the largest when it is opened on a disk that is nearly full', async () => {
    const directory = temporaryDirectory();
    const retention = { age: 0, bytes: 40 * MIB };
    const before = await openJournal(directory, { retention });
    await Promise.all([before.accept(of('heavy', MIB)), before.accept(of('light', 1000))]);
    expect(before.counters().heldDevices).toBe(0);
    await before.close();
    const disk = { spaceOf: async () => ({ free: 3 * MIB, size: 40 * MIB }) };
    const after = await openJournal(directory, { retention, disk, diskFloor: 2.5 * MIB });
    // A fifth of the share of 4 MiB is left.
    expect([after.shares.isHeld('heavy', undefined), after.shares.isHeld('light', undefined)]).toEqual([true, false]);
  });

  it('opens with a shares file that can not be read, and counts again', async () => {
    const directory = temporaryDirectory();
    for (const text of ['{"day":', '{"day":1,"devices":[{}],"groups":[]}', '[null]', 'null']) {
      writeFileSync(join(directory, 'shares.json'), text);
      await (await openJournal(directory)).close();
    }
  });

  it('stays within the bound on bytes between two hourly prunings', async () => {
    const telemetry = await openJournal(temporaryDirectory(), { shares: { device: 0, group: 0 } });
    for (let i = 0; i < 80; i += 1) await telemetry.accept(of(`d-${i}`, MIB / 2));
    while ((await telemetry.stats()).bytes > 16 * MIB) await new Promise((resolve) => setImmediate(resolve));
    expect((await telemetry.stats()).messages).toBeLessThan(40);
  });
});
