/**
 * Opens everything between a received packet and the readers of a message on one node, and connects it: the handlers of each packet type,
 * the router, backpressure and the storage shares.
 */

import type { BrokerContext } from './broker-context.ts';
import { longestSessionExpiry } from './broker-limits.ts';
import type { Sessions } from './keeper/sessions.ts';
import { Backpressure } from './mqtt/backpressure.ts';
import { AcknowledgementHandler } from './mqtt/handle-acknowledgement.ts';
import { DisconnectHandler } from './mqtt/handle-disconnect.ts';
import { PingreqHandler } from './mqtt/handle-pingreq.ts';
import { PublishHandler, type PublishHandlerOptions } from './mqtt/handle-publish.ts';
import { SubscribeHandler } from './mqtt/handle-subscribe.ts';
import { UnsubscribeHandler } from './mqtt/handle-unsubscribe.ts';
import { RetainedDelivery } from './mqtt/retained-delivery.ts';
import type { SessionHandlers } from './mqtt/session-handlers.ts';
import { StorageShareLimiter } from './mqtt/storage-share-limiter.ts';
import type { Bus } from './routing/bus.ts';
import type { DeliveredKeys } from './routing/delivered-keys.ts';
import type { MessageRouter } from './routing/message-router.ts';
import type { StreamAdmission, TelemetryIntake } from './routing/telemetry-intake.ts';
import type { SessionState } from './sessions/session-state.ts';

export interface MessagePipeline {
  readonly handlers: SessionHandlers;
  readonly router: MessageRouter;
  readonly sessions: Sessions;
  readonly backpressure: Backpressure;
  readonly storageShareLimiter: StorageShareLimiter;
  readonly streams: StreamAdmission | undefined;
  /** Stops timers and listeners; the router is closed separately, after the sessions have ended. */
  stop(): void;
}

export interface PipelineParts {
  readonly telemetry: TelemetryIntake;
  readonly router: MessageRouter;
  readonly sessions: Sessions;
  readonly bus: Pick<Bus, 'tell'>;
  readonly deliveredKeys: DeliveredKeys;
}

export function openMessagePipeline(
  context: BrokerContext,
  state: SessionState,
  parts: PipelineParts,
): MessagePipeline {
  const { telemetry, router, sessions } = parts;
  const backpressure = new Backpressure({ sessions: () => state.sessions.all(), log: context.log });
  const storageShareLimiter = new StorageShareLimiter({
    shares: telemetry.shares,
    sessions: () => state.sessions.all(),
    find: (clientId) => state.sessions.find(clientId),
  });
  const handlers = createHandlers(context, state, { ...parts, backpressure });
  const stopPressure = telemetry.onPressure((isBehind) => backpressure.setPressure(isBehind));
  const stop = () => {
    stopPressure();
    storageShareLimiter.stop();
  };
  return { handlers, router, sessions, backpressure, storageShareLimiter, streams: telemetry.streams, stop };
}

function createHandlers(
  context: BrokerContext,
  { reporter }: SessionState,
  parts: PipelineParts & { readonly backpressure: Backpressure },
): SessionHandlers {
  const { limits, counters } = context;
  const { router, sessions } = parts;
  const retained = new RetainedDelivery({ sessions, nextNumber: () => router.nextNumber() });
  const accessDenied: PublishHandlerOptions['accessDenied'] = (session, verb, topic, why) =>
    reporter.accessDenied(session, verb, topic, why);
  return {
    publish: new PublishHandler({
      ...context,
      ...parts,
      accessDenied,
      shareExceeded: ({ subject }, share) => reporter.shareExceeded(subject.identity, share),
    }),
    acknowledgement: new AcknowledgementHandler(),
    subscribe: new SubscribeHandler({ limits, counters, router, retained, accessDenied }),
    unsubscribe: new UnsubscribeHandler({ router }),
    pingreq: new PingreqHandler(),
    disconnect: new DisconnectHandler({ longestExpiry: longestSessionExpiry(limits) }),
  };
}
