/**
 * A broker node: accepts connections and holds their sessions, while the state of the sessions is that of the keeper at the other end of
 * the channel. One process has several in threads, which share a port.
 */

import type { Logger } from 'pino';
import type { LoadTestExemptions, PendingConnectionCounts, RefusalLog } from '../limits/index.ts';
import type { BrokerDirectory, BrokerOptions } from './broker.ts';
import { createBrokerContext } from './broker-context.ts';
import type { BrokerLimits } from './broker-limits.ts';

import { NodeBus } from './nodes/node-bus.ts';
import type { ChannelToKeeper } from './nodes/node-calls.ts';
import { NodeRoutes } from './nodes/node-routes.ts';
import { RemoteSessions } from './nodes/remote-sessions.ts';
import { openNode } from './open-node.ts';
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
  readonly connections?: PendingConnectionCounts;
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
  /** Stops listening, and ends all sessions. Idempotent; the keeper may have asked for it before. */
  close(): Promise<void>;
}

/** How often the keeper is told the counters, and which members of shared subscriptions are behind, in ms. */
const COUNTERS_EVERY_MS = 1_000;
const BEHIND_EVERY_MS = 100;

/** Throws Problem `address_in_use`. */
export async function createBrokerNode(options: BrokerNodeOptions): Promise<BrokerNode> {
  const { channel, telemetry, now } = options;
  const context = createBrokerContext(options);
  const policyListeners = new Set<Parameters<BrokerDirectory['onPolicyChange']>[0]>();
  const directory: BrokerDirectory = {
    certificateStatus: (serial) => channel.call('certificateStatus', serial),
    recordFirstUse: (serial) => channel.call('recordFirstUse', serial),
    findPolicy: (scope) => channel.call('findPolicy', scope),
    onPolicyChange(listener) {
      policyListeners.add(listener);
      return () => policyListeners.delete(listener);
    },
  };
  const state = createSessionState(context, {
    directory,
    onEvent: (event) => channel.tell('event', event),
    onTookOver: (takeover) => channel.tell('tookOver', takeover),
  });
  const live = state.sessions;
  const routes = new NodeRoutes();
  const memory = createMemorySessionStore({ ...context.limits, storedBytes: 0 }, now);
  const sessions = new RemoteSessions({
    channel,
    routes,
    memory,
    connectionOf: (clientId) => live.find(clientId)?.connectionFacts,
    wake: (clientId) => live.find(clientId)?.outgoing?.wake(),
  });
  const router = await MessageRouter.open({ ...context, store: memory, routes, find: (id) => live.find(id) });
  const bus = new NodeBus({ channel, router, routes, sessions });
  channel.handle('routes', (changes) => {
    routes.apply(changes);
    return undefined;
  });
  const parts = { telemetry, router, bus, sessions, deliveredKeys: new DeliveredKeys() };
  const node = await openNode(context, state, parts, {
    ...options,
    directory,
    elsewhere: (takeover, isCounted) => channel.call('takeOver', { takeover, isCounted }),
    sweep: () => {},
    applyPolicyToStored: () => Promise.resolve(),
    stopping: () => {},
  });
  const tellCounters = () => {
    const { expired } = memory.counters();
    const counters = node.counters();
    channel.tell('counters', { ...counters, messages_expired: (counters.messages_expired ?? 0) + expired });
  };
  const timers = [
    setInterval(tellCounters, COUNTERS_EVERY_MS).unref(),
    setInterval(() => tellBehind(), BEHIND_EVERY_MS).unref(),
  ];
  const behind = new Set<number>();

  function tellBehind(): void {
    for (const { joinsShares, clientId, claim } of sessions.records()) {
      const isBehind = joinsShares && live.find(clientId)?.isBehind === true;
      if (isBehind === behind.has(claim)) continue;
      if (isBehind) behind.add(claim);
      else behind.delete(claim);
      channel.tell('behind', { claim, isBehind });
    }
  }

  const close = async () => {
    for (const timer of timers) clearInterval(timer);
    await node.close();
    tellCounters();
  };
  channel.handle('takeOver', async ({ clientId }) => {
    const session = live.find(clientId);
    session?.end('session_taken_over');
    await session?.whenFinished();
    return undefined;
  });
  channel.handle('apply', (change) => node.apply(change));
  channel.handle('policyChanged', (scope) => {
    for (const listener of policyListeners) listener(scope);
    return undefined;
  });
  channel.handle('deliver', (message) => {
    const own = { ...message, number: router.nextNumber() };
    return new Promise((resolve) => router.deliver(own, undefined, () => resolve(undefined)));
  });
  channel.handle('deliverShared', ({ message, share, member, isQueued }) => {
    const session = live.find(member.clientId);
    if (session?.isEnded === false && session.subscriptions.has(share)) session.receiveShared(message, share, member);
    else if (!isQueued) channel.tell('memberGone', { message, share, clientId: member.clientId });
    return undefined;
  });
  channel.handle('previewPolicy', ({ scope, document }) => node.previewPolicy(scope, document));
  channel.handle('replaceTls', ({ tls, issuers }) => {
    node.replaceTls(tls, issuers);
    return undefined;
  });
  channel.handle('applyLimits', (limits) => {
    node.applyLimits(limits);
    return undefined;
  });
  channel.handle('drain', async (drainOptions) => {
    await node.drain(drainOptions);
    return undefined;
  });
  channel.handle('close', async () => {
    await close();
    return undefined;
  });
  return { port: node.port, webSocketPort: node.webSocketPort, close };
}
