/**
 * A broker node: accepts connections and holds their sessions, while the state of the sessions is that of the keeper at the other end of
 * the channel. One process has several in threads, which share a port.
 */

import type { Logger } from 'pino';
import type { LoadTestExemptions, PendingConnectionCounts, RefusalLog } from '../limits/index.ts';
import type { BrokerOptions } from './broker.ts';
import { createBrokerContext } from './broker-context.ts';
import type { BrokerLimits } from './broker-limits.ts';
import type { BrokerEvent } from './events.ts';
import { LaggingMembers } from './nodes/lagging-members.ts';
import { answerDeliveries, answerKeeper } from './nodes/node-answers.ts';
import { NodeBus } from './nodes/node-bus.ts';
import type { ChannelToKeeper } from './nodes/node-calls.ts';
import { NodeRoutes } from './nodes/node-routes.ts';
import { type CertificateReader, RemoteDirectory } from './nodes/remote-directory.ts';
import { RemoteSessions } from './nodes/remote-sessions.ts';
import { type OpenNode, openNode } from './open-node.ts';
import { DeliveredKeys } from './routing/delivered-keys.ts';
import { MessageRouter } from './routing/message-router.ts';
import type { TelemetryIntake } from './routing/telemetry-intake.ts';
import { createMemorySessionStore } from './session-store/memory-session-store.ts';
import { createSessionState } from './sessions/session-state.ts';

export interface BrokerNodeOptions
  extends Pick<
    BrokerOptions,
    'host' | 'port' | 'proxies' | 'webSocket' | 'tls' | 'issuers' | 'trustDomain' | 'serverReference'
  > {
  /** To the keeper, which has attached this node. */
  readonly channel: ChannelToKeeper;
  /** Another node of this process listens on the port. */
  readonly isJoining?: boolean;
  /** Pending connections, counted together with those of other nodes. */
  readonly connections?: (limits: BrokerLimits) => PendingConnectionCounts;
  readonly certificates: CertificateReader;
  readonly telemetry: TelemetryIntake;
  readonly limits?: Partial<BrokerLimits>;
  readonly refusalLog?: RefusalLog;
  readonly loadTests?: Pick<LoadTestExemptions, 'find'> | undefined;
  readonly now: () => number;
  readonly log: Logger;
}

export interface BrokerNode {
  readonly port: number;
  readonly webSocketPort: number | undefined;
  counters(): Readonly<Record<string, number>>;
  /** Stops listening, and ends all sessions. Idempotent; the keeper may have asked for it before. */
  close(): Promise<void>;
}

/** How often the keeper is told the counters, and which members of shared subscriptions are behind, in ms. */
const COUNTERS_EVERY_MS = 1_000;
const LAGGING_EVERY_MS = 100;

/** Handlers of the channel are set when this returns its promise. Throws Problem `address_in_use`. */
export async function createBrokerNode(options: BrokerNodeOptions): Promise<BrokerNode> {
  const { channel, telemetry, now } = options;
  const context = createBrokerContext(options);
  const directory = new RemoteDirectory(channel, options.certificates);
  const state = createSessionState(context, {
    directory,
    onEvent: (event) => (isPresence(event) ? channel.tellSoon('event', event) : channel.tell('event', event)),
    onTookOver: (takeover) => channel.tell('tookOver', takeover),
  });
  const live = state.sessions;
  const routes = new NodeRoutes();
  const memory = createMemorySessionStore({ ...context.limits, storedBytes: 0 }, now);
  const deliveredKeys = new DeliveredKeys();
  const lagging = new LaggingMembers(channel, live);
  const sessions = new RemoteSessions({
    channel,
    routes,
    memory,
    deliveredKeys,
    connectionOf: (clientId) => live.find(clientId),
    queued(record) {
      live.find(record.clientId)?.outgoing?.wake();
      lagging.update(record);
    },
  });
  const opening = Promise.withResolvers<OpenNode>();
  opening.promise.catch(() => {}); // The caller gets the error.
  answerKeeper({ channel, live, routes, lagging, directory, node: opening.promise });
  const router = await MessageRouter.open({ ...context, store: memory, routes, find: (id) => live.find(id) });
  answerDeliveries(channel, router);
  const bus = new NodeBus({ channel, router, routes, sessions });
  const parts = { telemetry, router, bus, sessions, deliveredKeys };
  const node = await openNode(context, state, parts, {
    ...options,
    directory,
    elsewhere: (takeover, isCounted) => channel.call('takeOver', { takeover, isCounted }),
    sweep: () => {},
    applyPolicyToStored: () => Promise.resolve(),
    stopping: () => {},
  }).catch((error: unknown) => {
    opening.reject(error);
    throw error;
  });
  const counters = () => {
    const own = node.counters();
    return { ...own, messages_expired: (own.messages_expired ?? 0) + memory.counters().expired };
  };
  const tellCounters = () => channel.tell('counters', counters());
  const timers = [
    setInterval(tellCounters, COUNTERS_EVERY_MS).unref(),
    setInterval(() => {
      for (const record of sessions.records()) lagging.update(record);
    }, LAGGING_EVERY_MS).unref(),
  ];
  const close = async () => {
    for (const timer of timers) clearInterval(timer);
    await node.close();
    tellCounters();
  };
  opening.resolve({ ...node, close });
  return { port: node.port, webSocketPort: node.webSocketPort, counters, close };
}

/** There are two for each connection, and nothing waits for them. */
function isPresence({ type }: BrokerEvent): boolean {
  return type === 'connected' || type === 'disconnected';
}
