/** Nothing is stored while the disk has less free space than the floor; then everything that waited is. */

import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { deviceNamed, message } from '../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { openTelemetry } from './open.ts';

const MIB = 1_048_576;

it('telemetry is not stored while the disk has less free than the floor, and is stored again when it has more', async () => {
  let free = 300 * MIB;
  const lines: string[] = [];
  const telemetry = await openTelemetry({
    directory: temporaryDirectory(),
    now: Date.now,
    log: pino({ level: 'info' }, { write: (line) => lines.push((JSON.parse(line) as { msg: string }).msg) }),
    limits: { retryEvery: 5 },
    diskFloor: 256 * MIB,
    disk: { checkEvery: 5, spaceOf: async () => ({ free, size: 100_000 * MIB }) },
  });
  onTestFinished(() => telemetry.close());
  await telemetry.accept(message('pump-1', 'a'));
  const until = async (isLow: boolean) => {
    while (telemetry.counters().isDiskLow !== isLow) await new Promise((resolve) => setImmediate(resolve));
  };
  free = 255 * MIB;
  await until(true);
  const held = Promise.withResolvers<void>();
  telemetry.onPressure((isUnderPressure) => isUnderPressure && held.resolve());
  const waiting = telemetry.accept(message('pump-1', 'b'));
  await held.promise;
  expect(telemetry.counters()).toMatchObject({ stored: 1, isUnderPressure: true, diskFreeBytes: 255 * MIB });
  expect(await telemetry.query({ device: deviceNamed('pump-1'), limit: 9 })).toHaveLength(1);
  free = 257 * MIB;
  while (telemetry.counters().diskFreeBytes !== free) await new Promise((resolve) => setImmediate(resolve));
  expect(telemetry.counters().isDiskLow).toBe(true);
  free = 300 * MIB;
  await waiting;
  expect(telemetry.counters()).toMatchObject({ stored: 2, refused: 0, isDiskLow: false, isUnderPressure: false });
  expect(lines.filter((text) => text.includes('disk'))).toEqual([
    'the disk is nearly full: no telemetry is stored until there is space',
    'the disk has space again',
  ]);
});

it('the floor is at most a tenth of a small disk', async () => {
  const telemetry = await openTelemetry({
    directory: temporaryDirectory(),
    now: Date.now,
    log: pino({ level: 'silent' }),
    diskFloor: 256 * MIB,
    disk: { spaceOf: async () => ({ free: 60 * MIB, size: 500 * MIB }) },
  });
  onTestFinished(() => telemetry.close());
  expect(telemetry.counters().isDiskLow).toBe(false);
});
