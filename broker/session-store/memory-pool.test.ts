import { describe, expect, it } from 'vitest';
import { GUARANTEED_BYTES, MemoryPool, type PoolRefusal, SERVER_OWNER } from './memory-pool.ts';

const BOUND = 1_048_576;

function poolOf(bound = BOUND) {
  const clock = { now: 0 };
  const pool = new MemoryPool(bound, () => clock.now);
  /** Takes it when it may; says whether it might. */
  const take = (kind: 'retained' | 'queued', owner: string, bytes: number) => {
    if (!pool.hasRoom(kind, owner, bytes)) {
      pool.recordRefusal(kind, owner, bytes);
      return false;
    }
    pool.addBytes(kind, bytes);
    pool.addOwnerBytes(kind, owner, bytes);
    return true;
  };
  return { pool, take, clock };
}

describe('the memory pool', () => {
  it('always has room for one more owner, however many large ones there are', () => {
    const { pool, take } = poolOf();
    for (let n = 0; n < 1_000; n += 1) while (take('retained', `large-${n}`, 8_192));
    expect(pool.use('retained').bytes).toBeLessThan(pool.use('retained').limit);
    expect(take('retained', 'small', 250)).toBe(true);
  });

  it('reserves a part for queues and a part for retained messages', () => {
    const { pool, take } = poolOf();
    for (let n = 0; n < 1_000; n += 1) while (take('retained', `r-${n}`, 8_192));
    expect(take('queued', 'a', 60_000)).toBe(true);
    for (let n = 0; n < 1_000; n += 1) while (take('queued', `q-${n}`, 32_768));
    expect(pool.bytes).toBeLessThanOrEqual(BOUND + 1_001 * GUARANTEED_BYTES.queued);
    const other = poolOf();
    for (let n = 0; n < 1_000; n += 1) while (other.take('queued', `q-${n}`, 32_768));
    expect(other.take('retained', 'a', 20_000)).toBe(true);
  });

  it('gives every owner its guaranteed share, even beyond the limit, and no more', () => {
    const { take } = poolOf(1);
    expect([take('retained', 'a', GUARANTEED_BYTES.retained), take('retained', 'a', 1)]).toEqual([true, false]);
    expect([take('queued', 'a', GUARANTEED_BYTES.queued), take('queued', 'a', 1)]).toEqual([true, false]);
    expect(take('retained', SERVER_OWNER, 100_000)).toBe(true);
  });

  it('lets an owner replace a message by a smaller one', () => {
    const { pool, take } = poolOf();
    expect(take('retained', 'a', 60_000)).toBe(true);
    for (let n = 0; n < 1_000; n += 1) while (take('retained', `large-${n}`, 8_192));
    expect(pool.hasRoom('retained', 'a', 59_000, 60_000)).toBe(true);
    expect(pool.hasRoom('retained', 'a', 59_000)).toBe(false);
  });

  it('reports each refusal, and is nearly full for ten minutes after it', () => {
    const { pool, take, clock } = poolOf();
    const refusals: PoolRefusal[] = [];
    pool.onRefused((refusal) => refusals.push(refusal));
    expect(pool.isNearlyFull).toBe(false);
    take('queued', 'a', 10_000);
    take('queued', 'a', BOUND);
    expect(refusals).toEqual([{ kind: 'queued', owner: 'a', bytes: BOUND, heldBytes: 10_000 }]);
    expect([pool.isNearlyFull, pool.use('queued').refused]).toEqual([true, 1]);
    clock.now = 600_000;
    expect(pool.isNearlyFull).toBe(false);
  });
});
