import { describe, expect, it } from 'vitest';
import { simulateCommand } from './simulate.ts';
import { expectOptionsRead, readsOption, SIMULATION_WAYS } from './simulate-ways.ts';

const names = simulateCommand().options.map((option) => option.attributeName());

describe('an option of rollcall simulate', () => {
  it.each(names)('is read by at least one way to start a simulation: %s', (name) => {
    expect(SIMULATION_WAYS.some((way) => readsOption(way, name))).toBe(true);
  });

  const unread = SIMULATION_WAYS.flatMap((way) =>
    names.filter((name) => !readsOption(way, name)).map((name) => [name, way] as const),
  );
  it.each(unread)('is refused where it would have no effect: %s with %s', (name, way) => {
    expect(() => expectOptionsRead(way, { [name]: 1 })).toThrow(/: expected --[a-z-]+ with --.*, found it with --/);
  });

  it('that was not given is not refused', () => {
    expect(() => expectOptionsRead('--join', { scenario: undefined, join: 'a:1', json: true })).not.toThrow();
  });
});
