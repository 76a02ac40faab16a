/** What the subscriptions of one session grant for a message. Statement numbers are those of MQTT 5. */

import { describe, expect, it } from 'vitest';
import type { RequestedSubscription } from './packets.ts';
import { SessionSubscriptions } from './session-subscriptions.ts';

type Requested = readonly [filter: string, changes?: Partial<RequestedSubscription>, identifier?: number];

function subscribed(...requested: readonly Requested[]): SessionSubscriptions {
  const subscriptions = new SessionSubscriptions();
  for (const one of requested) set(subscriptions, one);
  return subscriptions;
}

function set(subscriptions: SessionSubscriptions, [filter, changes = {}, identifier]: Requested) {
  const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, ...changes } as const;
  return subscriptions.set({ filter, ...options }, identifier);
}

const grant = (qos: 0 | 1 | 2, more: { retainAsPublished?: boolean; subscriptionIdentifiers?: number[] } = {}) => ({
  qos,
  retainAsPublished: false,
  subscriptionIdentifiers: undefined,
  ...more,
});

describe('the QoS of a message', () => {
  it('is the highest of all subscriptions that match [MQTT-3.3.4-2]', () => {
    const several: readonly Requested[] = [
      ['a/b', { qos: 0 }],
      ['a/+', { qos: 1 }],
      ['#', { qos: 2 }],
    ];
    for (const order of [several, [...several].reverse()]) {
      expect(subscribed(...order).grantFor('a/b', false)).toEqual(grant(2));
    }
  });

  it('is not that of a subscription that does not match', () => {
    const subscriptions = subscribed(['a/b', { qos: 0 }], ['a/+', { qos: 1 }], ['b/+', { qos: 2 }]);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1));
    expect(subscriptions.grantFor('a/c', false)).toEqual(grant(1));
    expect(subscriptions.grantFor('b/c', false)).toEqual(grant(2));
    expect(subscriptions.grantFor('c', false)).toBeUndefined();
  });

  it.each([0, 1, 2] as const)('is %d when all subscriptions have it', (qos) => {
    expect(subscribed(['a/b', { qos }], ['a/+', { qos }]).grantFor('a/b', true)).toEqual(grant(qos));
  });

  it('is that of the last SUBSCRIBE for each filter [MQTT-3.8.4-3]', () => {
    const subscriptions = subscribed(['a/b', { qos: 2 }, 5]);
    const first = [...subscriptions.all()][0] as never;
    expect(subscriptions.isCurrent(first)).toBe(true);
    const second = set(subscriptions, ['a/b', { qos: 0 }]);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(0));
    expect([subscriptions.isCurrent(first), subscriptions.isCurrent(second), subscriptions.size]).toEqual([
      false,
      true,
      1,
    ]);
  });

  it('is that of the rest when a subscription is removed', () => {
    const subscriptions = subscribed(['a/b', { qos: 2 }], ['a/+', { qos: 1 }]);
    expect(subscriptions.delete('a/b')).toMatchObject({ filter: 'a/b', qos: 2 });
    expect(subscriptions.delete('a/b')).toBeUndefined();
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1));
    subscriptions.delete('a/+');
    expect([subscriptions.grantFor('a/b', false), subscriptions.size]).toEqual([undefined, 0]);
  });
});

describe('Subscription Identifiers', () => {
  it('are those of all subscriptions that match, also twice the same [MQTT-3.3.4-4, MQTT-3.3.4-5]', () => {
    const subscriptions = subscribed(['a/b', {}, 3], ['a/+', {}, 7], ['a/#', {}, 3], ['+/b'], ['b', {}, 9]);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1, { subscriptionIdentifiers: [3, 7, 3] }));
  });

  it('are absent when only subscriptions without one match', () => {
    const subscriptions = subscribed(['a/b'], ['c', {}, 9]);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1));
  });

  it('are replaced and removed with the subscription', () => {
    const subscriptions = subscribed(['a/b', {}, 3]);
    set(subscriptions, ['a/b', {}, 4]);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1, { subscriptionIdentifiers: [4] }));
    set(subscriptions, ['a/b']);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1));
  });
});

describe('No Local', () => {
  it('excludes messages of the session itself [MQTT-3.8.3-3]', () => {
    const subscriptions = subscribed(['a/b', { noLocal: true }]);
    expect(subscriptions.grantFor('a/b', true)).toBeUndefined();
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1));
  });

  it('holds for its subscription only', () => {
    const subscriptions = subscribed(['a/b', { noLocal: true, qos: 2 }, 3], ['a/+', { qos: 0 }, 4]);
    expect(subscriptions.grantFor('a/b', true)).toEqual(grant(0, { subscriptionIdentifiers: [4] }));
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(2, { subscriptionIdentifiers: [3, 4] }));
  });

  it('holds no longer when the subscription is replaced without it', () => {
    const subscriptions = subscribed(['a/b', { noLocal: true }]);
    set(subscriptions, ['a/b']);
    expect(subscriptions.grantFor('a/b', true)).toEqual(grant(1));
  });
});

describe('Retain As Published', () => {
  it('holds when one subscription that matches has it [MQTT-3.3.1-13]', () => {
    const subscriptions = subscribed(['a/b', { qos: 2 }], ['a/+', { qos: 0, retainAsPublished: true }]);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(2, { retainAsPublished: true }));
  });

  it('does not hold by a subscription that does not match, or does not apply [MQTT-3.3.1-12]', () => {
    const subscriptions = subscribed(['a/b'], ['b', { retainAsPublished: true }]);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1));
    const own = subscribed(['a/b'], ['a/+', { retainAsPublished: true, noLocal: true }]);
    expect(own.grantFor('a/b', true)).toEqual(grant(1));
  });
});

describe('a topic that begins with $', () => {
  it('is not matched by a filter that begins with a wildcard [MQTT-4.7.2-1]', () => {
    for (const filter of ['#', '+/events', '+/#']) {
      const subscriptions = subscribed([filter]);
      expect(subscriptions.grantFor('$fleet/events', false)).toBeUndefined();
      expect(subscriptions.grantFor('fleet/events', false)).toEqual(grant(1));
    }
  });

  it('gets the QoS of the filters that do match, although one with a wildcard has a higher one', () => {
    const subscriptions = subscribed(['#', { qos: 2 }], ['$fleet/#', { qos: 1 }]);
    expect(subscriptions.grantFor('$fleet/events', false)).toEqual(grant(1));
  });
});

describe('a shared subscription', () => {
  it('grants nothing by itself: its member is chosen for each message', () => {
    const subscriptions = subscribed(['$share/g/a/b', { qos: 2 }, 3]);
    expect([...subscriptions.all()]).toMatchObject([{ filter: '$share/g/a/b', sharedFilter: 'a/b' }]);
    expect([subscriptions.grantFor('a/b', false), subscriptions.has('$share/g/a/b')]).toEqual([undefined, true]);
  });

  it('does not change what another subscription grants', () => {
    const subscriptions = subscribed(['$share/g/a/b', { qos: 2 }, 3], ['a/b', { qos: 1 }]);
    expect(subscriptions.grantFor('a/b', false)).toEqual(grant(1));
  });
});
