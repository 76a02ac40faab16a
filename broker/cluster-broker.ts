/**
 * A broker that is one node of a server over PostgreSQL: its sessions are in this thread, and each belongs to one node at a time. What the
 * registry changes is applied by each node to its own sessions.
 */

import { formatIdentity } from '@rollcall/protocol';
import { sumOfPreviews } from './access/policy-preview.ts';
import { type BrokerOptions, countFromOne, type NodeBroker } from './broker.ts';
import { createBrokerContext } from './broker-context.ts';
import { AbsentNodes, type Missed } from './cluster/absent-nodes.ts';
import { adoptDead } from './cluster/adoption.ts';
import { ClaimBatches } from './cluster/claim-batches.ts';
import { ClaimRequests } from './cluster/claim-requests.ts';
import { ClusterBus, ownShares } from './cluster/cluster-bus.ts';
import { ClusterClaims } from './cluster/cluster-claims.ts';
import { ClusterRoutes } from './cluster/cluster-routes.ts';
import { ClusterSessions, sendToMembers } from './cluster/cluster-sessions.ts';
import { ClusterShares } from './cluster/cluster-shares.ts';
import { ConnectionNumbers } from './cluster/connection-numbers.ts';
import { readFleetSessions } from './cluster/fleet-sessions.ts';
import { handOverSession, hasRows } from './cluster/hand-over.ts';
import { Inbox } from './cluster/inbox.ts';
import { MovingSessions } from './cluster/moving-sessions.ts';
import { NodeReports } from './cluster/node-reports.ts';
import { NodeRequests } from './cluster/node-requests.ts';
import { loadRows, type OpenCluster } from './cluster/open-cluster.ts';
import { ReceivedMessages } from './cluster/received-messages.ts';
import { RetainedReplicas } from './cluster/retained-replicas.ts';
import { RevokedOwners } from './cluster/revoked-owners.ts';
import { keeperOperations, storedCounters } from './keeper/keeper-operations.ts';
import { loadStoredSessions, openKeeper } from './keeper/open-keeper.ts';
import { openNode } from './open-node.ts';
import { DeliveredKeysByDevice } from './routing/delivered-keys.ts';
import { LocalBus } from './routing/local-bus.ts';
import { MessageRouter } from './routing/message-router.ts';
import { LocalRoutes } from './routing/routes.ts';
import type { SessionQuery } from './sessions/session-page.ts';
import { createSessionState } from './sessions/session-state.ts';

export interface ClusterBrokerOptions extends Omit<BrokerOptions, 'sessions'> {
  readonly cluster: OpenCluster;
}

/** How long another node may take until it sent the key of a CA, in ms. */
const CA_KEY_MS = 10_000;

/** A broker that is one node of several. */
export interface ClusterBroker extends NodeBroker {
  readonly reports: NodeReports;
  /** Carries requests for keys of CAs from node to node. It knows nothing of them. */
  readonly caKeyRequests: {
    /** Undefined: it did not answer. */
    ask(node: string, request: unknown): Promise<unknown>;
    answerWith(answer: (request: unknown) => Promise<unknown>): void;
  };
}

/** How long other nodes may take for the preview of a policy, for which they examine all their sessions, in ms. */
const PREVIEW_MS = 5_000;

