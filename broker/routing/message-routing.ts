/**
 * Everything between a received message and its readers: aedes, the telemetry fast path, backpressure, the storage shares, the
 * replay of stored queues, and the wills of an earlier run.
 */

import type { BrokerContext } from '../broker-context.ts';
import { Backpressure } from '../mqtt/backpressure.ts';
import { StorageShareLimiter } from '../mqtt/storage-share-limiter.ts';
import type { TelemetryFastPathOptions } from '../mqtt/telemetry-fast-path.ts';
import { PendingWills } from '../sessions/pending-wills.ts';
import { QueueReplay } from '../sessions/queue-replay.ts';
import type { SessionState } from '../sessions/session-state.ts';
import { createRoutingEngine, type RoutingEngine } from './aedes-engine.ts';
import { DeliveredKeys } from './delivered-keys.ts';
import type { TelemetryIntake } from './telemetry-intake.ts';

export interface MessageRouting {
  readonly engine: RoutingEngine;
  readonly fastPath: TelemetryFastPathOptions;
  readonly backpressure: Backpressure;
  readonly storageShareLimiter: StorageShareLimiter;
  readonly pendingWills: PendingWills;
  /** Stops timers and listeners; `engine` is closed separately, after the sessions have ended. */
  stop(): void;
}

/** How long after a start clients may reconnect before the wills of an earlier run are published, in ms. */
const PENDING_WILL_GRACE_MS = 10_000;

export async function openMessageRouting(
  context: BrokerContext,
  state: SessionState,
  telemetry: TelemetryIntake,
): Promise<MessageRouting> {
  const { limits, counters, log, now } = context;
  const { sessions, persistence, reporter } = state;
  const deliveredKeys = new DeliveredKeys();
  const replay = new QueueReplay(persistence, limits.replayPerSecond);
  const backpressure = new Backpressure({ sessions: () => sessions.all(), log });
  const storageShareLimiter = new StorageShareLimiter({
    shares: telemetry.shares,
    sessions: () => sessions.all(),
    find: (clientId) => sessions.find(clientId),
  });
  const shared = { limits, counters, log, now, telemetry, deliveredKeys, backpressure };
  const engine = await createRoutingEngine({
    ...shared,
    persistence,
    storageShareLimiter,
    replay,
    sessionOf: (connection) => sessions.ofConnection(connection),
    connectFinished(session) {
      session.isConnectFinished = true;
      // aedes marks CONNECT as finished after this call, and may read the next packet only then.
      replay.start(session, () => process.nextTick(() => session.connection.connectFinished()));
    },
    accessDenied: (session, verb, topic, why) => reporter.accessDenied(session, verb, topic, why),
    shareExceeded: (identity, share) => reporter.shareExceeded(identity, share),
  });
  const fastPath: TelemetryFastPathOptions = {
    ...shared,
    inflight: limits.inflight,
    subscriptions: engine.subscriptions,
    forward: (topic, { payload, qos }, done) => engine.forward({ topic, payload, qos }, done),
  };
  const pendingWills = openPendingWills(state, { ...shared, storageShareLimiter, engine });
  const stopPressure = telemetry.onPressure((isBehind) => backpressure.setPressure(isBehind));
  const stop = () => {
    stopPressure();
    storageShareLimiter.stop();
    pendingWills.stop();
  };
  return { engine, fastPath, backpressure, storageShareLimiter, pendingWills, stop };
}

interface PendingWillParts extends Pick<BrokerContext, 'log' | 'now'> {
  readonly telemetry: TelemetryIntake;
  readonly deliveredKeys: DeliveredKeys;
  readonly storageShareLimiter: StorageShareLimiter;
  readonly engine: RoutingEngine;
}

function openPendingWills(
  { persistence, policies }: SessionState,
  { log, now, telemetry, deliveredKeys, storageShareLimiter, engine }: PendingWillParts,
): PendingWills {
  return new PendingWills({
    persistence,
    gracePeriod: PENDING_WILL_GRACE_MS,
    now,
    log,
    deliveredKeys,
    rightsOf: (subject) => policies.rightsOf(subject),
    admits: ({ identity, group }, stream) =>
      identity.kind !== 'device' ||
      (storageShareLimiter.mayStore(identity, group) && telemetry.streams?.admit(identity.id, stream) !== false),
    accept: (message) => telemetry.accept(message),
    publish: (message) => engine.publish(message),
  });
}
