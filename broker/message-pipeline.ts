/**
 * Opens everything between a received packet and the readers of a message, and connects it: the handlers of each packet type, the router,
 * what stores messages, wills, backpressure and the storage shares.
 */

import { isShared } from '@rollcall/protocol';
import type { BrokerContext } from './broker-context.ts';
import { longestSessionExpiry } from './broker-limits.ts';
import { EmbeddedSessions } from './keeper/embedded-sessions.ts';
import { MessagePersistence } from './keeper/message-persistence.ts';
import { ServerMessages } from './keeper/server-messages.ts';
import type { Sessions } from './keeper/sessions.ts';
import { SharedRedelivery } from './keeper/shared-redelivery.ts';
import { WillPublisher } from './keeper/will-publisher.ts';
import { Wills } from './keeper/wills.ts';
import { Backpressure } from './mqtt/backpressure.ts';
import { AcknowledgementHandler } from './mqtt/handle-acknowledgement.ts';
import { DisconnectHandler } from './mqtt/handle-disconnect.ts';
import { PingreqHandler } from './mqtt/handle-pingreq.ts';
import { PublishHandler, type PublishHandlerOptions } from './mqtt/handle-publish.ts';
import { SubscribeHandler } from './mqtt/handle-subscribe.ts';
import { UnsubscribeHandler } from './mqtt/handle-unsubscribe.ts';
import { InboundQos2 } from './mqtt/inbound-qos2.ts';
import { RetainedDelivery } from './mqtt/retained-delivery.ts';
import type { SessionHandlers } from './mqtt/session-handlers.ts';
import { StorageShareLimiter } from './mqtt/storage-share-limiter.ts';
import { DeliveredKeys } from './routing/delivered-keys.ts';
import { LocalBus } from './routing/local-bus.ts';
import { MessageRouter } from './routing/message-router.ts';
import type { TelemetryIntake } from './routing/telemetry-intake.ts';
import type { SessionState } from './sessions/session-state.ts';

export interface MessagePipeline {
  readonly handlers: SessionHandlers;
  readonly router: MessageRouter;
  readonly persistence: MessagePersistence;
  readonly sessions: Sessions;
  readonly bus: LocalBus;
  readonly redelivery: SharedRedelivery;
  readonly serverMessages: ServerMessages;
  readonly wills: Wills;
  readonly backpressure: Backpressure;
  readonly storageShareLimiter: StorageShareLimiter;
  /** Stops timers and listeners; the router is closed separately, after the sessions have ended. */
  stop(): void;
}

/** How long after a start clients may reconnect before the wills of an earlier run are published, in ms. */
const WILL_GRACE_MS = 10_000;

