import { expect, it } from 'vitest';
import { manualTime } from '../test/fixtures/manual-time.ts';
import { Heartbeat, type Liveness, suspensionAwareClock } from './heartbeat.ts';

function start() {
  const time = manualTime(5_000);
  const changes: Liveness[] = [];
  const heartbeat = new Heartbeat({ now: time.now, schedule: time.schedule, onChange: (to) => changes.push(to) });
  return { time, changes, heartbeat };
}

it('a node is expired until its first heartbeat is confirmed', () => {
  const { heartbeat, changes, time } = start();
  expect(heartbeat.liveness).toBe('expired');
  heartbeat.confirm(time.now());
  expect(heartbeat.liveness).toBe('alive');
  expect(changes).toEqual(['alive']);
});

it('a node is deaf a second after it has sent the last heartbeat that was confirmed, and expired after 30 seconds', () => {
  const { heartbeat, changes, time } = start();
  const sentAt = time.now();
  time.advance(400);
  heartbeat.confirm(sentAt);
  time.advance(599);
  expect(heartbeat.liveness).toBe('alive');
  time.advance(1);
  expect(heartbeat.liveness).toBe('deaf');
  expect(changes).toEqual(['alive', 'deaf']);
  time.advance(28_999);
  expect(heartbeat.liveness).toBe('deaf');
  time.advance(1);
  expect(heartbeat.liveness).toBe('expired');
  expect(changes).toEqual(['alive', 'deaf', 'expired']);
});

it('a node is alive as long as its heartbeats are confirmed in time, and again when one is after a silence', () => {
  const { heartbeat, changes, time } = start();
  for (let beats = 0; beats < 100; beats += 1) {
    heartbeat.confirm(time.now());
    time.advance(900);
  }
  expect(changes).toEqual(['alive']);
  time.advance(5_000);
  heartbeat.confirm(time.now());
  expect(changes).toEqual(['alive', 'deaf', 'alive']);
  expect(time.pending).toBe(1);
});

it('a heartbeat that was sent too long ago does not make a node alive when its confirmation comes', () => {
  const { heartbeat, changes, time } = start();
  const sentAt = time.now();
  time.advance(1_500);
  heartbeat.confirm(sentAt);
  expect(heartbeat.liveness).toBe('deaf');
  expect(changes).toEqual(['deaf']);
});

it('a confirmation that comes after the one of a later heartbeat changes nothing', () => {
  const { heartbeat, time } = start();
  heartbeat.confirm(time.now());
  heartbeat.confirm(time.now() - 500);
  time.advance(700);
  expect(heartbeat.liveness).toBe('alive');
});

it('a node that the clock finds deaf is deaf, also while its timers are late', () => {
  const { heartbeat, time } = start();
  heartbeat.confirm(time.now());
  time.set(time.now() + 1_000);
  expect(heartbeat.liveness).toBe('deaf');
});

it('a node whose place was taken is expired at once and for good', () => {
  const { heartbeat, changes, time } = start();
  heartbeat.confirm(time.now());
  heartbeat.end();
  expect(changes).toEqual(['alive', 'expired']);
  heartbeat.confirm(time.now());
  expect(heartbeat.liveness).toBe('expired');
  expect(time.pending).toBe(0);
});

it('the time in which a machine was suspended counts', () => {
  let monotonic = 1_000;
  let wall = 1_700_000_000_000;
  const now = suspensionAwareClock(
    () => monotonic,
    () => wall,
  );
  const begin = now();
  // Rounding of the wall clock, and corrections of it.
  for (const [real, shown] of [
    [10, 10],
    [10, 11],
    [10, 9],
    [10, -50_000],
    [10, 10],
  ] as const) {
    monotonic += real;
    wall += shown;
    now();
  }
  expect(now() - begin).toBe(50);
  wall += 60_000;
  expect(now() - begin).toBe(60_050);
});
