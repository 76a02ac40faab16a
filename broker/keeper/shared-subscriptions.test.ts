/** Cites MQTT 5. */

import { filterMatches, parseShare } from '@rollcall/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Qos } from '../mqtt/packets.ts';
import { SharedSubscriptions, type ShareMember } from './shared-subscriptions.ts';

const SHARE = '$share/g/devices/+/telemetry/+';
const topic = 'devices/a/telemetry/t';

/** A member whose state the test changes. */
class Member implements ShareMember {
  readonly clientId: string;
  readonly qos: Qos;
  readonly subscriptionIdentifier: number | undefined;
  readonly retainAsPublished = false;
  connected = true;
  allowed = true;
  behind = false;

  constructor(clientId: string, qos: Qos = 1, subscriptionIdentifier?: number) {
    this.clientId = clientId;
    this.qos = qos;
    this.subscriptionIdentifier = subscriptionIdentifier;
  }

  isConnected(): boolean {
    return this.connected;
  }

  mayReceive(): boolean {
    return this.allowed;
  }

  isBehind(): boolean {
    return this.behind;
  }
}

function sharedBy(...names: readonly string[]): { shared: SharedSubscriptions; members: Record<string, Member> } {
  const shared = new SharedSubscriptions();
  const members: Record<string, Member> = {};
  for (const name of names) {
    const member = new Member(name);
    members[name] = member;
    shared.add(SHARE, member);
  }
  return { shared, members };
}

/** The receivers of the next messages, as text: one letter for each message, `-` for none. */
function receivers(shared: SharedSubscriptions, count: number, qos: Qos = 1): string {
  const chosen = Array.from({ length: count }, () => shared.choose({ topic, qos }));
  return chosen.map((choices) => choices.map(({ member }) => member.clientId).join('+') || '-').join('');
}

/** Takes a member's connection away without removing its subscription. */
function disconnect(member: Member | undefined): void {
  if (member !== undefined) member.connected = false;
}

describe('the members of a share', () => {
  it('receive messages in turn', () => {
    expect(receivers(sharedBy('a', 'b', 'c').shared, 7)).toBe('abcabca');
  });

  it('receive QoS 0 in turn as well', () => {
    expect(receivers(sharedBy('a', 'b').shared, 4, 0)).toBe('abab');
  });

  it('receive nothing after the last one has left', () => {
    const { shared } = sharedBy('a');
    expect(shared.remove(SHARE, 'a')).toBe(true);
    expect(shared.remove(SHARE, 'a')).toBe(false);
    expect(receivers(shared, 1)).toBe('-');
    expect(shared.size).toBe(0);
  });

  it('lose no turn when another one leaves', () => {
    const { shared } = sharedBy('a', 'b', 'c');
    expect(receivers(shared, 2)).toBe('ab');
    shared.remove(SHARE, 'a');
    expect(receivers(shared, 3)).toBe('cbc');
  });

  it('lose no turn when one of them subscribes again with another QoS, and that QoS replaces the former', () => {
    const { shared } = sharedBy('a', 'b', 'c');
    expect(receivers(shared, 1)).toBe('a');
    const again = new Member('b', 2, 7);
    shared.add(SHARE, again);
    expect(shared.choose({ topic, qos: 2 })).toEqual([{ share: SHARE, member: again, isQueued: false }]);
    expect(receivers(shared, 3)).toBe('cab');
    expect(shared.removeClient('b')).toEqual([SHARE]);
    expect(receivers(shared, 3)).toBe('cac');
  });
});

describe('a member that is behind', () => {
  it('receives nothing while another one has room', () => {
    const { shared, members } = sharedBy('a', 'b', 'c');
    Object.assign(members.b as Member, { behind: true });
    expect(receivers(shared, 4)).toBe('acac');
    Object.assign(members.b as Member, { behind: false });
    expect(receivers(shared, 3)).toBe('abc');
  });

  it('takes its turn with the others while all of them are behind', () => {
    const { shared, members } = sharedBy('a', 'b', 'c');
    for (const member of Object.values(members)) member.behind = true;
    expect(receivers(shared, 6)).toBe('abcabc');
  });

  it('is preferred to one that is disconnected', () => {
    const { shared, members } = sharedBy('a', 'b');
    Object.assign(members.a as Member, { behind: true });
    disconnect(members.b);
    expect(receivers(shared, 2)).toBe('aa');
  });
});

