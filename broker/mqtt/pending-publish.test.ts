/** How one PUBLISH is acknowledged and delivered, when, and in which order. */

import { Problem, ReasonCode } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { message } from '../../test/fixtures/broker/stored-messages.ts';
import { NoRoomError } from '../keeper/sessions.ts';
import { DeliveredKeys } from '../routing/delivered-keys.ts';
import type { Session } from '../sessions/session.ts';
import { AcknowledgementOrder } from './acknowledgement-order.ts';
import type { Message } from './message.ts';
import type { Qos } from './packets.ts';
import { PendingPublish } from './pending-publish.ts';

/** A session that records what it is sent, `steps`, and what is delivered to others. */
function start(version: 4 | 5 = 5) {
  const steps: string[] = [];
  const failures: unknown[] = [];
  let storedCount = 0;
  const acknowledgements = new AcknowledgementOrder({
    messageNotStored: (error) => failures.push(error),
    acknowledgementsAdvanced: () => {},
  });
  const session = {
    acknowledgements,
    isMqtt5: version === 5,
    connectPacket: { version },
    messageStored: () => {
      storedCount += 1;
    },
    keyDelivered: () => {},
    connection: {
      acknowledge: (id: number) => steps.push(`puback ${id}`),
      send: (packet: Buffer) => steps.push(packet.toString('hex')),
    },
  } as unknown as Session;
  const deliveredKeys = new DeliveredKeys();
  const delivery = {
    deliveredKeys,
    refused: ({ packetId }: PendingPublish) => steps.push(`refused ${packetId}`),
    deliver: (_pending: PendingPublish, { payload }: Message) => steps.push(`deliver ${payload}`),
  };
  const publish = (packetId: number, { qos = 1, payload = `m${packetId}` }: { qos?: Qos; payload?: string } = {}) => {
    const pending = new PendingPublish(session, { qos, packetId }, message(payload), delivery);
    acknowledgements.add(pending);
    return pending;
  };
  const withoutSubscriber = (packetId: number, qos: Qos = 1) => {
    const pending = new PendingPublish(session, { qos, packetId }, undefined, delivery);
    acknowledgements.add(pending);
    return pending;
  };
  const counts = () => ({ stored: storedCount, waiting: acknowledgements.length });
  return { steps, failures, publish, withoutSubscriber, counts, deliveredKeys };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('a PUBLISH that is stored', () => {
  it('is acknowledged, then delivered', () => {
    const { steps, publish, counts } = start();
    publish(7).stored();
    expect(steps).toEqual(['puback 7', 'deliver m7']);
    expect(counts()).toEqual({ stored: 1, waiting: 0 });
  });

  it.each([
    [0, 4, []],
    [0, 5, []],
    [1, 4, ['puback 7']],
    [1, 5, ['puback 7']],
    [2, 4, ['50020007']],
    [2, 5, ['50020007']],
  ] as const)('of QoS %d in version %d is answered by %j', (qos, version, answers) => {
    const { steps, publish } = start(version);
    publish(7, { qos }).stored();
    expect(steps).toEqual([...answers, 'deliver m7']);
  });

  it('waits for everything that it has to wait for', async () => {
    const { steps, publish } = start();
    const pending = publish(7);
    const queued = Promise.withResolvers<void>();
    pending.waitFor(queued.promise);
    pending.waitFor(undefined);
    pending.stored();
    await settle();
    expect(steps).toEqual([]);
    queued.resolve();
    await settle();
    expect(steps).toEqual(['puback 7', 'deliver m7']);
  });

  it('waits for the acknowledgement of earlier ones [MQTT-4.6.0-2]', () => {
    const { steps, publish, counts } = start();
    const [first, second] = [publish(1), publish(2, { qos: 2 })];
    second.stored();
    expect([steps, counts().waiting]).toEqual([[], 2]);
    first.stored();
    expect(steps).toEqual(['puback 1', 'deliver m1', '50020002', 'deliver m2']);
  });

  it('is acknowledged only when nobody subscribes', () => {
    const { steps, withoutSubscriber } = start();
    withoutSubscriber(7).stored();
    expect(steps).toEqual(['puback 7']);
  });

  it('is acknowledged only when it was delivered before', () => {
    const { steps, publish } = start();
    const pending = publish(7, { qos: 2 });
    pending.isDelivered = true;
    pending.ready();
    expect(steps).toEqual(['50020007']);
  });
});

describe('the reason code', () => {
  it.each([
    [1, 5, '4003000710'],
    [2, 5, '5003000710'],
    [1, 4, 'puback 7'],
    [2, 4, '50020007'],
  ] as const)('"no matching subscribers" of QoS %d is sent in version %d as %s', (qos, version, answer) => {
    const { steps, withoutSubscriber } = start(version);
    const pending = withoutSubscriber(7, qos);
    pending.reasonCode = ReasonCode.noMatchingSubscribers;
    pending.ready();
    expect(steps).toEqual([answer]);
  });
});

describe('a PUBLISH that nobody would get', () => {
  it('is refused with a reason code in MQTT 5, in its turn', async () => {
    const { steps, failures, publish } = start(5);
    const [first, second] = [publish(1), publish(2)];
    second.waitFor(Promise.reject(new NoRoomError()));
    second.ready();
    await settle();
    expect(steps).toEqual(['refused 2']);
    first.stored();
    expect([steps.slice(1), failures]).toEqual([['puback 1', 'deliver m1', '4003000297'], []]);
  });

  it('ends the session in MQTT 3.1.1, after earlier messages are acknowledged', async () => {
    const { steps, failures, publish, counts } = start(4);
    const [first, second, third] = [publish(1), publish(2), publish(3)];
    third.stored();
    second.waitFor(Promise.reject(new NoRoomError()));
    second.ready();
    await settle();
    expect([steps, failures]).toEqual([['refused 2'], []]);
    first.stored();
    expect(steps.slice(1)).toEqual(['puback 1', 'deliver m1']);
    expect(failures).toMatchObject([{ code: 'unavailable' }]);
    expect(counts().waiting).toBe(0);
  });
});

describe('a PUBLISH that cannot be stored', () => {
  it('is neither acknowledged nor delivered, and no later one is', async () => {
    const { steps, failures, publish } = start();
    const [first, second, third] = [publish(1), publish(2), publish(3)];
    const failure = new Problem('unavailable');
    second.waitFor(Promise.reject(failure));
    await settle();
    second.stored();
    first.stored();
    third.stored();
    expect([steps, failures]).toEqual([[], [failure]]);
  });

  it('by the journal does not wait for the session store', async () => {
    const { steps, failures, publish } = start();
    const pending = publish(1);
    pending.waitFor(new Promise(() => {}));
    pending.notStored(new Problem('unavailable'));
    expect([steps, failures.length]).toEqual([[], 1]);
  });
});

describe('a message with a key', () => {
  it('is delivered once, however often it comes while its key is known', () => {
    const { steps, publish, deliveredKeys } = start();
    for (const id of [1, 2, 3]) {
      const pending = publish(id);
      pending.deliveryKey = 'dev-1/k';
      if (id === 1) pending.stored();
      else pending.repeated();
    }
    expect(steps).toEqual(['puback 1', 'deliver m1', 'puback 2', 'puback 3']);
    expect(deliveredKeys.has('dev-1/k')).toBe(true);
  });

  it('that the journal knows is delivered if it was not before: the server may have ended in between', () => {
    const { steps, publish, counts } = start();
    const pending = publish(1);
    pending.deliveryKey = 'dev-1/k';
    pending.repeated();
    expect([steps, counts().stored]).toEqual([['puback 1', 'deliver m1'], 0]);
  });
});
