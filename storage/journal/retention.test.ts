/** What goes when: by age, by group, by bytes; and what a clock that leaps may not do. */

import { readdirSync } from 'node:fs';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Retention, SegmentStats } from '../../telemetry/index.ts';
import { openTelemetry } from '../../telemetry/open.ts';
import { deviceNamed, message } from '../../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { planRetention, type RetentionRules } from './retention.ts';
import { trustedTime } from './trusted-time.ts';

const DAY = 86_400_000;
const START = Date.UTC(2030, 0, 1);
const NOON = START + DAY / 2;

function dayOf(number: number): string {
  return new Date(START + number * DAY).toISOString().slice(0, 10);
}

describe('the time that retention uses', () => {
  const days = [0, 1, 2, 3].map(dayOf);
  const at = (day: number) => START + day * DAY;

  it('is the clock, as long as messages came within a week of each other', () => {
    expect(trustedTime(days, at(4.5))).toEqual({ now: at(4.5), ahead: 0 });
    expect(trustedTime([], at(4.5))).toEqual({ now: at(4.5), ahead: 0 });
    expect(trustedTime(days, at(3.2))).toEqual({ now: at(3.2), ahead: 0 });
  });

  it('does not leap years with the clock, and trusts it after three days of messages', () => {
    expect(trustedTime(days, at(1000))).toEqual({ now: at(4), ahead: 996 * DAY });
    const later = (day: number) => [...days, dayOf(1000), dayOf(1001), dayOf(1002), dayOf(1003)].slice(0, day - 995);
    expect(trustedTime(later(1000), at(1000.5))).toEqual({ now: at(4.5), ahead: 996 * DAY });
    expect(trustedTime(later(1002), at(1002.9)).now).toBeCloseTo(at(6.9), 0);
    expect(trustedTime(later(1003), at(1003.1))).toEqual({ now: at(1003.1), ahead: 0 });
  });

  it('is right at once when the clock is right again', () => {
    expect(trustedTime([...days, dayOf(1000), dayOf(4)], at(4.5))).toEqual({ now: at(4.5), ahead: 0 });
  });
});

describe('a retention plan', () => {
  const closed = [0, 1, 2, 3].map((day) => ({ day: dayOf(day), bytes: 100, removedMark: '' }));
  const plan = (kept: Partial<RetentionRules>, now: number, removedMark = '') =>
    planRetention(
      { age: 0, bytes: 0, groups: [], ...kept },
      {
        closed: closed.map((one) => ({ ...one, removedMark })),
        current: { day: dayOf(4), bytes: 100 },
        now: START + now * DAY,
      },
    );

  it('removes what is older than all bounds, and the oldest beyond the bytes', () => {
    expect(plan({ age: 2 * DAY }, 4.5).removed).toEqual([0, 1]);
    expect(plan({ bytes: 350 }, 4.5).removed).toEqual([0, 1]);
    expect(plan({}, 4.5)).toEqual({ removed: [], rewrites: [], ahead: 0 });
  });

  it('removes groups with a shorter age, and all but those with a longer age, once', () => {
    const groups = [
      { name: 'tests', age: DAY },
      { name: 'meters', age: 100 * DAY },
    ];
    const found = plan({ age: 3 * DAY, groups }, 4.5);
    expect(found.removed).toEqual([]);
    expect(found.rewrites).toEqual([
      { index: 0, which: 'kept', groups: ['meters'], mark: '* tests' },
      { index: 1, which: 'removed', groups: ['tests'], mark: 'tests' },
      { index: 2, which: 'removed', groups: ['tests'], mark: 'tests' },
    ]);
    expect(plan({ age: 3 * DAY, groups }, 4.5, 'tests').rewrites.map(({ index }) => index)).toEqual([0]);
    expect(plan({ age: 3 * DAY, groups: [{ name: 'meters', age: 0 }] }, 4.5).removed).toEqual([]);
  });
});

