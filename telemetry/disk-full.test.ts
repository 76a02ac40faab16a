/** A disk that is full: nothing is acknowledged, and everything is once there is room. Needs the right to mount. */

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deviceNamed, message } from '../test/behaviour/telemetry-messages.ts';
import { smallDisk } from '../test/fixtures/small-disk.ts';
import { openTelemetry } from './open.ts';

describe('a full disk', () => {
  it('stores and acknowledges nothing until there is room, and then all of it, in order', async (context) => {
    const disk = smallDisk(4 * 1_048_576);
    if (disk === undefined) return context.skip('mounting needs more rights than this user has');
    const telemetry = await openTelemetry({
      directory: join(disk, 'telemetry'),
      now: Date.now,
      log: pino({ level: 'silent' }),
      limits: { retryEvery: 10 },
    });
    onTestFinished(() => telemetry.close());
    await telemetry.accept(message('pump-1', '0'));

    const ballast = join(disk, 'ballast');
    try {
      writeFileSync(ballast, Buffer.alloc(8 * 1_048_576));
    } catch {
      // it takes what there is
    }
    const full = Promise.withResolvers<void>();
    telemetry.onPressure((isUnderPressure) => isUnderPressure && full.resolve());
    const acknowledged: number[] = [];
    const sent = Array.from({ length: 200 }, (_, i) =>
      telemetry.accept(message('pump-1', `${i + 1}`.padEnd(1000))).then(() => acknowledged.push(i + 1)),
    );
    await full.promise;
    expect(acknowledged).toEqual([]);
    expect(await telemetry.query({ device: deviceNamed('pump-1'), limit: 10 })).toHaveLength(1);

    rmSync(ballast);
    await Promise.all(sent);
    const found = await telemetry.query({ device: deviceNamed('pump-1'), limit: 1000 });
    expect(found.map(({ payload }) => Number(`${payload}`))).toEqual(Array.from({ length: 201 }, (_, i) => i));
    expect(telemetry.counters()).toMatchObject({ refused: 0, isUnderPressure: false });
  });
});
