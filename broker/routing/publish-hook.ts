/**
 * Decides on each PUBLISH that takes the way through aedes, and on each will: session, policy, stream limit, retained limits.
 * Then stores it. aedes acknowledges a QoS 1 message after the callback, so the callback waits until the message is stored,
 * and for the acknowledgements of earlier messages [MQTT-4.6.0-2].
 */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { AedesOptions, Client } from 'aedes';
import type { Accepted, TelemetryMessage } from '../../telemetry/index.ts';
import type { AccessDecision, Subject } from '../access/acl.ts';
import type { AcknowledgementCause } from '../mqtt/acknowledgement-order.ts';
import type { StoredPacket } from '../session-store/stored-packets.ts';
import type { OwnTelemetry, Session } from '../sessions/session.ts';
import type { AedesClient } from './aedes-engine.ts';
import type { AedesHooksOptions } from './aedes-hooks.ts';
import type { KeyedPacket } from './delivered-keys.ts';

type PublishArguments = Parameters<NonNullable<AedesOptions['authorizePublish']>>;
type ReceivedPacket = PublishArguments[1];
type PublishCallback = PublishArguments[2];

/** One PUBLISH or will, with what the steps find out about it. */
interface Publication {
  readonly session: Session;
  readonly client: Client;
  readonly packet: ReceivedPacket;
  readonly isWill: boolean;
  /** Undefined: not telemetry of this device. */
  readonly own: OwnTelemetry | undefined;
  readonly callback: PublishCallback;
}

const REFUSED = new Error('refused');

export class PublishHook {
  readonly #options: AedesHooksOptions;

  constructor(options: AedesHooksOptions) {
    this.#options = options;
  }

  handle(session: Session | undefined, client: Client | null, packet: ReceivedPacket, callback: PublishCallback): void {
    if (session === undefined || client === null) {
      callback(REFUSED);
      return;
    }
    const isWill = (client as AedesClient).will === packet;
    if (!isWill && isDiscarded(session)) return;
    const own = session.ownTelemetry(packet.topic);
    // The key is only for the journal: readers see the topic without it.
    if (own?.key !== undefined) packet.topic = own.topic;
    const publication = { session, client, packet, isWill, own, callback };
    if (this.#authorize(publication)) this.#store(publication);
  }

  /** False: the message is refused, which ends the session unless the message is a will. */
  #authorize({ session, client, packet, isWill, own, callback }: Publication): boolean {
    const { limits, counters, persistence, accessDenied } = this.#options;
    const { identity } = session.facts.subject;
    const { topic } = packet;
    const refuse = (reason: 'acl_denied' | 'limit_exceeded') => {
      if (isWill) callback(REFUSED);
      else session.end(reason);
      return false;
    };
    const decision = mayWrite(session, topic, packet.retain === true);
    if (!decision.allowed) {
      counters.publishDenied += 1;
      accessDenied(session, packet.retain ? 'retain' : 'publish', topic, decision.reason);
      return refuse('acl_denied');
    }
    if (own !== undefined && !this.#admitsStream(identity, own)) return refuse('limit_exceeded');
    counters.messagesReceived += 1;
    if (packet.qos === 2 && !isWill && !persistence.inboundQos2.hasRoom(client, packet, limits.inflight)) {
      return refuse('limit_exceeded');
    }
    if (!packet.retain) return true;
    (packet as { clientId?: string }).clientId = session.facts.clientId;
    return persistence.mayRetain(packet as StoredPacket, formatIdentity(identity)) || refuse('limit_exceeded');
  }

  #store(publication: Publication): void {
    const { persistence, deliveredKeys } = this.#options;
    const { session, packet, isWill, own } = publication;
    const key = this.#deliveryKey(session.facts.subject.identity, own);
    const wasDelivered = key !== undefined && deliveredKeys.has(key);
    // aedes acknowledges QoS 1 before it queues or retains. For QoS 2 `incomingStorePacket` stores both together.
    const isStoredFirst = packet.qos === 1 && !isWill && !wasDelivered;
    const queued = isStoredFirst
      ? persistence.storeBeforePublish(packet as StoredPacket, { isStored: own !== undefined })
      : undefined;
    if (own === undefined) this.#acknowledge(publication, queued);
    else this.#storeTelemetry(publication, own, key, wasDelivered, queued);
  }

