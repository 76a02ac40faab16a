import { parseFraction } from '@rollcall/protocol';
import type { RunResult } from '../run/result.ts';
import { currentName, METRICS } from '../scenario/expectation.ts';

export interface Difference {
  readonly metric: string;
  readonly a: number | undefined;
  readonly b: number | undefined;
  /** b divided by a; undefined where one is missing or a is zero. */
  readonly ratio: number | undefined;
}

export interface Gate {
  readonly text: string;
  readonly metric: string;
  /** b may be at most so many times a. */
  readonly ratio: number;
}

/** `METRIC <= PERCENT%`: the second run's value, as a percentage of the first's. */
export function parseGate(text: string): Gate | string {
  const parts = /^\s*([A-Za-z]+\.[A-Za-z0-9_]+)\s*<=\s*(\d{1,6}(?:\.\d{1,3})?)%\s*$/.exec(text);
  if (parts === null) return `expected METRIC <= PERCENT%, such as "puback.p99 <= 120%", found ${JSON.stringify(text)}`;
  const [, written, percent] = parts as unknown as [string, string, string];
  const metric = currentName(written);
  const ratio = parseFraction(percent, 0, 999_999) as number;
  if (!Object.hasOwn(METRICS, metric)) return `expected a metric, one of ${Object.keys(METRICS).join(', ')}`;
  return { text, metric, ratio: ratio / 100 };
}

export function differences(a: RunResult, b: RunResult): readonly Difference[] {
  const names = Object.keys(METRICS).filter((name) => name in a.values || name in b.values);
  return names.map((metric) => {
    const [x, y] = [a.values[metric], b.values[metric]];
    return { metric, a: x, b: y, ratio: x === undefined || y === undefined || x === 0 ? undefined : y / x };
  });
}

export interface GateOutcome {
  readonly text: string;
  readonly holds: boolean;
  readonly reason: string;
}

/** A gate on something that was not measured in both runs does not hold. From zero, only zero is no worse. */
export function evaluateGate({ text, metric, ratio }: Gate, a: RunResult, b: RunResult): GateOutcome {
  const [x, y] = [a.values[metric], b.values[metric]];
  if (x === undefined || y === undefined)
    return { text, holds: false, reason: `${metric} was not measured in both runs` };
  return { text, holds: y <= x * ratio, reason: `found ${x} and ${y}` };
}
