import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { machineCapacity, shortfall } from '../run/capacity.ts';
import { readJournal } from '../run/verification.ts';
import { Counters, CounterTotals } from './counters.ts';
import { SequenceSet } from './sequence-set.ts';

describe('a set of sequence numbers', () => {
  const numbers = fc.array(fc.nat(60), { maxLength: 80 });

  it('holds what was added, once', () => {
    fc.assert(
      fc.property(numbers, (list) => {
        const set = new SequenceSet();
        const plain = new Set<number>();
        for (const number of list) {
          expect(set.add(number)).toBe(!plain.has(number));
          plain.add(number);
        }
        expect(set.size).toBe(plain.size);
        for (let number = 0; number <= 61; number += 1) expect(set.has(number)).toBe(plain.has(number));
        expect(SequenceSet.fromRanges(set.ranges).size).toBe(plain.size);
      }),
    );
  });

  it('knows how many of it are missing in another', () => {
    const setOf = (list: readonly number[]) => {
      const set = new SequenceSet();
      for (const number of list) set.add(number);
      return set;
    };
    fc.assert(
      fc.property(numbers, numbers, (mine, theirs) => {
        const missing = new Set(mine.filter((number) => !theirs.includes(number))).size;
        expect(setOf(mine).missingIn(setOf(theirs))).toBe(missing);
      }),
    );
    expect(setOf([1, 2]).missingIn(undefined)).toBe(2);
  });
});

describe('the counters of a shard', () => {
  it('are reported once, and summed up over threads', () => {
    const [a, b, totals] = [new Counters(), new Counters(), new CounterTotals()];
    for (const counters of [a, b]) {
      counters.count('sent', 2);
      counters.error('ECONNRESET');
      counters.reason('puback', 0x97);
      counters.reason('disconnect', 0);
      counters.record('puback', counters === a ? 10 : 30);
      totals.add(counters.take());
      totals.add(counters.take());
    }
    expect(totals.counts.sent).toBe(4);
    expect(totals.errors).toEqual({ ECONNRESET: 2 });
    expect(totals.reasons).toEqual({ puback_quota_exceeded: 2, disconnect_normal_disconnection: 2 });
    expect(totals.percentile('puback', 50)).toBeCloseTo(10, 0);
    expect(totals.percentile('puback', 100)).toBeCloseTo(30, 0);
    expect(totals.percentile('connect', 50)).toBeUndefined();
  });
});

describe('a machine', () => {
  const small = { openFiles: 1_024, portsPerAddress: 28_000 };

  it('that has too few files or ports is told so before the run', () => {
    expect(shortfall({ devices: 800, behindProxy: 0, sourceAddresses: 0 }, small)).toBeUndefined();
    expect(shortfall({ devices: 1_000, behindProxy: 0, sourceAddresses: 0 }, small)).toMatch(
      /expected room for 1150 open files \(1000 devices\), found a limit of 1024.*ulimit -n/,
    );
    expect(shortfall({ devices: 400, behindProxy: 400, sourceAddresses: 0 }, small)).toMatch(/1350 open files/);
    const many = { openFiles: 1e6, portsPerAddress: 28_000 };
    expect(shortfall({ devices: 40_000, behindProxy: 0, sourceAddresses: 1 }, many)).toMatch(/--source-address/);
    expect(shortfall({ devices: 40_000, behindProxy: 0, sourceAddresses: 2 }, many)).toBeUndefined();
  });

  it('is asked through /proc', () => {
    const read = (path: string) =>
      path.endsWith('limits') ? 'Limit  Soft\nMax open files            20000      20000    files\n' : '32768\t60999\n';
    expect(machineCapacity(read)).toEqual({ openFiles: 20_000, portsPerAddress: 28_232 });
  });
});

describe('the journal of a server', () => {
  it('is read in pieces of any length, and only for the devices of the run', async () => {
    const line = (device: string, seq: number) =>
      `${JSON.stringify({ device, stream: 't', payload: { device, seq, due: 1 } })}\n`;
    const text = Buffer.from(line('a', 1) + line('a', 2) + line('a', 2) + line('b', 1) + line('a', 3));
    async function* pieces() {
      for (let at = 0; at < text.length; at += 7) yield text.subarray(at, at + 7);
    }
    const { seen, duplicates } = await readJournal(pieces(), (device) => device === 'a');
    expect([...seen.keys()]).toEqual(['a t']);
    expect(seen.get('a t')?.ranges).toEqual([1, 3]);
    expect(duplicates).toBe(1);
  });
});
