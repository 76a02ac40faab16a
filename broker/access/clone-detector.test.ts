/** One certificate in two places is noticed; a device that moves, reboots or changes its network is left alone. */

import { afterEach, describe, expect, it } from 'vitest';
import { device, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { CloneDetector, type CloneSuspicion } from './clone-detector.ts';

const MINUTE = 60_000;
const [A, B, C] = ['192.0.2.1', '198.51.100.7', '203.0.113.9'] as const;

/** Takeovers along a path of addresses, `every` milliseconds; the suspicions. */
function along(path: readonly string[], every: number, watch = new CloneDetector()): readonly CloneSuspicion[] {
  const found: CloneSuspicion[] = [];
  for (let n = 1; n < path.length; n += 1) {
    const [from, to] = [path[n - 1] as string, path[n] as string];
    const takeover = { identity: device('dev-1'), clientId: 'dev-1', from, to, fromSerial: 'aa', toSerial: 'aa' };
    const suspicion = watch.recordTakeover(takeover, n * every);
    if (suspicion !== undefined) found.push(suspicion);
  }
  return found;
}

describe('a pattern of takeovers', () => {
  it.each<[string, readonly string[], number]>([
    ['moves once', [A, B], 1_000],
    ['moves on and on', [A, B, C, '192.0.2.4', '192.0.2.5'], 20_000],
    ['goes there and back', [A, B, A], 1_000],
    ['goes there and back each quarter of an hour', [A, B, A, B, A, B], 15 * MINUTE],
    ['changes its address within its own /64', ['2001:db8::1', '2001:db8::2', '2001:db8::1', '2001:db8::2'], 20_000],
    ['reboots now and then', [A, A, A, A, A, A], MINUTE],
  ])('is no clone that %s', (_, path, every) => {
    expect(along(path, every)).toEqual([]);
  });

  it.each<[string, readonly string[], number, string]>([
    ['alternates between two addresses', [A, B, A, B], 2 * MINUTE, 'alternating_addresses'],
    ['alternates between three addresses', [A, B, C, A, B], MINUTE, 'alternating_addresses'],
    ['displaces itself again and again from one address', [A, A, A, A, A, A], 5_000, 'takeover_ping_pong'],
  ])('is one that %s', (_, path, every, evidence) => {
    expect(along(path, every)).toMatchObject([{ evidence, clientId: 'dev-1', serials: ['aa'] }]);
  });

  it('is reported once in ten minutes, with the addresses seen, and again when it continues', () => {
    const watch = new CloneDetector();
    const path = Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? A : B));
    const found = along(path, MINUTE, watch);
    expect(found.length).toBeGreaterThanOrEqual(3);
    expect(found.length).toBeLessThanOrEqual(4);
    expect(found[0]).toMatchObject({ addresses: [A, B], takeovers: 3 });
    watch.sweep(41 * MINUTE);
    expect(along([A, B, A], 1_000, watch)).toEqual([]);
  });
});

describe('two holders of one certificate', () => {
  let testBroker: TestBroker;
  afterEach(() => testBroker?.close());

  it('are suspected by the broker while each displaces the session of the other', async () => {
    const suspicions: CloneSuspicion[] = [];
    testBroker = await TestBroker.start({
      limits: { takeoversPerMinute: 0 },
      onCloneSuspected: (found) => suspicions.push(found),
    });
    const credentials = testBroker.enroll(device('dev-1'));
    for (let n = 0; n < 5; n += 1) await testBroker.session(credentials, { clientId: 'dev-1' });
    expect(suspicions).toEqual([]);
    await testBroker.session(credentials, { clientId: 'dev-1' });
    expect(suspicions).toMatchObject([
      { evidence: 'takeover_ping_pong', identity: device('dev-1'), serials: [credentials.serial], takeovers: 5 },
    ]);
  });

  it('are not suspected when the earlier session had ended', async () => {
    const suspicions: CloneSuspicion[] = [];
    testBroker = await TestBroker.start({
      limits: { takeoversPerMinute: 0 },
      onCloneSuspected: (found) => suspicions.push(found),
    });
    const credentials = testBroker.enroll(device('dev-1'));
    for (let n = 0; n < 8; n += 1) {
      const client = await testBroker.session(credentials, { clientId: 'dev-1' });
      client.destroy();
      await testBroker.event('disconnected');
      testBroker.events.length = 0;
    }
    expect(suspicions).toEqual([]);
  });
});
