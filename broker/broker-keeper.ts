/**
 * A broker whose connections are on other nodes: the state of all sessions, and what the nodes have in common. Other modules see it as the
 * broker of one process.
 */

import { sumOfPreviews } from './access/policy-preview.ts';
import { scopesOf } from './access/policy-resolver.ts';
import { type Broker, type BrokerOptions, countFromOne } from './broker.ts';
import { createBrokerContext } from './broker-context.ts';
import { keeperOperations, storedCounters } from './keeper/keeper-operations.ts';
import { loadStoredSessions, openKeeper } from './keeper/open-keeper.ts';
import { AttachedNode } from './nodes/attached-node.ts';
import type { ChannelToNode } from './nodes/node-calls.ts';
import { type NodeClient, NodeClients } from './nodes/node-client.ts';
import { NodesBus } from './nodes/nodes-bus.ts';
import type { NodesState } from './nodes/nodes-state.ts';
import { RouteTable } from './nodes/route-table.ts';
import { DeliveredKeysByDevice } from './routing/delivered-keys.ts';
import { MessageRouter } from './routing/message-router.ts';
import { LocalRoutes } from './routing/routes.ts';
import { firstAfter } from './sessions/session-page.ts';
import type { DrainOptions } from './sessions/session-shutdown.ts';
import { createSessionState } from './sessions/session-state.ts';
import { TakeoverLimit } from './sessions/takeover-limit.ts';

export type BrokerKeeperOptions = Pick<
  BrokerOptions,
  | 'directory'
  | 'telemetry'
  | 'sessions'
  | 'limits'
  | 'refusalLog'
  | 'loadTests'
  | 'now'
  | 'log'
  | 'onEvent'
  | 'onCloneSuspected'
  | 'nextSequence'
> & {
  /** How long a node may take to end a session whose client id was claimed on another node, in ms. */
  readonly takeoverWithin?: number | undefined;
  /** How long a node may take to apply a revocation or another change, in ms. */
  readonly changeWithin?: number | undefined;
  /** A node has not applied a change in time. Its thread has to be ended, and its connections with it. */
  readonly onSilent?: ((node: string) => void) | undefined;
};

const TAKEOVER_MS = 2_000;
const CHANGE_MS = 5_000;

/** One node, as operators see it. */
export interface NodeReport {
  readonly name: string;
  readonly sessions: number;
  readonly counters: Readonly<Record<string, number>>;
}

export interface BrokerKeeper extends Broker {
  /** The handlers of the channel are set when this returns. `name` is different for each node that is attached. */
  attach(name: string, channel: ChannelToNode): void;
  /** The node is gone, with its connections. Resolves when its sessions are released. */
  detach(name: string): Promise<void>;
  /** Where the nodes listen. */
  listening(ports: { readonly port: number; readonly webSocketPort: number | undefined }): void;
  nodes(): readonly NodeReport[];
  /** Replaces what a node has counted; each node does so by itself, once a second. */
  counted(name: string, counters: Readonly<Record<string, number>>): void;
  /** Ends the sessions of one node at a limited rate; it accepts no connection any more. False: there is no such node. */
  drainNode(name: string, options: DrainOptions): Promise<boolean>;
}

