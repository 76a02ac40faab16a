import { describe, expect, it } from 'vitest';
import { type Expectation, judge, parseExpectation } from './expectation.ts';

const judged = (text: string, values: Record<string, number>) =>
  judge(parseExpectation(text) as Expectation, values).holds;

describe('an assertion', () => {
  it.each([
    ['lost.journal == 0', { 'lost.journal': 0 }, true],
    ['lost.journal == 0', { 'lost.journal': 1 }, false],
    ['puback.p99 < 0.5s', { 'puback.p99': 499 }, true],
    ['puback.p99 < 500ms', { 'puback.p99': 500 }, false],
    ['devices.connected >= 99%', { 'devices.connected': 99, 'devices.total': 100 }, true],
    ['devices.connected >= 99%', { 'devices.connected': 98, 'devices.total': 100 }, false],
    ['devices.connected != 3', { 'devices.connected': 3 }, false],
    ['errors.ECONNRESET > 2', { 'errors.ECONNRESET': 3 }, true],
    ['errors.ECONNRESET == 0', {}, true],
    ['devices.cutOff == 3', { 'devices.connectionRefused': 3 }, true],
  ])('%s with %j: %s', (text, values, holds) => {
    expect(judged(text, values as Record<string, number>)).toBe(holds);
  });

  it('about what was never measured does not hold', () => {
    expect(judge(parseExpectation('lost.journal == 0') as Expectation, {})).toMatchObject({
      holds: false,
      reason: 'lost.journal was not measured',
    });
  });
});