  /** For messages that the journal does not store. `queued`: settles when the queues of its readers are on disk. */
  #acknowledge({ session, client, packet, isWill, callback }: Publication, queued: Promise<void> | undefined): void {
    const { acknowledgements } = session;
    if (isWill) callback(null);
    else if (packet.qos === 2) {
      const { inboundQos2 } = this.#options.persistence;
      acknowledgements.afterStored(inboundQos2.isReceived(client, packet).then(notNew), callback);
    } else if (queued === undefined) acknowledgements.afterEarlier(callback);
    else acknowledgements.afterStored(queued.then(notNew), callback);
  }

  #storeTelemetry(
    { session, client, packet, isWill, callback }: Publication,
    own: OwnTelemetry,
    key: string | undefined,
    wasDelivered: boolean,
    queued: Promise<void> | undefined,
  ): void {
    const { backpressure, storageShareLimiter, now } = this.#options;
    const { subject } = session.facts;
    // The will of a device that exceeds its storage share is not stored: it cannot wait as a PUBLISH can.
    if (isWill && !storageShareLimiter.mayStore(subject.identity, subject.group)) {
      callback(REFUSED);
      return;
    }
    backpressure.telemetryReceived(session);
    const message = telemetryMessage(subject, own, packet, now());
    const keyed = packet as KeyedPacket;
    keyed.isInJournal = true;
    if (key !== undefined) keyed.deliveryKey = key;
    const causeOf = (accepted: Accepted): AcknowledgementCause => {
      keyed.isRepeated = accepted === 'repeated' && wasDelivered;
      return accepted === 'repeated' ? 'known' : undefined;
    };
    if (packet.qos === 2 && !isWill) {
      session.acknowledgements.afterStored(this.#storeOnce(client, packet, message, causeOf), callback);
      return;
    }
    const stored = this.#accept(message);
    if (isWill) {
      stored.then((accepted) => {
        causeOf(accepted);
        callback(null);
      }, callback);
      return;
    }
    const both = queued === undefined ? stored : Promise.all([stored, queued]).then(([accepted]) => accepted);
    session.acknowledgements.afterStored(both.then(causeOf), callback);
  }

  /** A QoS 2 message that is sent again before its PUBREL is the same message [MQTT-4.3.3-2]. */
  async #storeOnce(
    client: Client,
    packet: { messageId?: number },
    message: TelemetryMessage,
    causeOf: (accepted: Accepted) => AcknowledgementCause,
  ): Promise<AcknowledgementCause> {
    const { inboundQos2 } = this.#options.persistence;
    if (await inboundQos2.isReceived(client, packet)) return 'known';
    if (message.key !== undefined) return causeOf(await this.#accept(message));
    const { key, mayBeStored } = await inboundQos2.reserveKey(client, packet);
    const accepted = await this.#accept(key === undefined ? message : { ...message, key });
    if (mayBeStored) {
      // The previous connection may have stored the message too, and may be about to deliver it.
      await new Promise((resolve) => setImmediate(resolve));
      if (await inboundQos2.isReceived(client, packet)) return 'known';
    }
    return causeOf(accepted);
  }

  #admitsStream(identity: Identity, { stream }: OwnTelemetry): boolean {
    const { telemetry, shareExceeded } = this.#options;
    const { streams } = telemetry;
    if (streams === undefined || identity.kind !== 'device' || streams.admit(identity.id, stream)) return true;
    shareExceeded(identity, { kept: 'streams', bound: 'own', stream, limit: streams.max });
    return false;
  }

  #deliveryKey(identity: Identity, own: OwnTelemetry | undefined): string | undefined {
    if (identity.kind !== 'device' || own?.key === undefined) return undefined;
    return this.#options.deliveredKeys.keyOf(identity.id, own.key);
  }

  #accept(message: TelemetryMessage): Promise<Accepted> {
    try {
      return this.#options.telemetry.accept(message);
    } catch (error) {
      return Promise.reject(error);
    }
  }
}

/** Messages of a session that the server has ended are not processed any more. */
function isDiscarded({ isEnded, reason }: Session): boolean {
  return isEnded && reason !== 'connection_lost' && reason !== 'client_disconnected';
}

function mayWrite({ rights }: Session, topic: string, retain: boolean): AccessDecision {
  const decision = rights.mayPublish(topic);
  return decision.allowed && retain ? rights.mayRetain(topic) : decision;
}

/** Such a message counts as acknowledged, and not as newly stored. */
function notNew(): AcknowledgementCause {
  return 'known';
}

function telemetryMessage(
  { identity, group }: Subject,
  { stream, key }: OwnTelemetry,
  packet: { readonly qos: 0 | 1 | 2; readonly payload: string | Buffer },
  receivedAt: number,
): TelemetryMessage {
  if (identity.kind !== 'device') throw new RangeError('expected a device, found a service');
  const { payload } = packet;
  return {
    device: identity.id,
    stream,
    receivedAt,
    qos: packet.qos,
    group,
    payload: typeof payload === 'string' ? Buffer.from(payload) : payload,
    ...(key !== undefined && { key }),
  };
}
