import { describe, expect, it } from 'vitest';
import { seededRandom } from '../seeded-random.ts';
import { arrivalTimes } from './arrival-curves.ts';
import { makeSource, Replay } from './models.ts';
import { parseRecording } from './recording.ts';
import type { Arrival, Model, ReplayModel } from './schema.ts';

const replay = (over: Partial<ReplayModel> = {}): ReplayModel => ({
  kind: 'replay',
  file: 'room.csv',
  time: 'date',
  columns: { celsius: 'Temperature' },
  speed: 10,
  from: 'start',
  atEnd: 'again',
  ...over,
});

const CSV =
  'date,Temperature,"a, b"\n2015-02-02 14:19:00Z,23.7,"x"\n2015-02-02 14:20:00Z,23.72,"y ""z"""\r\n2015-02-02 14:22:00Z,23.73,w\n';

describe('devices arrive', () => {
  const of = (arrival: Arrival) => [...arrivalTimes(arrival, 1_000, seededRandom(4))];
  const arrivedBy = (times: number[], at: number) => times.filter((time) => time < at).length;

  it('evenly', () => expect(arrivedBy(of({ curve: 'constant', over: 10_000 }), 5_000)).toBe(500));
  it('ever more on a ramp', () => expect(arrivedBy(of({ curve: 'ramp', over: 10_000 }), 5_000)).toBe(250));
  it('in bursts', () => expect(arrivedBy(of({ curve: 'burst', size: 100, every: 1_000 }), 4_500)).toBe(500));
  it('by chance, at a rate', () => {
    const times = of({ curve: 'poisson', perSecond: 100 });
    expect(times.at(-1)).toBeGreaterThan(9_000);
    expect(times.at(-1)).toBeLessThan(11_000);
    expect(times).toEqual(of({ curve: 'poisson', perSecond: 100 }));
  });
  it('in a wave with its peak at midday', () => {
    const times = of({ curve: 'diurnal', over: 24_000, peak: 0.5 });
    expect(arrivedBy(times, 12_000)).toBe(500);
    expect(arrivedBy(times, 4_000)).toBeLessThan(50);
    expect(arrivedBy(times, 14_000) - arrivedBy(times, 10_000)).toBeGreaterThan(300);
  });
});

describe('a device measures', () => {
  const source = (model: Exclude<Model, ReplayModel>, seed = 1) => makeSource(model, seededRandom(seed));

  it('a constant', () => expect(source({ kind: 'constant', value: 'on' })(5)).toEqual({ value: 'on' }));

  it('a sine that comes back after its period, within its amplitude', () => {
    const measure = source({ kind: 'sine', middle: 20, amplitude: 5, period: 1_000, noise: 0 });
    const values = Array.from({ length: 100 }, (_, at) => measure(at * 10).value as number);
    expect(measure(1_000).value).toBe(values[0]);
    expect(Math.min(...values)).toBeCloseTo(15, 0);
    expect(Math.max(...values)).toBeCloseTo(25, 0);
  });

  it('a walk within its bounds', () => {
    const measure = source({ kind: 'walk', start: 5, step: 1, min: 4, max: 6 });
    const values = Array.from({ length: 1_000 }, () => measure(0).value as number);
    expect(values.every((value) => value >= 4 && value <= 6)).toBe(true);
    expect(new Set(values).size).toBeGreaterThan(50);
  });

  it('its way along a track, at its speed, and turns at the end', () => {
    const points: [number, number][] = [
      [52, 13],
      [52.01, 13],
    ]; // 1,112 m
    const measure = source({ kind: 'track', points, speed: 10, atEnd: 'turn' });
    const lat = (at: number) => measure(at).lat as number;
    const [first, second] = [lat(0), lat(1_000)];
    expect(Math.abs(second - first) * 111_195).toBeCloseTo(10, -1);
    const all = Array.from({ length: 400 }, (_, at) => lat(at * 1_000));
    expect(Math.max(...all)).toBeLessThanOrEqual(52.01);
    expect(Math.min(...all)).toBeGreaterThanOrEqual(52);
    expect(new Set(all.map((value, at) => Math.sign((all[at + 1] ?? value) - value))).size).toBe(3);
  });

  it('states that follow each other as they may', () => {
    const measure = source({
      kind: 'states',
      initial: 'idle',
      states: {
        idle: { for: 1_000, next: { busy: 1 } },
        busy: { for: 1_000, next: { idle: 3, broken: 1 } },
        broken: { for: 1_000, next: { idle: 1 } },
      },
    });
    const seen = Array.from({ length: 500 }, (_, at) => measure(at * 200).state as string);
    expect(new Set(seen)).toEqual(new Set(['idle', 'busy', 'broken']));
    for (let at = 1; at < seen.length; at += 1)
      if (seen[at] === 'broken' && seen[at - 1] !== 'broken') expect(seen[at - 1]).toBe('busy');
  });

  it('the same with the same seed, something else with another', () => {
    const model: Model = { kind: 'walk', start: 20, step: 1 };
    const ten = (seed: number) => {
      const measure = source(model, seed);
      return Array.from({ length: 10 }, () => measure(0).value);
    };
    expect(ten(7)).toEqual(ten(7));
    expect(ten(7)).not.toEqual(ten(8));
  });
});

describe('a recording', () => {
  it('is replayed with its columns, at its speed, again and again', () => {
    const walk = new Replay(parseRecording(CSV, replay()), replay(), 0);
    const dues = Array.from({ length: 4 }, () => walk.next());
    expect(dues.map((row) => row?.due)).toEqual([0, 6_000, 18_000, 30_000]);
    expect(dues[1]?.fields).toEqual({ celsius: 23.72 });
  });

  it('ends when it shall', () => {
    const once = replay({ atEnd: 'stop', from: 'spread' });
    const walk = new Replay(parseRecording(CSV, once), once, 0.5);
    expect([walk.next()?.due, walk.next()?.due, walk.next()]).toEqual([0, 12_000, undefined]);
  });

  it('may be NDJSON, with times as numbers', () => {
    const model = replay({ file: 'a.ndjson', time: 't', columns: { v: 'v' } });
    const recording = parseRecording('{"t":1423000000,"v":"1.5"}\n{"t":1423000002.5,"v":2}\n', model);
    expect([...recording.times]).toEqual([0, 2_500]);
    expect(recording.rows).toEqual([{ v: 1.5 }, { v: 2 }]);
  });

  it.each([
    ['', 'expected a heading'],
    ['date,Temperature\n', 'expected one row'],
    ['date,Temperature\n2015-02-02,1\nyesterday,2\n', 'room.csv:3: expected a time in column "date"'],
    ['date,Temp\n2015-02-02,1\n', 'expected a column "Temperature"'],
    ['date,Temperature\n2015-02-02\n', 'room.csv:2: expected 2 cells, found 1'],
  ])('that cannot be used says so: %j', (text, said) => {
    expect(() => parseRecording(text, replay())).toThrow(said);
  });
});
