/**
 * Publishes a will: authorized by the rights of now, stored as telemetry if it is, then queued, retained and delivered like a PUBLISH. A will
 * cannot wait as a PUBLISH can: one that exceeds a share or a limit is dropped.
 */

import type { Identity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { RefusalLog } from '../../limits/index.ts';
import type { Accepted } from '../../telemetry/index.ts';
import type { Rights, Subject } from '../access/acl.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { ShareExceeded } from '../events.ts';
import type { Message } from '../mqtt/message.ts';
import { type OwnTelemetry, ownTelemetry, storedProperties } from '../mqtt/own-telemetry.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { Bus } from '../routing/bus.ts';
import type { DeliveredKeys } from '../routing/delivered-keys.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import type { TelemetryIntake } from '../routing/telemetry-intake.ts';
import { retainedBytes } from '../session-store/stored-message.ts';
import type { Sessions } from './sessions.ts';
import type { DueWill } from './wills.ts';

export interface WillPublisherOptions {
  readonly counters: BrokerCounters;
  readonly log: Logger;
  readonly now: () => number;
  readonly telemetry: TelemetryIntake;
  readonly router: Pick<MessageRouter, 'nextNumber'>;
  readonly sessions: Pick<Sessions, 'choose' | 'enqueue' | 'mayRetain'>;
  readonly bus: Pick<Bus, 'tell'>;
  readonly deliveredKeys: DeliveredKeys;
  readonly policies: { rightsOf(subject: Subject): Promise<Rights> };
  readonly refusalLog: RefusalLog;
  readonly shareExceeded: (identity: Identity, share: ShareExceeded) => void;
}

export class WillPublisher {
  readonly #options: WillPublisherOptions;

  constructor(options: WillPublisherOptions) {
    this.#options = options;
  }

  /** Resolves when the will is stored and delivered, or refused. */
  async publish(due: DueWill): Promise<void> {
    const { clientId, message: will } = due;
    const { owner, subject } = due.about;
    const { counters, now, log, refusalLog, policies, sessions, bus, router, deliveredKeys } = this.#options;
    const own = ownTelemetry(subject.identity, will.topic);
    const topic = own?.topic ?? will.topic;
    const rights = await policies.rightsOf(subject);
    if (!rights.mayPublish(will.topic).allowed || (will.retain && !rights.mayRetain(topic).allowed)) {
      counters.publishDenied += 1;
      refusalLog.write(log, 'warn', clientId, { clientId, identity: owner, topic }, 'will refused by policy');
      return;
    }
    if (due.isDropped) return;
    if (will.retain && !sessions.mayRetain(topic, retainedBytes(will), owner)) return;
    const stored = own === undefined ? 'stored' : await this.#storeTelemetry(subject, own, will);
    if (stored === undefined) return;
    if (own?.key !== undefined && subject.identity.kind === 'device') {
      const key = deliveredKeys.keyOf(subject.identity.id, own.key);
      if (stored === 'repeated' && deliveredKeys.has(key)) return;
      deliveredKeys.add(key);
    }
    if (due.isDropped) return;
    const { payload, qos, retain, properties, messageExpiryInterval: expiry } = will;
    const expiresAt = expiry === undefined ? undefined : now() + expiry * 1000;
    const number = router.nextNumber();
    const message: Message = { topic, payload, qos, retain, properties, expiresAt, clientId, number };
    const shares = sessions.choose(message);
    await sessions.enqueue(message, { owner, shares, isInJournal: own !== undefined });
    await new Promise<void>((resolve) => bus.tell(message, shares, resolve));
  }

  /** Undefined: the device exceeds its share of the journal, or its number of streams. */
  async #storeTelemetry(
    { identity, group }: Subject,
    own: OwnTelemetry,
    will: WillMessage,
  ): Promise<Accepted | undefined> {
    const { telemetry, shareExceeded, now } = this.#options;
    if (identity.kind !== 'device') return 'stored';
    if (telemetry.shares?.isHeld(identity.id, group) === true) return undefined;
    const { streams } = telemetry;
    if (streams?.admit(identity.id, own.stream) === false) {
      shareExceeded(identity, { kept: 'streams', bound: 'own', stream: own.stream, limit: streams.max });
      return undefined;
    }
    return telemetry.accept({
      device: identity.id,
      stream: own.stream,
      receivedAt: now(),
      qos: will.qos,
      group,
      payload: will.payload,
      ...storedProperties(own.key, will.properties),
    });
  }
}