describe('a journal with rules for groups', () => {
  it('removes the devices of one, keeps those of another, and leaves all queries otherwise unchanged', async () => {
    const directory = temporaryDirectory();
    const open = async (retention: Retention, now: number, heard: SegmentStats[] = []) => {
      const done = Promise.withResolvers<void>();
      const telemetry = await openTelemetry({
        directory,
        now: () => now,
        log: pino({ level: 'silent' }),
        retention,
        devicesOf: async (group) => ({ tests: ['probe-1', 'probe-2'], meters: ['meter-1'] })[group] ?? [],
        removed: async (segments) => {
          heard.push(...segments);
          done.resolve();
        },
      });
      onTestFinished(() => telemetry.close());
      return { telemetry, done: done.promise };
    };
    const { telemetry } = await open({ age: 0, bytes: 0 }, NOON);
    for (const day of [0, 1, 2]) {
      for (const [i, device] of ['probe-1', 'meter-1', 'pump-1', 'probe-2', 'pump-1'].entries()) {
        await telemetry.accept(message(device, `${day}${i}`, { receivedAt: NOON + day * DAY }));
      }
    }
    await telemetry.accept({ ...message('pump-1', 'keyed', { receivedAt: NOON + 2 * DAY }), key: 'k' });
    await telemetry.close();

    const rules = { age: 0, bytes: 0, groups: { tests: DAY / 4, meters: 0 } };
    const heard: SegmentStats[] = [];
    const second = await open(rules, NOON + 2 * DAY, heard);
    await second.done;
    expect(heard.map(({ messages, firstPosition }) => [firstPosition, messages])).toEqual([
      [1, 2],
      [6, 2],
    ]);
    const read = async () => {
      const found: string[] = [];
      for await (const page of second.telemetry.pages({}))
        found.push(...page.map(({ position, payload }) => `${position}:${payload}`));
      return found;
    };
    const newest = ['11:20', '12:21', '13:22', '14:23', '15:24', '16:keyed'];
    expect(await read()).toEqual(['2:01', '3:02', '5:04', '7:11', '8:12', '10:14', ...newest]);
    expect((await second.telemetry.stats()).segments.map(({ messages }) => messages)).toEqual([3, 3, 6]);
    const ofProbe = await second.telemetry.query({ device: deviceNamed('probe-1'), limit: 9 });
    expect(ofProbe.map(({ position }) => position)).toEqual([11]);
    expect(await second.telemetry.prune()).toEqual([]);

    await second.telemetry.prune({ age: DAY / 4, bytes: 0, groups: { meters: 0 } });
    expect(await read()).toEqual(['2:01', '7:11', ...newest]);
    expect(await second.telemetry.last(deviceNamed('pump-1'))).toHaveLength(1);
    await second.telemetry.accept(message('pump-1', 'more', { receivedAt: NOON + 2 * DAY }));
    await second.telemetry.prune({ age: DAY / 4, bytes: 0 });
    expect(await read()).toEqual([...newest, '17:more']);
    const files = readdirSync(directory).filter((name) => !/-(wal|shm)$/.test(name));
    expect(files).toEqual(['00000003-2030-01-03.db']);
  });

  it('continues with the newest edition after a crash left two, and removes the other', async () => {
    const directory = temporaryDirectory();
    const open = () => openTelemetry({ directory, now: () => NOON, log: pino({ level: 'silent' }) });
    const { copyFileSync } = await import('node:fs');
    const telemetry = await open();
    await telemetry.accept(message('pump-1', 'a', { receivedAt: NOON }));
    await telemetry.close();
    copyFileSync(`${directory}/00000001-2030-01-01.db`, `${directory}/00000001-2030-01-01-1.db`);
    const again = await open();
    onTestFinished(() => again.close());
    expect(readdirSync(directory).filter((name) => name.endsWith('.db'))).toEqual(['00000001-2030-01-01-1.db']);
    expect(await again.query({ device: deviceNamed('pump-1'), limit: 9 })).toHaveLength(1);
  });
});
