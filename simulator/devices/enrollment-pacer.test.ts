import { expect, it } from 'vitest';
import { EnrollmentPacer } from './enrollment-pacer.ts';

/** A pacer on a clock that moves when the test says so. */
function createPacer(atOnce = 8) {
  let time = 1_000_000;
  let timers: { readonly at: number; readonly run: () => void }[] = [];
  const pacer = new EnrollmentPacer({
    atOnce,
    now: () => time,
    timers: {
      at: (at, run) => {
        timers.push({ at, run });
        return at;
      },
    },
  });
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
  return {
    pacer,
    settle,
    advance: async (milliseconds: number) => {
      const until = time + milliseconds;
      for (;;) {
        await settle();
        const next = timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        timers = timers.filter((timer) => timer !== next);
        time = Math.max(time, next.at);
        next.run();
      }
      time = until;
    },
  };
}

it('as many requests as allowed are in progress at one time, and the next begins when one ends', async () => {
  const { pacer, settle } = createPacer(2);
  const ends: (() => void)[] = [];
  for (let count = 0; count < 4; count += 1) void pacer.turn(() => new Promise<void>((resolve) => ends.push(resolve)));
  await settle();
  expect(ends).toHaveLength(2);
  ends[0]?.();
  await settle();
  expect(ends).toHaveLength(3);
});

it('after a refusal for the rate no request begins for as long as the server asked', async () => {
  const { pacer, settle, advance } = createPacer();
  pacer.throttled(3);
  let begun = 0;
  void pacer.turn(async () => {
    begun += 1;
  });
  await advance(2_999);
  expect(begun).toBe(0);
  await advance(1);
  await settle();
  expect(begun).toBe(1);
});

it('a server that closes connections without a response gets a second', async () => {
  const { pacer, advance, settle } = createPacer();
  pacer.throttled(undefined);
  let begun = 0;
  void pacer.turn(async () => {
    begun += 1;
  });
  await advance(999);
  expect(begun).toBe(0);
  await advance(1);
  await settle();
  expect(begun).toBe(1);
});

it.each([5, 40])('the rate settles near that of a server that admits %i requests per second', async (perSecond) => {
  const { pacer, advance } = createPacer();
  let tokens = perSecond * 2;
  let [admitted, refused] = [0, 0];
  const device = async (): Promise<void> => {
    const isAdmitted = await pacer.turn(async () => {
      if (tokens < 1) {
        pacer.throttled(1);
        return false;
      }
      tokens -= 1;
      pacer.succeeded();
      return true;
    });
    if (isAdmitted) admitted += 1;
    else {
      refused += 1;
      void device();
    }
  };
  for (let count = 0; count < perSecond * 60; count += 1) void device();
  for (let tenths = 0; tenths < 400; tenths += 1) {
    await advance(100);
    tokens = Math.min(perSecond * 2, tokens + perSecond / 10);
  }
  expect(admitted).toBeGreaterThan(perSecond * 40 * 0.7);
  expect(refused).toBeLessThan(admitted * 0.2);
});
