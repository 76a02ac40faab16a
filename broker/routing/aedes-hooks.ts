/** The only file that speaks aedes' callbacks: each hook asks the session and tells aedes yes or no. */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { AedesOptions, Client } from 'aedes';
import type { Accepted, TelemetryMessage, Waiting } from '../../telemetry/index.ts';
import type { AccessDecision, DenialReason, PolicyVerb, Subject } from '../access/acl.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ShareExceeded } from '../events.ts';
import type { AcknowledgementCause } from '../mqtt/acknowledgement-order.ts';
import type { Backpressure } from '../mqtt/backpressure.ts';
import type { MqttConnection } from '../mqtt/connection.ts';
import type { StorageShareLimiter, StorageShares } from '../mqtt/storage-share-limiter.ts';
import type { StoredPacket } from '../session-store/stored-packets.ts';
import type { QueueReplay } from '../sessions/queue-replay.ts';
import type { OwnTelemetry, Session } from '../sessions/session.ts';
import type { AedesClient } from './aedes-engine.ts';
import type { AedesPersistence } from './aedes-persistence.ts';
import type { DeliveredKeys, KeyedPacket } from './delivered-keys.ts';
import type { Qos } from './granted-filters.ts';

/** What the broker needs of telemetry. */
export interface TelemetryIntake {
  /** Resolves when the message is stored. The device hears PUBACK only after that. */
  accept(message: TelemetryMessage): Promise<Accepted>;
  /** The same, told by a call. */
  submit(message: TelemetryMessage, waiting: Waiting): void;
  /** Tells when storage falls behind, true, and when it has caught up. */
  onPressure(listener: (isBehind: boolean) => void): () => void;
  /** Who stored more than its share today. */
  readonly shares?: StorageShares;
  /** How many streams a device may have. */
  readonly streams?: StreamAdmission;
}

/** What the broker asks about a stream that a device names. */
export interface StreamAdmission {
  /** Whether a device may send to it, and has it from then on. */
  admit(device: string, stream: string): boolean;
  readonly most: number;
}

export interface AedesHooksOptions {
  readonly limits: BrokerLimits;
  readonly now: () => number;
  readonly counters: BrokerCounters;
  readonly persistence: AedesPersistence;
  readonly telemetry: TelemetryIntake;
  readonly deliveredKeys: DeliveredKeys;
  readonly backpressure: Pick<Backpressure, 'telemetryReceived'>;
  readonly storageShareLimiter: Pick<StorageShareLimiter, 'mayStore'>;
  readonly replay: Pick<QueueReplay, 'suppresses' | 'isReplayed'>;
  sessionOf(connection: MqttConnection): Session | undefined;
  accessDenied(session: Session, verb: PolicyVerb, topic: string, why: DenialReason): void;
  shareExceeded(identity: Identity, share: ShareExceeded): void;
}

type AedesHooks = Required<
  Pick<AedesOptions, 'preConnect' | 'authenticate' | 'authorizePublish' | 'authorizeSubscribe' | 'authorizeForward'>
>;

/** QoS 2 is acknowledged twice: PUBREC and PUBCOMP. */
const ACKNOWLEDGEMENTS_PER_MESSAGE = 2;

const HIGHEST_QOS = 2;

const REFUSED = new Error('refused');