describe('a persistent member that is disconnected', () => {
  it('receives nothing while another one is connected', () => {
    const { shared, members } = sharedBy('a', 'b', 'c');
    disconnect(members.b);
    expect(receivers(shared, 4)).toBe('acac');
  });

  it('has messages queued in turn with the others while none is connected', () => {
    const { shared, members } = sharedBy('a', 'b', 'c');
    for (const member of Object.values(members)) member.connected = false;
    expect(receivers(shared, 4)).toBe('abca');
  });

  it('has nothing queued for it while its queue is full and another one has room', () => {
    const { shared, members } = sharedBy('a', 'b');
    for (const member of Object.values(members)) member.connected = false;
    Object.assign(members.a as Member, { behind: true });
    expect(receivers(shared, 2)).toBe('bb');
  });

  it('is not chosen for QoS 0, nor with a subscription of QoS 0', () => {
    const { shared, members } = sharedBy('a');
    disconnect(members.a);
    expect(receivers(shared, 1, 0)).toBe('-');
    const other = new Member('b', 0);
    other.connected = false;
    shared.add(SHARE, other);
    expect(receivers(shared, 3, 2)).toBe('aaa');
  });

  it('is chosen again after it has reconnected and was added again', () => {
    const { shared, members } = sharedBy('a', 'b');
    disconnect(members.a);
    expect(receivers(shared, 2)).toBe('bb');
    Object.assign(members.a as Member, { connected: true });
    shared.add(SHARE, members.a as Member);
    expect(receivers(shared, 2).split('').sort()).toEqual(['a', 'b']);
  });

  it('is chosen again after it has reconnected with a new subscription while another one is disconnected', () => {
    const { shared, members } = sharedBy('a', 'b');
    disconnect(members.a);
    disconnect(members.b);
    expect(receivers(shared, 2)).toBe('ab');
    shared.add(SHARE, new Member('b', 2));
    expect(receivers(shared, 3)).toBe('bbb');
  });

  it('can be removed', () => {
    const { shared, members } = sharedBy('a', 'b');
    disconnect(members.a);
    receivers(shared, 1);
    expect(shared.removeClient('a')).toEqual([SHARE]);
    disconnect(members.b);
    expect(receivers(shared, 2)).toBe('bb');
  });
});

describe('a member in quarantine', () => {
  it('receives nothing that its rights refuse', () => {
    const { shared, members } = sharedBy('a', 'b');
    Object.assign(members.a as Member, { allowed: false });
    expect(receivers(shared, 2)).toBe('bb');
    Object.assign(members.b as Member, { allowed: false });
    expect(receivers(shared, 1)).toBe('-');
    expect(shared.hasMatch(topic)).toBe(true);
  });

  it('has nothing queued for it while it is disconnected', () => {
    const { shared, members } = sharedBy('a');
    Object.assign(members.a as Member, { allowed: false, connected: false });
    expect(receivers(shared, 1)).toBe('-');
  });
});

describe('shares', () => {
  it('of the same filter and different groups each receive a copy', () => {
    const { shared } = sharedBy('a', 'b');
    shared.add('$share/h/devices/+/telemetry/+', new Member('x'));
    expect(receivers(shared, 2)).toBe('a+xb+x');
    shared.removeClient('x');
    expect(receivers(shared, 1)).toBe('a');
  });

  it('of the same group and different filters each receive a copy, for the same client as well', () => {
    const { shared } = sharedBy('a');
    const wide = '$share/g/devices/#';
    shared.add(wide, new Member('a', 2));
    const choices = shared.choose({ topic, qos: 2 });
    expect(choices.map(({ share, member }) => `${share} ${member.qos}`).sort()).toEqual([`${wide} 2`, `${SHARE} 1`]);
    expect(shared.choose({ topic: 'devices/a/events/e', qos: 1 }).map(({ share }) => share)).toEqual([wide]);
    expect(new Set(shared.removeClient('a'))).toEqual(new Set([SHARE, wide]));
    expect(shared.size).toBe(0);
  });

  it('take turns independently of each other', () => {
    const { shared } = sharedBy('a', 'b');
    const events = '$share/g/devices/+/events/+';
    for (const name of ['a', 'b']) shared.add(events, new Member(name));
    const next = (text: string) => shared.choose({ topic: text, qos: 1 })[0]?.member.clientId;
    expect([next(topic), next('devices/a/events/e'), next(topic), next('devices/a/events/e')]).toEqual([
      'a',
      'a',
      'b',
      'b',
    ]);
  });

  it('with a leading wildcard do not match a topic that begins with $ [MQTT-4.7.2-1]', () => {
    const shared = new SharedSubscriptions();
    for (const filter of ['#', '+/events/x', '$fleet/events/#']) shared.add(`$share/g/${filter}`, new Member(filter));
    const chosen = shared.choose({ topic: '$fleet/events/x', qos: 1 });
    expect(chosen.map(({ member }) => member.clientId)).toEqual(['$fleet/events/#']);
  });

  it('need the form $share/GROUP/FILTER', () => {
    const shared = new SharedSubscriptions();
    for (const text of ['$share/g', '$share//a', 'a/b']) {
      expect(() => shared.add(text, new Member('a'))).toThrow(RangeError);
    }
    expect(shared.removeClient('a')).toEqual([]);
  });

  it('change the generation when a first member of a filter comes and when the last one leaves', () => {
    const { shared } = sharedBy('a');
    const first = shared.generation;
    shared.add(SHARE, new Member('b'));
    shared.add('$share/h/devices/+/telemetry/+', new Member('x'));
    shared.removeClient('a');
    shared.removeClient('b');
    expect(shared.generation).toBe(first);
    expect(shared.hasMatch(topic)).toBe(true);
    shared.removeClient('x');
    const second = shared.generation;
    expect(second).not.toBe(first);
    expect(shared.hasMatch(topic)).toBe(false);
    shared.add(SHARE, new Member('a'));
    expect(shared.generation).not.toBe(second);
  });
});

