/** The servers that share a store, for operators: their list, the drain of one, and its removal, whichever of them is asked. */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import type { NodeDrainOrder, NodeView } from '../../console/index.ts';
import type { ListedNode, NodeOrder } from '../../storage/postgres/index.ts';
import type { OpenBroker } from '../open-broker.ts';
import type { Cluster } from './cluster.ts';
import type { NodeJoins } from './node-joins.ts';

export interface FleetNodesOptions {
  readonly cluster: Pick<Cluster, 'node' | 'nodes' | 'order' | 'remove'>;
  readonly joins: Pick<NodeJoins, 'createToken' | 'listTokens' | 'revokeToken' | 'remove'>;
  /** Other hosts can join by this node. */
  readonly isEnrolling: boolean;
  readonly drainDefaults: Omit<NodeDrainOrder, 'restart'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const POLL_MS = 250;
/** Beyond the time of a drain: for the last messages and packets of its sessions, and for the news of it. */
const GRACE_MS = 30_000;
/** Several heartbeats, ms. */
const LEARNS_WITHIN_MS = 1_000;

export function createFleetNodes({
  cluster,
  joins,
  isEnrolling,
  drainDefaults,
  now,
}: FleetNodesOptions): OpenBroker['nodes'] {
  const list = async () => (await cluster.nodes()).map(viewOf);
  const find = (nodes: readonly NodeView[], name: string): NodeView => {
    const found = nodes.find((node) => node.name === name);
    if (found === undefined) throw new Problem('node_unknown', { reason: `there is no node ${name}` });
    return found;
  };
  const look = async (name: string) => find(await list(), name);
  const expectDrainable = (nodes: readonly NodeView[], name: string): void => {
    const node = find(nodes, name);
    if (!isServing(node)) throw new Problem('node_busy', { reason: `${name} is ${node.state}` });
    if (!nodes.some((other) => other !== node && isServing(other))) {
      throw new Problem('node_last', { reason: `no other node than ${name} is serving` });
    }
  };
  const expectDrained = (nodes: readonly NodeView[], name: string): void => {
    const { state } = find(nodes, name);
    if (state !== 'drained') throw new Problem('node_busy', { reason: `${name} is ${state}` });
  };
  const expectRemovable = async (name: string, force: boolean): Promise<void> => {
    const { state } = await look(name);
    if (name === cluster.node) {
      throw new Problem('node_not_removable', { detail: 'this node answers: ask another one to remove it' });
    }
    if (state === 'gone' || state === 'removed' || force) return;
    throw new Problem('node_heard', { reason: `${name} is ${state}` });
  };
  /** Resolves when the node has carried out its order, or cannot any more. */
  const settled = async (name: string, within: number): Promise<NodeView> => {
    const deadline = performance.now() + within + GRACE_MS;
    for (;;) {
      const found = (await cluster.nodes()).find((node) => node.name === name);
      if (found === undefined) throw new Problem('node_unknown', { reason: `there is no node ${name}` });
      const view = viewOf(found);
      if (found.order === undefined || view.state === 'gone' || view.state === 'removed') return view;
      if (performance.now() > deadline) {
        throw new Problem('unavailable', { detail: `${name} does not carry out the order: look at its log` });
      }
      await delay(POLL_MS);
    }
  };
  const order = async (name: string, given: NodeOrder, expect: typeof expectDrainable): Promise<void> => {
    const isThere = await cluster.order(name, given, (nodes) => expect(nodes.map(viewOf), name));
    if (!isThere) throw new Problem('node_unknown');
  };
  return {
    list,
    drainDefaults: { ...drainDefaults, restart: false },
    expectDrainable: async (name) => expectDrainable(await list(), name),
    async drain(name, drain, begun) {
      await order(name, { kind: 'drain', at: now(), ...drain }, expectDrainable);
      begun(await look(name));
      return settled(name, drain.within);
    },
    async undrain(name) {
      const undrain: NodeOrder = { kind: 'undrain', at: now(), within: 0, sessionsPerSecond: 0, restart: true };
      await order(name, undrain, expectDrained);
      return settled(name, 0);
    },
    expectRemovable,
    async remove(name, { force, actor }) {
      await expectRemovable(name, force);
      const { state } = await look(name);
      // Its lease first: nothing that it does counts from there on.
      if (!(await cluster.remove(name))) throw new Problem('node_unknown');
      // Its process learns of that by its next heartbeat, as long as it can log in.
      if (state !== 'gone' && state !== 'removed') await delay(LEARNS_WITHIN_MS);
      const databaseSql = await joins.remove(name, actor);
      return { ...(await look(name)), databaseSql };
    },
    async createToken(order, actor) {
      if (isEnrolling) return joins.createToken(order, actor);
      throw new Problem('unavailable', { detail: 'hosts join by a node with the role enroll: ask the console of one' });
    },
    listTokens: (page) => joins.listTokens(page),
    revokeToken: (id, actor) => joins.revokeToken(id, actor),
    counters: () => ({}),
    busySeconds: () => ({}),
    setLogLevel: () => {},
  };
}

function isServing({ state, server }: NodeView): boolean {
  return state === 'serving' && server?.roles.includes('mqtt') === true;
}

function viewOf(node: ListedNode): NodeView {
  const { name, sessions, connections, busy, roles, version, protocol, startedAt, skew, host, liveness } = node;
  const isHeard = liveness.state === 'alive';
  const closedBy = liveness.state === 'deaf' ? liveness.closedBy : undefined;
  return {
    ...{ name, kind: 'process', ...stateOf(node), crashes: 0 },
    // Of a node that is gone these are the last ones that it told.
    sessions: liveness.state === 'gone' ? 0 : sessions,
    eventLoopBusy: isHeard ? busy : undefined,
    server: {
      ...{ host, roles, version, protocol: protocol.number, startedAt, skewMs: skew, closedBy },
      connections: liveness.state === 'gone' ? 0 : connections,
    },
  };
}

function stateOf(node: ListedNode): Pick<NodeView, 'state' | 'since'> {
  const { liveness, removedAt, drainedSince, order, startedAt } = node;
  if (removedAt !== undefined) return { state: 'removed', since: removedAt };
  if (liveness.state !== 'alive') return { state: liveness.state, since: liveness.since };
  if (order?.kind === 'drain') return { state: 'draining', since: order.at };
  if (drainedSince !== undefined) return { state: 'drained', since: drainedSince };
  return { state: 'serving', since: startedAt };
}