/** Throws Problem `address_in_use`, and what the database throws. */
export async function createClusterBroker(options: ClusterBrokerOptions): Promise<ClusterBroker> {
  const { cluster, telemetry, log } = options;
  const { store, commits, nodes, outbox } = cluster;
  const { database, wakes, telemetrySettled, answering } = cluster.options;
  const context = createBrokerContext(options);
  const state = createSessionState(context, options);
  const { sessions: live, policies, reporter } = state;
  const stored = await loadStoredSessions(context, store, policies, live);
  const { persistentSessions } = stored;
  const local = new LocalRoutes(store, stored.shares);
  const shares = new ClusterShares(stored.shares);
  const moving = new MovingSessions(outbox);
  const absent = new AbsentNodes({ nodes, appeared: (node, missed) => tellMissed(node, missed) });
  const routes = new ClusterRoutes({ nodes, outbox, commits, shares, local, moving, absent });
  const find = (clientId: string) => live.find(clientId);
  const router = await MessageRouter.open({ ...context, store, routes, find });
  const localBus = new LocalBus({ router, sessions: live });
  const numbers = new ConnectionNumbers(options.nextSequence ?? countFromOne());
  const deliveredKeys = new DeliveredKeysByDevice();
  const rightsOf: Parameters<typeof persistentSessions.load>[0] = (subject) => policies.rightsOf(subject);

  const heard = () => nodes.others().flatMap(({ name, isAlive }) => (isAlive ? [name] : []));
  const publishShares = async () => {
    const changed = shares.changes();
    if (changed.length > 0) await outbox.applied(outbox.send(heard(), { kind: 'shares', shares: changed }));
  };
  /** The rows of these sessions are this node's: messages for them are queued from now on. Resolves with what makes them sessions. */
  const read = async (clientIds: readonly string[]) => {
    for (const clientId of clientIds) moving.arriving(clientId);
    const rows = await loadRows(cluster, clientIds);
    return async () => {
      await persistentSessions.adopt(rows, rightsOf);
      for (const clientId of clientIds) stored.shares.join(clientId, store.subscriptionsOf(clientId));
      keeper.wills.adopt(clientIds);
      for (const clientId of clientIds) {
        if (!store.hasRoom()) await store.durable(); // What came early has to be stored.
        received.queueEarly(clientId, moving.arrived(clientId));
      }
      await publishShares();
    };
  };
  const load = async (clientIds: readonly string[]) => (await read(clientIds))();
  const requests = new ClaimRequests({
    ...{ database, nodes, wakes, log },
    handOver: (request) =>
      handOverSession(request, { live, claims, keeper, routes, moving, publishShares, telemetrySettled }),
  });
  const claims: ClusterClaims = new ClusterClaims({
    ...{ nodes, outbox, commits, requests, batches: new ClaimBatches(database, nodes.name) },
    arriving: (clientId) => moving.arriving(clientId),
    adopt: (dead) => adopt(dead),
    adopted: () => adopt.settled(),
    load: (clientId) => read([clientId]),
    log,
  });
  const bus = new ClusterBus({
    local: localBus,
    send: (message, choices) => sessions.send(message, choices),
  });
  const keeper = openKeeper(context, stored, {
    ...{ policies, reporter, telemetry, deliveredKeys, bus },
    nextSequence: () => numbers.next(),
    routing: router,
    elsewhere(message, share, { mustBeConnected }) {
      const node = shares.nodeFor(share, mustBeConnected);
      if (node !== undefined) outbox.send([node], { kind: 'message', message, owner: '', share });
      return node !== undefined;
    },
    wrap: (embedded) =>
      new ClusterSessions({
        ...{ embedded, claims, nodes, routes, shares, moving, outbox, numbers, publishShares },
        hasRows: (clientId) => hasRows(clientId, stored),
        hasRoom: () => store.hasRoom(),
        dropped() {
          context.counters.messagesDropped += 1;
        },
        retains(topic) {
          replicas.wrote(topic);
          absent.retained(topic);
        },
        tookOver: (takeover) => reporter.tookOver(takeover),
        connectionOf: (clientId) => live.find(clientId)?.connectionFacts,
      }),
  });
  const sessions = keeper.sessions as ClusterSessions;
  const revoked = new RevokedOwners();
  const nodeRequests = new NodeRequests({ outbox, commits, answering, log });
  const isRevoked = (owner: string) => revoked.has(owner);
  const replicas: RetainedReplicas = new RetainedReplicas({
    ...{ database, nodes, commits, wakes, outbox, store, isRevoked, now: context.now, log },
    persistence: keeper.persistence,
    nextNumber: () => router.nextNumber(),
    async replaced(message, owner, origin) {
      const chosen = sessions.choose(message);
      absent.retained(message.topic);
      sendToMembers(outbox, message, owner, chosen);
      // It comes back from a node that had a session of this one lately.
      const isFor = (clientId: string) => moving.admits(clientId, origin);
      const queues = { owner, shares: ownShares(chosen), isInJournal: true, isForQueuesOnly: true, isFor };
      await keeper.persistence.persist(message, queues);
      await new Promise<void>((resolve) => bus.tell(message, chosen, resolve));
    },
  });
  /** What no table has, and what a process has missed that goes on. */
  const tellMissed = (node: string, missed: Missed | undefined) => {
    const known = shares.all();
    if (known.length > 0) outbox.send([node], { kind: 'shares', shares: known });
    if (missed === undefined) return;
    routes.tellMissed(node, missed);
    replicas.tellMissed(node, missed);
  };
  const received: ReceivedMessages = new ReceivedMessages({
    ...{ store, persistence: keeper.persistence, localShares: stored.shares, shares, routes, claims, moving },
    ...{ outbox, others: heard, router, bus: localBus, requests: nodeRequests, log },
    ...{ isRevoked, replicas },
    nodeGone: (node) => {
      routes.forget(node);
      shares.forget(node);
    },
  });
  const inbox = new Inbox({
    ...{ database, nodes, commits, wakes, log },
    outdated: (problem) => cluster.options.onOutdated?.(problem),
    apply: (message, from, number, isAdopted) => received.apply(message, from, number, isAdopted),
  });
  const adopt = adoptDead({ cluster, inbox, claims, read, routes, log });
  router.onMemberGone = (message, share, member) => keeper.redelivery.memberGone(message, share, member);

  claims.owned(cluster.claimed);
  await load(cluster.claimed);
  routes.publish(store.filters);
  routes.publish(router.filters);
  const readRoutes = async () => {
    const added = new Map<string, string[]>();
    for (const { node, filter } of await cluster.readRoutes()) added.set(node, [...(added.get(node) ?? []), filter]);
    for (const [node, filters] of added) routes.apply(node, filters, []);
  };
  await readRoutes();
  await inbox.open();
  await requests.open();
  absent.look();
  const stopLooking = nodes.onLook(() => {
    absent.look();
    replicas.look();
    void inbox.read();
    moving.sweep();
    adopt.all();
  });

  const parts = { telemetry, router, bus, deliveredKeys, sessions };
  const node = await openNode(context, state, parts, {
    ...options,
    sweep(time) {
      keeper.sweep(time);
      revoked.sweep();
      claims.leaveUnused((clientId) => live.find(clientId) !== undefined || hasRows(clientId, stored));
      publishShares().catch(() => {});
    },
    applyPolicyToStored: (scope) => keeper.changes.policyChanged(scope),
    stopping: () => keeper.wills.stop(), // All clients of a server that stops connect again.
  }).catch((error: unknown) => {
    stopLooking();
    requests.close();
    inbox.close();
    keeper.stop();
    throw error;
  });
  localBus.onChange = async (change) => {
    if (change.kind === 'disconnect' && change.reason === 'revoked') revoked.add(formatIdentity(change.identity));
    const applied = node.apply(change);
    await Promise.all([applied, keeper.changes.apply(change, applied)]);
    return applied;
  };
  const { apply: _, ...operations } = node;
  const ofKeeper = keeperOperations({ context, policies, keeper, bus, router, connected: live });
  const ownPage = (query: SessionQuery) => live.page(query, nodes.name);
  let answerCaKey: ((request: unknown) => Promise<unknown>) | undefined;
  const reports = new NodeReports({ requests: nodeRequests, others: heard });
  nodeRequests.answerWith({
    caKey: (request) => answerCaKey?.(request),
    sessions: ownPage,
    previewPolicy: ({ scope, document }) => node.previewPolicy(scope, document),
    disconnect: ({ identity, reason }) => ofKeeper.disconnect(identity, reason),
    report: (question) => reports.report(question),
  });
  /** The nodes that may have sessions of a query. */
  const concerned = async ({ identity, node: only }: SessionQuery) => {
    if (only !== undefined) return only === nodes.name ? [] : [only];
    if (identity?.kind !== 'device') return heard();
    const owner = await claims.nodeOf(identity.id); // The client id of a device is its name.
    return heard().filter((name) => name === owner);
  };
  return {
    ...operations,
    ...ofKeeper,
    caKeyRequests: {
      ask: async (name, request) => (await nodeRequests.ask([name], 'caKey', request, CA_KEY_MS)).get(name),
      answerWith: (answer) => {
        answerCaKey = answer;
      },
    },
    reports,
    async reachability(clientId, topic) {
      const own = await ofKeeper.reachability(clientId, topic);
      // The node that has its session gets the message with the commit that stores it.
      return own === 'away' && routes.nodesFor(topic).size > 0 ? 'stored' : own;
    },
    replaceRetained: (topic, owner, next) => replicas.replace(topic, formatIdentity(owner), next),
    sessions: () => live.describe(),
    sessionPage: async (query) =>
      readFleetSessions(query, { own: ownPage, others: await concerned(query), requests: nodeRequests }),
    async previewPolicy(scope, document) {
      const others = heard();
      const [own, answers] = await Promise.all([
        node.previewPolicy(scope, document),
        nodeRequests.ask(others, 'previewPolicy', { scope, document }, PREVIEW_MS),
      ]);
      const unanswered = others.filter((name) => !answers.has(name));
      return { ...sumOfPreviews([own, ...answers.values()]), unanswered };
    },
    async disconnectEverywhere(identity, reason) {
      const [own, answers] = await Promise.all([
        ofKeeper.disconnect(identity, reason),
        nodeRequests.ask(heard(), 'disconnect', { identity, reason }),
      ]);
      const closed = [...answers.values()].reduce((sum, { sessionsClosed }) => sum + sessionsClosed, 0);
      return { ...own, sessionsClosed: own.sessionsClosed + closed };
    },
    counters() {
      const { expired, stored: storedCounts } = storedCounters(keeper);
      const own = node.counters();
      return { ...own, ...storedCounts, messages_expired: (own.messages_expired ?? 0) + expired };
    },
    async close() {
      stopLooking();
      keeper.stop();
      await node.close();
      requests.close();
      inbox.close();
    },
  };
}
