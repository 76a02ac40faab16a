/** Limits on pending connections: of one thread, and of several threads that share one count. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import type { LoadTest } from './load-test-exemptions.ts';
import { type PendingConnectionLimits, PendingConnections, type PendingPlace } from './pending-connections.ts';
import {
  createSharedConnectionMemory,
  forgetConnections,
  SharedPendingConnections,
} from './shared-pending-connections.ts';

const LIMITS = { handshakes: 10, handshakesPerAddress: 4, connectionsPerSecondPerAddress: 0 };
const LOAD_TEST: LoadTest = { tokenId: 'tok-1', networks: [], perSecond: 1_000, expiresAt: Number.POSITIVE_INFINITY };

/** Counts that share their memory, one per thread; and the clock of all. */
function sharedCounts(limits: PendingConnectionLimits, threads: number) {
  const clock = { ms: 1_000 };
  const memory = createSharedConnectionMemory(threads);
  const monotonic = () => BigInt(clock.ms) * 1_000_000n;
  const counts = Array.from(
    { length: threads },
    (_, thread) => new SharedPendingConnections({ memory, thread, limits, monotonic }),
  );
  const admit = (network: string, loadTest?: LoadTest, thread = 0) => counts[thread]?.admit(network, loadTest);
  return { memory, clock, counts, admit };
}

function ownCounts(limits: PendingConnectionLimits) {
  const clock = { ms: 1_000 };
  const counts = new PendingConnections(limits);
  return { clock, admit: (network: string, loadTest?: LoadTest) => counts.admit(network, loadTest, clock.ms) };
}

describe.each([
  ['of one thread', ownCounts],
  ['of several threads', (limits: PendingConnectionLimits) => sharedCounts(limits, 3)],
])('the count of pending connections %s', (_name, start) => {
  const outcomes = (places: readonly unknown[]) => places.map((place) => (typeof place === 'string' ? place : 'place'));

  it('refuses one more than a network may have until one of its places is released', () => {
    const { admit } = start(LIMITS);
    const places = [1, 2, 3, 4, 5].map(() => admit('192.0.2.1'));
    expect(outcomes(places)).toEqual(['place', 'place', 'place', 'place', 'too_many_handshakes']);
    expect(outcomes([admit('192.0.2.2')])).toEqual(['place']);
    (places[0] as PendingPlace).release();
    expect(outcomes([admit('192.0.2.1'), admit('192.0.2.1')])).toEqual(['place', 'too_many_handshakes']);
  });

  it('refuses one more than all networks may have together, and takes no place for it', () => {
    const { admit } = start(LIMITS);
    const places = Array.from({ length: 10 }, (_, n) => admit(`192.0.2.${n}`));
    expect(outcomes([admit('192.0.2.99')])).toEqual(['too_many_handshakes']);
    (places[0] as PendingPlace).release();
    expect(outcomes([admit('192.0.2.99'), admit('192.0.2.98')])).toEqual(['place', 'too_many_handshakes']);
  });

  it('limits the rate of a network, with a burst of twice the rate', () => {
    const { admit, clock } = start({ handshakes: 0, handshakesPerAddress: 0, connectionsPerSecondPerAddress: 5 });
    const attempts = (count: number) => outcomes(Array.from({ length: count }, () => admit('192.0.2.1')));
    expect(attempts(11)).toEqual([...Array(10).fill('place'), 'rate_limited']);
    expect(outcomes([admit('192.0.2.2')])).toEqual(['place']);
    clock.ms += 400;
    expect(attempts(3)).toEqual(['place', 'place', 'rate_limited']);
    clock.ms += 60_000;
    expect(attempts(11)).toEqual([...Array(10).fill('place'), 'rate_limited']);
  });

  it('gives a load test half of all places and its own rate, in place of the limits of its network', () => {
    const { admit } = start({ ...LIMITS, connectionsPerSecondPerAddress: 1 });
    const places = Array.from({ length: 6 }, () => admit('192.0.2.1', LOAD_TEST));
    expect(outcomes(places)).toEqual([...Array(5).fill('place'), 'too_many_handshakes']);
    const slow = { ...LOAD_TEST, tokenId: 'tok-2', perSecond: 1 };
    for (const place of places.slice(0, 5)) (place as PendingPlace).release();
    expect(outcomes([1, 2, 3].map(() => admit('192.0.2.1', slow)))).toEqual(['place', 'place', 'rate_limited']);
  });

  it('admits everything where the limits are 0', () => {
    const { admit } = start({ handshakes: 0, handshakesPerAddress: 0, connectionsPerSecondPerAddress: 0 });
    const places = Array.from({ length: 500 }, () => admit('192.0.2.1', undefined));
    expect(outcomes(places)).toEqual(Array(500).fill('place'));
  });
});