describe('a message that a member did not acknowledge', () => {
  const message = { topic, qos: 1 } as const;

  it('goes to another connected member when its own is disconnected', () => {
    const { shared, members } = sharedBy('a', 'b', 'c');
    disconnect(members.a);
    disconnect(members.b);
    expect(shared.chooseOther(SHARE, message, 'a')?.clientId).toBe('c');
  });

  it('never goes back to its own member, also before that one counts as disconnected', () => {
    const { shared } = sharedBy('a', 'b');
    const others = [1, 2, 3].map(() => shared.chooseOther(SHARE, message, 'a')?.clientId);
    expect(others).toEqual(['b', 'b', 'b']);
  });

  it('stays in the queue of its own persistent session while no other member is connected', () => {
    const { shared, members } = sharedBy('a', 'b');
    disconnect(members.a);
    disconnect(members.b);
    expect(shared.chooseOther(SHARE, message, 'a')).toBeUndefined();
  });

  it('goes to a disconnected member when the session of its own has ended', () => {
    const { shared, members } = sharedBy('a', 'b');
    disconnect(members.b);
    shared.removeClient('a');
    expect(shared.chooseOther(SHARE, message, 'a')?.clientId).toBe('b');
  });

  it('goes nowhere when the share has no other member, or has closed', () => {
    const { shared, members } = sharedBy('a', 'b');
    Object.assign(members.b as Member, { allowed: false });
    expect(shared.chooseOther(SHARE, message, 'a')).toBeUndefined();
    shared.removeClient('b');
    expect(shared.chooseOther(SHARE, message, 'a')).toBeUndefined();
    shared.removeClient('a');
    expect(shared.chooseOther(SHARE, message, 'a')).toBeUndefined();
  });
});

describe('any sequence of changes', () => {
  const groups = fc.constantFrom('g', 'h');
  const filters = fc.constantFrom('a', 'a/b', 'a/+', 'a/#', '#', '+/b', '$x/#', '$x/b');
  const topics = ['a', 'a/b', 'b', 'c/b', '$x/b', '$x', 'a/b/c'];
  const action = fc.record({
    clientId: fc.constantFrom('1', '2', '3', '4'),
    share: fc.tuple(groups, filters).map(([group, filter]) => `$share/${group}/${filter}`),
    kind: fc.constantFrom('add', 'remove', 'removeClient', 'disconnect', 'reconnect', 'forbid', 'behind'),
    qos: fc.constantFrom(0, 1, 2),
  });

  it('leaves exactly one receiver for each share that matches and has a member who can receive, the best one', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), fc.constantFrom<Qos>(0, 1, 2), (actions, qos) => {
        const shared = new SharedSubscriptions();
        const expected = new Map<string, Map<string, Member>>();
        for (const { clientId, share, kind, qos: granted } of actions) {
          const members = expected.get(share) ?? new Map<string, Member>();
          expected.set(share, members);
          const all = [...expected.values()].flatMap((own) => own.get(clientId) ?? []);
          if (kind === 'add') {
            const member = new Member(clientId, granted as Qos);
            shared.add(share, member);
            members.set(clientId, member);
          } else if (kind === 'remove') expect(shared.remove(share, clientId)).toBe(members.delete(clientId));
          else if (kind === 'removeClient') {
            shared.removeClient(clientId);
            for (const own of expected.values()) own.delete(clientId);
          } else if (kind === 'forbid') for (const member of all) member.allowed = !member.allowed;
          else if (kind === 'behind') for (const member of all) member.behind = !member.behind;
          else if (kind === 'disconnect') for (const member of all) member.connected = false;
          else {
            for (const [name, own] of expected) {
              const member = own.get(clientId);
              if (member === undefined) continue;
              member.connected = true;
              shared.add(name, member);
            }
          }
          for (const name of topics) check(shared, expected, name, qos);
        }
      }),
      { numRuns: 300 },
    );
  });

  function check(
    shared: SharedSubscriptions,
    expected: ReadonlyMap<string, ReadonlyMap<string, Member>>,
    name: string,
    qos: Qos,
  ): void {
    const choices = new Map(shared.choose({ topic: name, qos }).map(({ share, member }) => [share, member]));
    const matching = [...expected].filter(
      ([share, members]) => members.size > 0 && filterMatches(parseShare(share)?.filter ?? '', name),
    );
    expect(shared.hasMatch(name)).toBe(matching.length > 0);
    const found = matching.filter(([share, members]) => {
      const tiers = [...members.values()].filter(canReceive(qos)).map(tier);
      const member = choices.get(share);
      expect(member === undefined ? undefined : tier(member as Member)).toBe(
        tiers.length === 0 ? undefined : Math.min(...tiers),
      );
      return member !== undefined;
    });
    expect(choices.size).toBe(found.length);
  }

  const canReceive = (qos: Qos) => (member: Member) =>
    member.allowed && (member.connected || (qos > 0 && member.qos > 0));
  const tier = (member: Member) => (member.connected ? 0 : 2) + (member.behind ? 1 : 0);
});