/** A client publishes nothing on its own: without a session there is no right. */
export function createAedesHooks(options: AedesHooksOptions): AedesHooks {
  const { limits, counters, persistence, backpressure, replay } = options;
  const sessionOf = (client: Client | null) =>
    client === null ? undefined : options.sessionOf(client.conn as unknown as MqttConnection);

  /** The identity was bound before aedes saw a byte; here aedes' own reading of CONNECT has to agree. */
  const preConnect: AedesHooks['preConnect'] = (client, packet, callback) => {
    const session = sessionOf(client);
    if (session === undefined || packet.clientId !== session.facts.clientId) return callback(REFUSED, false);
    const asked = (packet.keepalive ?? 0) * 1000;
    session.startKeepAlive(asked === 0 ? limits.keepalive : Math.min(asked, limits.keepalive));
    packet.keepalive = 0; // aedes would wind up a timer with every packet
    callback(null, true);
  };

  const authenticate: AedesHooks['authenticate'] = (_client, _username, _password, callback) => callback(null, true);

  const authorizePublish: AedesHooks['authorizePublish'] = (client, packet, callback) => {
    const session = sessionOf(client);
    if (session === undefined || client === null) return callback(REFUSED);
    const isWill = (client as AedesClient).will === packet;
    // A will fires when its session has ended; anything else of an ended session is not processed any more.
    if (
      session.isEnded &&
      !isWill &&
      session.reason !== 'connection_lost' &&
      session.reason !== 'client_disconnected'
    ) {
      return;
    }
    const own = session.ownTelemetry(packet.topic);
    if (own?.key !== undefined) packet.topic = own.topic; // the key has done its service when the message is stored
    const { topic } = packet;
    const decision = mayWrite(session, topic, packet.retain === true);
    if (!decision.allowed) {
      counters.publishDenied += 1;
      options.accessDenied(session, packet.retain ? 'retain' : 'publish', topic, decision.reason);
      if (isWill) return callback(REFUSED);
      return session.end('acl_denied');
    }
    if (own !== undefined && !admitsStream(session.facts.subject.identity, own)) {
      return isWill ? callback(REFUSED) : session.end('limit_exceeded');
    }
    counters.messagesReceived += 1;
    const isTwice = packet.qos === 2 && !isWill;
    if (isTwice && !persistence.inboundQos2.hasRoom(client, packet, limits.inflight))
      return session.end('limit_exceeded');
    if (packet.retain) {
      (packet as { clientId?: string }).clientId = session.facts.clientId;
      const owner = ownerOf(session.facts.subject.identity);
      if (!persistence.mayRetain(packet as StoredPacket, owner)) {
        return isWill ? callback(REFUSED) : session.end('limit_exceeded');
      }
    }
    // aedes acknowledges QoS 1 before it queues or retains; of QoS 2 the store does both in `incomingStorePacket`.
    const name = nameOf(session.facts.subject.identity, own);
    const wasPassedOn = name !== undefined && options.deliveredKeys.has(name);
    const isStored = own !== undefined;
    const isKeptFirst = packet.qos === 1 && !isWill && !wasPassedOn;
    const kept = isKeptFirst ? persistence.storeBeforePublish(packet as StoredPacket, { isStored }) : undefined;
    if (own === undefined) {
      if (isWill) return callback(null);
      if (isTwice)
        return session.acknowledgements.afterStored(
          persistence.inboundQos2.isReceived(client, packet).then(known),
          callback,
        );
      return kept === undefined
        ? session.acknowledgements.afterEarlier(callback)
        : session.acknowledgements.afterStored(kept.then(known), callback);
    }
    const { identity, group } = session.facts.subject;
    // A will is no PUBLISH that could wait: a device over its share has none that is stored.
    if (isWill && !options.storageShareLimiter.mayStore(identity, group)) return callback(REFUSED);
    backpressure.telemetryReceived(session);
    const message = telemetryMessage(session.facts.subject, own, packet, options.now());
    const keyed = packet as KeyedPacket;
    keyed.isInJournal = true;
    if (name !== undefined) keyed.deliveryKey = name;
    const outcome = (accepted: Accepted): AcknowledgementCause => {
      keyed.isRepeated = accepted === 'repeated' && wasPassedOn;
      return accepted === 'repeated' ? 'known' : undefined;
    };
    if (isTwice) {
      session.acknowledgements.afterStored(storeOnce(client, packet, message, outcome), callback);
    } else if (isWill) {
      accept(message).then((accepted) => {
        outcome(accepted);
        callback(null);
      }, callback);
    } else {
      const stored = accept(message);
      session.acknowledgements.afterStored(
        kept === undefined ? stored.then(outcome) : Promise.all([stored, kept]).then(([accepted]) => outcome(accepted)),
        callback,
      );
    }
  };

  function admitsStream(identity: Identity, { stream }: OwnTelemetry): boolean {
    const { streams } = options.telemetry;
    if (streams === undefined || identity.kind !== 'device' || streams.admit(identity.id, stream)) return true;
    options.shareExceeded(identity, { kept: 'streams', bound: 'own', stream, limit: streams.most });
    return false;
  }

  function nameOf(identity: Identity, own: OwnTelemetry | undefined): string | undefined {
    return identity.kind !== 'device' || own?.key === undefined
      ? undefined
      : options.deliveredKeys.keyOf(identity.id, own.key);
  }

  function mayWrite(session: Session, topic: string, retain: boolean): AccessDecision {
    const decision = session.rights.mayPublish(topic);
    return decision.allowed && retain ? session.rights.mayRetain(topic) : decision;
  }

  function accept(message: TelemetryMessage): Promise<Accepted> {
    try {
      return options.telemetry.accept(message);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** A QoS 2 message that is sent again before its PUBREL is the same message [MQTT-4.3.3-2]. */
  async function storeOnce(
    client: Client,
    packet: { messageId?: number },
    message: TelemetryMessage,
    outcome: (accepted: Accepted) => AcknowledgementCause,
  ): Promise<AcknowledgementCause> {
    const { inboundQos2 } = persistence;
    if (await inboundQos2.isReceived(client, packet)) return 'known';
    if (message.key !== undefined) return outcome(await accept(message));
    const { key, mayBeStored } = await inboundQos2.reserveKey(client, packet);
    const accepted = await accept(key === undefined ? message : { ...message, key });
    if (mayBeStored) {
      // The connection before it may have brought it here too, and be about to pass it on.
      await new Promise((resolve) => setImmediate(resolve));
      if (await inboundQos2.isReceived(client, packet)) return 'known';
    }
    return outcome(accepted);
  }

  const authorizeSubscribe: AedesHooks['authorizeSubscribe'] = (client, subscription, callback) => {
    const session = sessionOf(client);
    if (session === undefined) return callback(null, null);
    const { topic } = subscription;
    const decision = session.rights.maySubscribe(topic);
    if (!decision.allowed) {
      counters.subscribeDenied += 1;
      options.accessDenied(session, 'subscribe', topic, decision.reason);
      if (!session.isConnectFinished) persistence.removeSubscriptions(client, [topic]).catch(() => {});
      return callback(null, null);
    }
    const { filters } = session;
    if (!filters.has(topic) && filters.size >= limits.subscriptions) {
      // While it connects aedes has to be answered, or it never lets go of the client.
      return session.isConnectFinished ? session.end('limit_exceeded') : callback(null, null);
    }
    filters.set(topic, subscription.qos as Qos);
    // The engine delivers by the first filter that matches; which QoS it is then is decided at each delivery.
    callback(null, { ...subscription, qos: HIGHEST_QOS });
  };

  /** Asked at every delivery: live, queued and retained. */
  const authorizeForward: AedesHooks['authorizeForward'] = (client, packet) => {
    const session = sessionOf(client);
    if (session === undefined || session.isEnded) return null;
    if (!session.rights.mayReceive(packet.topic).allowed) {
      counters.receiveDenied += 1;
      return null;
    }
    const isLive = packet.messageId === undefined && packet.brokerId;
    if (isLive && replay.suppresses(session, packet)) return null;
    if (isLive && packet.brokerCounter === session.lastForwarded) return null; // overlapping filters: one copy
    // Live and retained messages come with the QoS they were published with, queued ones with that of their place [MQTT-3.8.4-6].
    if (packet.qos > 0 && (packet.retain || (isLive && !replay.isReplayed(session, packet)))) {
      packet.qos = Math.min(packet.qos, session.filters.qosOf(packet.topic)) as Qos;
    }
    if (session.connection.writableLength > limits.outgoing) {
      counters.messagesDropped += 1;
      if (packet.qos > 0) session.end('slow_consumer');
      return null;
    }
    if (isLive) session.lastForwarded = packet.brokerCounter;
    if (packet.qos > 0) session.acknowledgementCredit += ACKNOWLEDGEMENTS_PER_MESSAGE;
    counters.messagesForwarded += 1;
    return packet;
  };

  return { preConnect, authenticate, authorizePublish, authorizeSubscribe, authorizeForward };
}

function known(): AcknowledgementCause {
  return 'known';
}

/** Who owns what is kept in the session store. */
export function ownerOf(identity: Identity): string {
  return formatIdentity(identity);
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
