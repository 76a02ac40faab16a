import { describe, expect, it } from 'vitest';
import { PacketIds } from './packet-ids.ts';

describe('packet identifiers', () => {
  it('start at one, are never zero, and wrap around', () => {
    const ids = new PacketIds();
    const given = Array.from({ length: 65_536 }, () => {
      const id = ids.take();
      ids.free(id);
      return id;
    });
    expect([given[0], given[65_534], given[65_535]]).toEqual([1, 65_535, 1]);
  });

  it('are not given twice at one time', () => {
    const ids = new PacketIds();
    expect([ids.take(), ids.take()]).toEqual([1, 2]);
    for (let left = 65_535 - 2; left > 0; left -= 1) ids.take();
    expect(() => ids.take()).toThrow(RangeError);
    ids.free(7);
    expect(ids.take()).toBe(7);
  });

  it('stay with the messages that are sent again after a lost connection', () => {
    const ids = new PacketIds();
    for (const id of [1, 2, 3]) expect(ids.take()).toBe(id);
    ids.keepOnly([2, 4]);
    expect([ids.take(), ids.take()]).toEqual([5, 6]);
  });
});
