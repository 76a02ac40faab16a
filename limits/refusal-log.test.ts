import { describe, expect, it } from 'vitest';
import { RefusalLog } from './refusal-log.ts';

function collector(isEnabled = true) {
  const lines: object[] = [];
  const write = (fields: object) => lines.push(fields);
  return { lines, log: { isLevelEnabled: () => isEnabled, debug: write, info: write, warn: write, error: write } };
}

describe('the refusal log', () => {
  it('writes some lines per source, and the next line states how many were omitted', () => {
    let now = 0;
    const refusals = new RefusalLog({ perMinutePerSource: 3, now: () => now });
    const { lines, log } = collector();
    for (let n = 0; n < 100; n += 1) refusals.write(log, 'warn', '192.0.2.1', { n }, 'refused');
    expect(lines).toEqual([{ n: 0 }, { n: 1 }, { n: 2 }]);
    expect(refusals.counters()).toEqual({ refusals_not_logged_total: 97 });
    now += 20_000;
    refusals.write(log, 'warn', '192.0.2.1', {}, 'refused');
    expect(lines.at(-1)).toEqual({ notLogged: 97 });
  });

  it('writes a bounded number of lines for many sources, and one flood does not use up the lines of another source', () => {
    const refusals = new RefusalLog({ perMinutePerSource: 10, now: () => 0 });
    const { lines, log } = collector();
    for (let n = 0; n < 1_000; n += 1) refusals.write(log, 'warn', '2001:db8::1', {}, 'refused');
    expect(lines).toHaveLength(10);
    for (let n = 0; n < 1_000; n += 1) refusals.write(log, 'warn', `10.0.${n >> 8}.${n & 255}`, {}, 'refused');
    expect(lines).toHaveLength(200);
  });

  it('counts no line below the log level', () => {
    const refusals = new RefusalLog({ perMinutePerSource: 1, now: () => 0 });
    refusals.write(collector(false).log, 'debug', 'a', {}, 'refused');
    const { lines, log } = collector();
    refusals.write(log, 'warn', 'a', {}, 'refused');
    expect(lines).toEqual([{}]);
  });
});
