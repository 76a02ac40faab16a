/** A replay with a queue and an engine that do what the test says: which copies it holds back, and what it remembers. */

import { describe, expect, it } from 'vitest';
import type { StoredPacket } from '../session-store/stored-packets.ts';
import { QueueReplay } from './queue-replay.ts';
import type { Session } from './session.ts';

const packet = (brokerCounter: number): StoredPacket => ({ topic: 'a', payload: Buffer.alloc(0), brokerCounter });

/** Numbers wait in a queue; each that is delivered is sent. */
function setUp(waiting: number[], inDelivery: ReadonlySet<number> = new Set()) {
  const sent: number[] = [];
  let during: (packet: StoredPacket) => void = () => {};
  const has = ({ brokerCounter }: StoredPacket) => waiting.includes(brokerCounter as number);
  const store = {
    nextUnsent: () => (waiting[0] === undefined ? undefined : packet(waiting[0])),
    isUnsent: (_clientId: string, one: StoredPacket) => has(one),
    dropUnsent: () => void waiting.shift(),
    isInDelivery: ({ brokerCounter }: StoredPacket) => inDelivery.has(brokerCounter as number),
  };
  const replay = new QueueReplay(store, 0);
  const deliverQoS = (one: StoredPacket, done: () => void) => {
    expect(replay.isReplayed(session, one)).toBe(true);
    during(one);
    if (!replay.suppresses(session, one)) sent.push(one.brokerCounter as number);
    waiting.splice(waiting.indexOf(one.brokerCounter as number), 1);
    setImmediate(done);
  };
  const aedesClient = { id: 'dev-1', clean: false, deliverQoS };
  const session = { aedesClient, facts: { clientId: 'dev-1' }, isEnded: false } as unknown as Session;
  return {
    sent,
    session,
    /** A copy of the message comes by the client's subscription. */
    live: (one: StoredPacket) => replay.suppresses(session, { ...one }),
    whileSending: (what: typeof during) => {
      during = what;
    },
    run: async () => {
      await new Promise<void>((resolve) => replay.start(session, resolve));
    },
  };
}

describe('a queue replay', () => {
  it('records nothing of a sent message that has no live copy', async () => {
    const { run, sent, session } = setUp(Array.from({ length: 1_000 }, (_, index) => index + 1));
    await run();
    expect(sent).toHaveLength(1_000);
    expect(session.replay).toMatchObject({ isOver: true, sent: new Set() });
  });

  it('suppresses the live copy of a sent message once', async () => {
    const { run, sent, session, live } = setUp([1, 2, 3], new Set([2]));
    await run();
    expect(sent).toEqual([1, 2, 3]);
    expect(session.replay?.sent).toEqual(new Set([2]));
    expect(live(packet(2))).toBe(true);
    expect(session.replay?.sent).toEqual(new Set());
  });

  it('suppresses the live copy that arrives while the message is being sent', async () => {
    const { run, sent, session, live, whileSending } = setUp([1], new Set([1]));
    const held: boolean[] = [];
    whileSending((one) => held.push(live(one)));
    await run();
    expect(held).toEqual([true]);
    expect(sent).toEqual([1]);
    expect(session.replay?.sent).toEqual(new Set());
  });

  it('suppresses live copies of queued messages, and nothing else', async () => {
    const { run, sent, live, whileSending } = setUp([1, 2]);
    const held: boolean[] = [];
    whileSending((one) => {
      if (one.brokerCounter === 1) held.push(live(packet(2)), live(packet(9)));
    });
    await run();
    expect(held).toEqual([true, false]);
    expect(sent).toEqual([1, 2]);
    expect(live(packet(10))).toBe(false);
  });
});
