/** The hooks by which aedes asks the broker: each finds the session of the client, decides, and calls aedes back. */

import type { Identity } from '@rollcall/protocol';
import type { AedesOptions, Client } from 'aedes';
import type { DenialReason, PolicyVerb } from '../access/acl.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ShareExceeded } from '../events.ts';
import type { Backpressure } from '../mqtt/backpressure.ts';
import type { MqttConnection } from '../mqtt/connection.ts';
import type { StorageShareLimiter } from '../mqtt/storage-share-limiter.ts';
import type { QueueReplay } from '../sessions/queue-replay.ts';
import type { Session } from '../sessions/session.ts';
import type { AedesPersistence } from './aedes-persistence.ts';
import type { DeliveredKeys } from './delivered-keys.ts';
import type { Qos } from './granted-filters.ts';
import { PublishHook } from './publish-hook.ts';
import type { TelemetryIntake } from './telemetry-intake.ts';

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
  readonly sessionOf: (connection: MqttConnection) => Session | undefined;
  readonly accessDenied: (session: Session, verb: PolicyVerb, topic: string, why: DenialReason) => void;
  readonly shareExceeded: (identity: Identity, share: ShareExceeded) => void;
}

type AedesHooks = Required<
  Pick<AedesOptions, 'preConnect' | 'authenticate' | 'authorizePublish' | 'authorizeSubscribe' | 'authorizeForward'>
>;

/** QoS 2 is acknowledged twice: by PUBREC and PUBCOMP. */
const ACKNOWLEDGEMENTS_PER_MESSAGE = 2;

const HIGHEST_QOS = 2;

const REFUSED = new Error('refused');

/** A client without a session has no rights. */
export function createAedesHooks(options: AedesHooksOptions): AedesHooks {
  const publishHook = new PublishHook(options);
  const sessionOf = (client: Client | null) =>
    client === null ? undefined : options.sessionOf(client.conn as unknown as MqttConnection);
  return {
    preConnect: connectHook(options, sessionOf),
    authenticate: (_client, _username, _password, callback) => callback(null, true),
    authorizePublish: (client, packet, callback) => publishHook.handle(sessionOf(client), client, packet, callback),
    authorizeSubscribe: subscribeHook(options, sessionOf),
    authorizeForward: deliverHook(options, sessionOf),
  };
}

type SessionOf = (client: Client | null) => Session | undefined;

/** The client id was authorized before aedes read a byte. Here aedes' own reading of CONNECT has to agree. */
function connectHook({ limits }: AedesHooksOptions, sessionOf: SessionOf): AedesHooks['preConnect'] {
  return (client, packet, callback) => {
    const session = sessionOf(client);
    if (session === undefined || packet.clientId !== session.facts.clientId) return callback(REFUSED, false);
    const requested = (packet.keepalive ?? 0) * 1000;
    session.startKeepAlive(requested === 0 ? limits.keepalive : Math.min(requested, limits.keepalive));
    packet.keepalive = 0; // aedes would restart a timer with every packet.
    callback(null, true);
  };
}

function subscribeHook(options: AedesHooksOptions, sessionOf: SessionOf): AedesHooks['authorizeSubscribe'] {
  const { limits, counters, persistence } = options;
  return (client, subscription, callback) => {
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
      // While CONNECT is being processed aedes needs the callback: otherwise it never releases the client.
      return session.isConnectFinished ? session.end('limit_exceeded') : callback(null, null);
    }
    filters.set(topic, subscription.qos as Qos);
    // aedes delivers by the first filter that matches. The QoS is determined at each delivery.
    callback(null, { ...subscription, qos: HIGHEST_QOS });
  };
}

/** Called at every delivery: live, queued and retained. */
function deliverHook(options: AedesHooksOptions, sessionOf: SessionOf): AedesHooks['authorizeForward'] {
  const { limits, counters, replay } = options;
  return (client, packet) => {
    const session = sessionOf(client);
    if (session === undefined || session.isEnded) return null;
    if (!session.rights.mayReceive(packet.topic).allowed) {
      counters.receiveDenied += 1;
      return null;
    }
    const isLive = packet.messageId === undefined && packet.brokerId;
    if (isLive && replay.suppresses(session, packet)) return null;
    if (isLive && packet.brokerCounter === session.lastForwarded) return null; // Overlapping filters get one copy.
    // Live and retained messages have the QoS of their PUBLISH, queued ones that of their queue entry [MQTT-3.8.4-6].
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
}
