import { describe, expect, it } from 'vitest';
import { PacketIds } from './packet-ids.ts';

describe('packet identifiers', () => {
  it('start at one, are never zero, and wrap around', () => {
    const ids = new PacketIds();
    expect(ids.getLastAllocated()).toBeNull();
    const given = Array.from({ length: 65_536 }, () => {
      const id = ids.allocate() as number;
      ids.deallocate(id);
      return id;
    });
    expect([given[0], given[65_534], given[65_535]]).toEqual([1, 65_535, 1]);
  });

  it('are not given twice at one time', () => {
    const ids = new PacketIds();
    ids.register(2);
    expect([ids.allocate(), ids.allocate(), ids.allocate()]).toEqual([1, 3, 4]);
    for (let left = 65_535 - 4; left > 0; left -= 1) ids.allocate();
    expect(ids.allocate()).toBeNull();
    ids.deallocate(7);
    expect(ids.allocate()).toBe(7);
  });

  it('stay with a message that is sent again', () => {
    const ids = new PacketIds();
    ids.allocate();
    ids.allocate();
    ids.keepOnly([2]);
    ids.reuse(2);
    expect([ids.allocate(), ids.getLastAllocated(), ids.allocate(), ids.allocate()]).toEqual([2, 2, 3, 4]);
  });
});