export async function openMessagePipeline(
  context: BrokerContext,
  state: SessionState,
  telemetry: TelemetryIntake,
): Promise<MessagePipeline> {
  const { limits, log, now } = context;
  const { sessions, persistentSessions, store, policies, reporter, reportShare } = state;
  const router = await MessageRouter.open({
    store,
    log,
    limits,
    find: (clientId) => sessions.find(clientId),
    rightsOf: (clientId) => sessions.find(clientId)?.rights ?? persistentSessions.rightsOf(clientId),
    isQueueFull: (clientId) => store.queueOf(clientId, { isStored: true }).size >= limits.queuedMessages,
  });
  addStoredShares(state, router);
  const persistence = new MessagePersistence({
    store,
    sessions: persistentSessions,
    limits,
    limitExceeded: (owner, bytes) => reportShare(owner, { kept: 'retained', bound: 'own', bytes }),
  });
  const backpressure = new Backpressure({ sessions: () => sessions.all(), log });
  const storageShareLimiter = new StorageShareLimiter({
    shares: telemetry.shares,
    sessions: () => sessions.all(),
    find: (clientId) => sessions.find(clientId),
  });
  const embedded = new EmbeddedSessions(persistentSessions, persistence);
  const bus = new LocalBus({ router, sessions });
  const deliveredKeys = new DeliveredKeys();
  const parts = { telemetry, router, persistence, sessions: embedded, bus, deliveredKeys };
  const handlers = createHandlers(context, state, { ...parts, backpressure });
  const publisher = new WillPublisher({
    ...context,
    ...parts,
    policies,
    storageShareLimiter,
    shareExceeded: (identity, share) => reporter.shareExceeded(identity, share),
  });
  const wills = new Wills({
    store,
    now,
    log,
    gracePeriod: WILL_GRACE_MS,
    sessionExpiryOf: (clientId) => persistentSessions.expiryOf(clientId),
    publish: (will) => publisher.publish(will),
  });
  const redelivery = new SharedRedelivery({ ...state, router, persistence, bus });
  router.onMemberGone = (message, share, member) => redelivery.memberGone(message, share, member);
  persistentSessions.onEnding = (clientId) => {
    router.shared.removeClient(clientId);
    redelivery.left(clientId);
  };
  persistentSessions.onEnded = (clientId) => wills.sessionEnded(clientId);
  const stopPressure = telemetry.onPressure((isBehind) => backpressure.setPressure(isBehind));
  const stop = () => {
    stopPressure();
    storageShareLimiter.stop();
    wills.stop();
  };
  const serverMessages = new ServerMessages({
    router,
    sessions: embedded,
    bus,
    mayRetain: (topic, bytes, owner) => persistence.mayRetain(topic, bytes, owner),
    retained: (topic) => [...store.retainedMatching(topic)][0]?.payload,
    log,
  });
  return {
    handlers,
    router,
    persistence,
    sessions: embedded,
    bus,
    redelivery,
    serverMessages,
    wills,
    backpressure,
    storageShareLimiter,
    stop,
  };
}

interface HandlerParts {
  readonly telemetry: TelemetryIntake;
  readonly router: MessageRouter;
  readonly persistence: MessagePersistence;
  readonly sessions: Sessions;
  readonly bus: LocalBus;
  readonly deliveredKeys: DeliveredKeys;
  readonly backpressure: Backpressure;
}

function createHandlers(context: BrokerContext, state: SessionState, parts: HandlerParts): SessionHandlers {
  const { limits, counters } = context;
  const { store, reporter, sessions, persistentSessions } = state;
  const { router } = parts;
  const inboundQos2 = new InboundQos2(store, (session) =>
    session.isStored
      ? persistentSessions.epochOf(session.facts.clientId) === session.claimEpoch
      : sessions.find(session.facts.clientId) === session,
  );
  const retained = new RetainedDelivery({ store, nextNumber: () => router.nextNumber() });
  const accessDenied: PublishHandlerOptions['accessDenied'] = (session, verb, topic, why) =>
    reporter.accessDenied(session, verb, topic, why);
  return {
    publish: new PublishHandler({
      ...context,
      ...parts,
      inboundQos2,
      accessDenied,
      shareExceeded: ({ subject }, share) => reporter.shareExceeded(subject.identity, share),
    }),
    acknowledgement: new AcknowledgementHandler(inboundQos2),
    subscribe: new SubscribeHandler({ limits, counters, store, router, retained, accessDenied }),
    unsubscribe: new UnsubscribeHandler({ store, router }),
    pingreq: new PingreqHandler(),
    disconnect: new DisconnectHandler({ longestExpiry: longestSessionExpiry(limits) }),
    enqueue({ facts, owner }, message, { qos, retainAsPublished, subscriptionIdentifiers }, share) {
      const retain = message.retain && retainAsPublished;
      const { clientId } = facts;
      store.enqueue([{ clientId, owner, qos, retain, subscriptionIdentifiers, share, isConnected: true }], message);
    },
  };
}

/** Members of shared subscriptions whose sessions were stored by an earlier run. */
function addStoredShares({ persistentSessions, store }: SessionState, router: MessageRouter): void {
  for (const clientId of persistentSessions.clientIds()) {
    for (const subscription of store.subscriptionsOf(clientId)) {
      if (isShared(subscription.filter)) router.addShared(clientId, subscription);
    }
  }
}