describe('threads that share a count of pending connections', () => {
  it('have each limit together, and each its own pending connections', () => {
    const { admit, counts, clock } = sharedCounts({ ...LIMITS, connectionsPerSecondPerAddress: 4 }, 2);
    const places = [0, 1, 0, 1, 0].map((thread) => admit('192.0.2.1', undefined, thread));
    expect(places.map((place) => typeof place)).toEqual(['object', 'object', 'object', 'object', 'string']);
    expect(counts.map(({ pending }) => pending)).toEqual([2, 2]);
    for (const place of places) if (typeof place === 'object') place.release();
    const attempts = Array.from({ length: 5 }, (_, n) => admit('192.0.2.1', undefined, n % 2));
    expect(attempts.at(-1)).toBe('too_many_handshakes');
    for (const place of attempts) if (typeof place === 'object') place.release();
    expect(admit('192.0.2.1', undefined, 1)).toBe('rate_limited');
    clock.ms += 250;
    expect([0, 1].map((thread) => typeof admit('192.0.2.1', undefined, thread))).toEqual(['object', 'string']);
  });

  it('get back the places of a thread that ended', () => {
    const { admit, memory } = sharedCounts(LIMITS, 2);
    for (let n = 0; n < 4; n += 1) admit('192.0.2.1', undefined, 1);
    expect(admit('192.0.2.1')).toBe('too_many_handshakes');
    forgetConnections(memory, 1);
    const places = Array.from({ length: 5 }, () => typeof admit('192.0.2.1'));
    expect(places).toEqual(['object', 'object', 'object', 'object', 'string']);
  });

  it('remember a network that has used its rate while thousands of others connect', () => {
    const { admit } = sharedCounts({ handshakes: 0, handshakesPerAddress: 0, connectionsPerSecondPerAddress: 1 }, 1);
    for (let n = 0; n < 2; n += 1) admit('192.0.2.1');
    for (let n = 0; n < 8_000; n += 1) {
      const place = admit(`2001:db8:${n.toString(16)}::/64`);
      if (typeof place === 'object') place.release();
    }
    expect(admit('192.0.2.1')).toBe('rate_limited');
  });

  it('admit exactly the burst of a network when they compete for it', async () => {
    const memory = createSharedConnectionMemory(4);
    const module = new URL('./shared-pending-connections.ts', import.meta.url).href;
    const script = `
      import { parentPort, workerData } from 'node:worker_threads';
      const { SharedPendingConnections } = await import(${JSON.stringify(module)});
      const limits = { handshakes: 0, handshakesPerAddress: 500, connectionsPerSecondPerAddress: 1000 };
      const counts = new SharedPendingConnections({ ...workerData, limits, monotonic: () => 5n });
      parentPort.once('message', () => {
        let admitted = 0;
        const places = [];
        for (let n = 0; n < 4000; n += 1) {
          const place = counts.admit('192.0.2.1', undefined);
          if (typeof place !== 'object') continue;
          admitted += 1;
          if (n % 2 === 0) place.release();
          else if (places.push(place) > 100) places.shift().release();
        }
        parentPort.postMessage(admitted);
      });
      parentPort.postMessage('ready');`;
    const url = new URL(`data:text/javascript,${encodeURIComponent(script)}`);
    const workers = [0, 1, 2, 3].map((thread) => new Worker(url, { workerData: { memory, thread } }));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const admitted = workers.map(async (worker) => (await once(worker, 'message'))[0] as number);
    for (const worker of workers) worker.postMessage('go');
    const total = (await Promise.all(admitted)).reduce((sum, each) => sum + each);
    await Promise.all(workers.map((worker) => worker.terminate()));
    expect(total).toBe(2_000);
  });
});
