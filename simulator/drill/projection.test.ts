import { describe, expect, it } from 'vitest';
import { type FleetCounts, projectRotation } from './projection.ts';

const fleet: FleetCounts = {
  dependents: 36_002,
  services: 2,
  late: 7,
  tokens: 3,
  connected: undefined,
  budgetPerSecond: 10,
};
const drilled = { withinMs: 600_000, measuredPerSecond: 50, clocks: 'kept', replaced: 'issuing' } as const;

describe('what a drill says about the fleet', () => {
  it('takes as long as the budget allows, and the last window on top of it', () => {
    expect(projectRotation(fleet, drilled)).toMatchObject({
      devices: 36_000,
      renewMs: 3_780_000,
      renewalsPerSecond: 10,
    });
  });

  it('takes as long as the machine needs, where the budget asks for more than it can do', () => {
    expect(projectRotation(fleet, { ...drilled, measuredPerSecond: 5 })).toMatchObject({
      renewMs: 7_560_000,
      renewalsPerSecond: 5,
    });
  });

  it('takes the time that it is given, where that is longer', () => {
    expect(projectRotation(fleet, { ...drilled, withinMs: 7_200_000 })).toMatchObject({
      renewMs: 7_560_000,
      renewalsPerSecond: 5,
    });
  });

  it('has nobody to lose where there is nobody', () => {
    const nobody = projectRotation({ ...fleet, dependents: 0, services: 0, late: 0 }, drilled);
    expect(nobody).toMatchObject({ devices: 0, renewMs: 0, renewalsPerSecond: 0, lost: { offlineNow: 0 } });
  });

  it('counts who is not connected as away, and who is late where nobody could be asked', () => {
    expect(projectRotation(fleet, drilled).lost).toEqual({
      offlineNow: 7,
      services: 2,
      oldBundle: 0,
      tokens: 0,
      clockWrong: 'none',
    });
    expect(projectRotation({ ...fleet, connected: 35_900 }, drilled).lost.offlineNow).toBe(100);
    expect(projectRotation({ ...fleet, connected: 36_500 }, drilled).lost.offlineNow).toBe(0);
  });

  it('gives up wrong clocks where the drilled ones were lost', () => {
    expect(projectRotation(fleet, { ...drilled, clocks: 'lost' }).lost.clockWrong).toBe('all of them');
  });

  it('takes every bootstrap token for void where the root is another, because each names one', () => {
    expect(projectRotation(fleet, { ...drilled, replaced: 'root' }).lost.tokens).toBe(3);
  });
});