export async function openBrokerKeeper(options: BrokerKeeperOptions): Promise<BrokerKeeper> {
  const { directory, telemetry, now, log } = options;
  const context = createBrokerContext(options);
  const { policies, reporter } = createSessionState(context, options);
  const clients = new NodeClients();
  const stored = await loadStoredSessions(context, options.sessions, policies, clients);
  const router = await MessageRouter.open({
    ...context,
    store: stored.store,
    routes: new LocalRoutes(stored.store, stored.shares),
    find: () => undefined,
  });
  const routes = new RouteTable();
  routes.addSource('stored', 'queued', stored.store.filters);
  routes.addSource('shared', 'queued', stored.shares.filters);
  routes.addSource('server', 'live', router.filters);
  const bus = new NodesBus({
    ...{ clients, routes, router, now: context.now },
    silentAfter: options.changeWithin ?? CHANGE_MS,
    onSilent(node) {
      log.error({ node }, 'a node did not apply a change in time, and is ended');
      options.onSilent?.(node);
    },
  });
  const deliveredKeys = new DeliveredKeysByDevice();
  const nextNumber = () => router.nextNumber();
  const keeper = openKeeper(context, stored, {
    ...{ policies, reporter, telemetry, bus, deliveredKeys },
    nextSequence: options.nextSequence ?? countFromOne(),
    routing: { nextNumber, hasSubscriber: (topic) => router.hasSubscriber(topic) || routes.hasLive(topic) },
  });
  bus.onMemberGone = (message, share, member) => keeper.redelivery.memberGone(message, share, member);
  bus.onChange = async (change, applied) => {
    if (change.kind === 'reauthorize') {
      const rights = await policies.currentRightsOf(change.subject);
      for (const client of clients.ofIdentity(change.subject.identity))
        Object.assign(client, { rights, subject: change.subject });
    }
    await keeper.changes.apply(change, applied);
  };
  const takeovers = new TakeoverLimit(context.limits.takeoversPerMinute);
  const state: NodesState = {
    ...{ directory, policies, reporter, keeper, clients, routes, bus, takeovers, deliveredKeys, nextNumber, now },
    ...{ counters: context.counters, limits: context.limits },
    streamsOf: (device) => telemetry.streams?.of?.(device) ?? [],
    takeoverWithin: options.takeoverWithin ?? TAKEOVER_MS,
  };
  const all = () => [...bus.nodes()];
  const stopPolicyChanges = directory.onPolicyChange((scope) => {
    policies.invalidate(scope);
    const apply = async () => {
      for (const client of [...clients.all()]) {
        if (scopesOf(client.subject).includes(scope)) client.rights = await policies.currentRightsOf(client.subject);
      }
      await keeper.changes.policyChanged(scope);
    };
    for (const { channel } of all()) channel.tell('policyChanged', scope);
    apply().catch((error: unknown) => log.error({ err: error, scope }, 'policy could not be applied'));
  });
  const sweep = setInterval(() => {
    const time = now();
    keeper.sweep(time);
    takeovers.sweep(time);
    reporter.sweep(time);
    for (const node of all()) node.sweep();
  }, context.limits.sweepInterval).unref();
  /** Of nodes that are gone: what they counted does not go with them. */
  const ofGone: Record<string, number> = {};
  let ports = { port: 0, webSocketPort: undefined as number | undefined };
  let closing: Promise<void> | undefined;

  const close = async () => {
    stopPolicyChanges();
    keeper.stop();
    clearInterval(sweep);
    await Promise.all(all().map(({ channel }) => channel.call('close', undefined).catch(() => undefined)));
    await router.close();
  };
  const operations = keeperOperations({ context, policies, keeper, bus, router, connected: clients });
  return {
    ...operations,
    disconnectEverywhere: operations.disconnect,
    get port() {
      return ports.port;
    },
    get webSocketPort() {
      return ports.webSocketPort;
    },
    listening(found) {
      ports = { ...found };
    },
    attach(name, channel) {
      bus.add(new AttachedNode(name, channel, state, log));
    },
    async detach(name) {
      const node = bus.node(name);
      if (node === undefined) return;
      bus.remove(node);
      for (const [counter, value] of Object.entries(node.counters)) {
        if (isTotal(counter)) ofGone[counter] = (ofGone[counter] ?? 0) + value;
      }
      await node.ended();
    },
    counted(name, counters) {
      const node = bus.node(name);
      if (node !== undefined) node.counters = counters;
    },
    nodes: () => all().map(({ name, sessions, counters }) => ({ name, sessions, counters })),
    async drainNode(name, drainOptions) {
      const node = bus.node(name);
      await node?.channel.call('drain', { ...drainOptions, isNodeOnly: true });
      return node !== undefined;
    },
    replaceTls(tls, issuers) {
      for (const { channel } of all()) channel.tell('replaceTls', { tls, issuers: issuers?.toString() });
    },
    applyLimits(limits) {
      Object.assign(context.limits, limits);
      for (const { channel } of all()) channel.tell('applyLimits', limits);
    },
    sessions: () => [...clients.all()].filter(({ isEnded }) => !isEnded).map((client) => client.describe()),
    async sessionPage(query) {
      const known = query.identity === undefined ? clients.all() : clients.ofIdentity(query.identity);
      const isWanted = ({ isEnded, node }: NodeClient) => !isEnded && (query.node === undefined || query.node === node);
      const { items, hasMore } = firstAfter(known, (one) => (isWanted(one) ? one.clientId : undefined), query);
      return { sessions: items.map((one) => ({ ...one.describe(), node: one.node })), hasMore, unanswered: [] };
    },
    counters() {
      const { expired, stored: storedCounts } = storedCounters(keeper);
      const sum: Record<string, number> = { ...ofGone };
      const own = { ...context.counters.snapshot(), messages_expired: context.counters.messagesExpired + expired };
      for (const counters of [own, ...all().map((node) => node.counters)]) {
        for (const [name, value] of Object.entries(counters)) sum[name] = (sum[name] ?? 0) + value;
      }
      // Of this thread; the nodes have their own.
      const busySeconds = performance.eventLoopUtilization().active / 1_000;
      return { ...sum, ...storedCounts, event_loop_busy_seconds_total: busySeconds, sessions: clients.size };
    },
    async previewPolicy(scope, document) {
      const unanswered: string[] = [];
      const asked = all().map(({ name, channel }) =>
        channel.call('previewPolicy', { scope, document }).catch((error: unknown) => {
          if (!channel.hasEnded) throw error;
          unanswered.push(name);
          return [];
        }),
      );
      return { ...sumOfPreviews((await Promise.all(asked)).flat()), unanswered };
    },
    async drain(drainOptions) {
      keeper.wills.stop(); // All clients of a server that stops connect again.
      const sessionsPerSecond = drainOptions.sessionsPerSecond / Math.max(1, all().length);
      const perNode = { ...drainOptions, sessionsPerSecond };
      await Promise.all(all().map(({ channel }) => channel.call('drain', perNode).catch(() => undefined)));
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}

/** Counters that grow, other than the state of a node at present. */
const STATES = new Set(['sessions', 'pending_connections', 'sessions_not_read', 'sessions_over_share']);

function isTotal(counter: string): boolean {
  return !STATES.has(counter);
}
