/** What a bound that is a part of the room does to a journal that was there before it. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { beforeEach, expect, it } from 'vitest';
import { message } from '../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { openTelemetry } from './open.ts';
import type { RetentionSetting } from './retention-bounds.ts';

const DAY = 86_400_000;
const START = Date.UTC(2030, 0, 1);
const LARGER = 'the journal was larger than telemetry.retention.bytes allows';

let directory: string;
let now: number;
beforeEach(() => {
  directory = temporaryDirectory();
  now = START;
});

interface Run {
  readonly free?: number | Error;
  readonly days?: number;
}

/** Opens the journal, stores a message a day, prunes and closes; returns how many files are left, and the warnings. */
async function run(bytes: RetentionSetting['bytes'] | undefined, { free = 0, days = 0 }: Run = {}) {
  const lines: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line) => lines.push(JSON.parse(line).msg) });
  const spaceOf = async () => {
    if (free instanceof Error) throw free;
    return { free, size: 1e9 };
  };
  const retention = bytes === undefined ? undefined : { age: 0, bytes };
  const telemetry = await openTelemetry({
    ...{ directory, now: () => now, log, disk: { spaceOf } },
    ...(retention !== undefined && { retention }),
  });
  for (let day = 0; day < days; day += 1) {
    await telemetry.accept(message('pump-1', Buffer.alloc(100_000), { receivedAt: now }));
    now += DAY;
  }
  await telemetry.prune();
  const { segments, bytes: held } = await telemetry.stats();
  await telemetry.close();
  return { files: segments.length, held, isWarned: lines.some((line) => line.startsWith(LARGER)) };
}

it('a journal that is larger than a percentage allows is not cut, at this start and later ones, and grows no more', async () => {
  const before = await run(undefined, { days: 6 });
  expect(before.files).toBe(6);
  const half = { percent: 50 };
  expect(await run(half)).toMatchObject({ files: 6, isWarned: true });
  expect(await run(half)).toMatchObject({ files: 6, isWarned: true });
  const later = await run(half, { days: 4 });
  expect(later.files).toBeLessThan(8);
  expect(later.files).toBeGreaterThan(4);
});

it.each([
  ['another part', { percent: 40 }],
  ['a size', 200_000],
])('is cut when the operator sets %s', async (_, bytes) => {
  await run(undefined, { days: 6 });
  await run({ percent: 50 });
  const cut = await run(bytes);
  expect(cut.files).toBeLessThan(4);
  expect(cut.isWarned).toBe(false);
  // And a part that comes after it does not bring the old size back.
  expect(await run({ percent: 50 }, { days: 6, free: 100_000 })).toMatchObject({ isWarned: false });
});

it('a journal that grew under a percentage is cut when it exceeds it', async () => {
  await run({ percent: 50 }, { free: 1e9 });
  await run({ percent: 50 }, { free: 1e9, days: 6 });
  const fuller = await run({ percent: 50 });
  expect(fuller.isWarned).toBe(false);
  expect(fuller.files).toBeLessThan(6);
});

it('a journal is not cut when the free space, or the setting applied before, can not be read', async () => {
  await run({ percent: 50 }, { free: 1e9, days: 6 });
  expect(await run({ percent: 50 }, { free: new Error('the disk does not answer') })).toMatchObject({ files: 6 });
  writeFileSync(join(directory, 'retention.json'), '{"percent":');
  expect(await run({ percent: 50 })).toMatchObject({ files: 6, isWarned: true });
});
