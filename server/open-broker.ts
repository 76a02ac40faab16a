/** Opens the broker: in this thread, or as nodes in threads of their own whose sessions this thread has. */

import type { MessagePort } from 'node:worker_threads';
import {
  type Broker,
  type BrokerKeeper,
  createBroker,
  createClusterBroker,
  type NodeBroker,
  openBrokerKeeper,
} from '../broker/index.ts';
import type { NodeControl } from '../console/index.ts';
import type { Authority } from '../enroll/index.ts';
import type { SharedRegistry } from '../registry/open.ts';
import { Channel } from '../storage/index.ts';
import { CaKeyRequests } from './cluster/ca-key-requests.ts';
import type { Cluster } from './cluster/cluster.ts';
import { drainOnOrder } from './cluster/drain-on-order.ts';
import { createFleetNodes } from './cluster/fleet-nodes.ts';
import { FleetQuestions } from './cluster/fleet-questions.ts';
import { connectLiveness } from './cluster/liveness.ts';
import { NodeJoins } from './cluster/node-joins.ts';
import type { ServerContext } from './context.ts';
import type { LogLevel } from './logger.ts';
import type { BrokerNodeSettings } from './nodes/broker-node-thread.ts';
import type { NodePorts } from './nodes/node-calls.ts';
import { NodeThreads } from './nodes/node-threads.ts';
import { createSingleNode } from './nodes/single-node.ts';
import type { OpenParts } from './open-parts.ts';
import type { PresenceRecorder } from './presence-recorder.ts';
import { brokerOptions } from './server-options.ts';
import type { Stores } from './store-options.ts';

export interface OpenBroker {
  readonly broker: Broker;
  /** Between servers that share a store; undefined where this one is alone. */
  readonly questions?: FleetQuestions;
  readonly nodes: NodeControl & {
    counters(): Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>;
    /** Of the event loop of each thread; none where the main thread is the node. */
    busySeconds(): Readonly<Record<string, number>>;
    setLogLevel(level: LogLevel): void;
  };
}

interface BrokerParts {
  readonly authority: Authority;
  readonly presence: PresenceRecorder;
}

export async function openBroker(
  context: ServerContext,
  stores: Stores,
  parts: BrokerParts,
  opened: OpenParts,
): Promise<OpenBroker> {
  const { config, now } = context;
  const options = brokerOptions(context, stores, parts);
  if (config.mqtt.workers === 1) {
    const { shared } = stores;
    const { cluster } = context;
    if (cluster !== undefined && shared !== undefined) {
      const broker = opened.add(await createClusterBroker({ ...options, cluster: shared }));
      connectToCluster(context, stores, { broker, cluster }, opened);
      const log = context.log.child({ component: 'enroll' });
      const carrier = broker.caKeyRequests;
      opened.add(new CaKeyRequests({ authority: parts.authority, cluster, carrier, log }));
      const joins = new NodeJoins({ config, cluster, registry: stores.registry as SharedRegistry, log: context.log });
      const isEnrolling = config.node.roles.includes('enroll');
      const nodes = createFleetNodes({ cluster, joins, isEnrolling, drainDefaults: config.drain, now });
      return { broker, nodes, questions: new FleetQuestions(broker.reports) };
    }
    const broker = opened.add(await createBroker(options));
    return { broker, nodes: opened.add(createSingleNode({ broker, drainDefaults: config.drain, now })) };
  }
  let threads: NodeThreads | undefined;
  const onSilent = (node: string) => void threads?.terminate(node);
  const broker = opened.add(await openBrokerKeeper({ ...options, onSilent }));
  threads = opened.add(await startNodes(context, stores, parts, broker));
  const nodes = threads;
  broker.listening(nodes.ports);
  return { broker, nodes };
}

function connectToCluster(
  { now, log }: ServerContext,
  { registry, shared }: Stores,
  { broker, cluster }: { readonly broker: NodeBroker; readonly cluster: Cluster },
  opened: OpenParts,
): void {
  cluster.countWith(() => {
    const { sessions = 0, pending_connections: pending = 0 } = broker.counters();
    return { sessions, connections: sessions + pending };
  });
  cluster.onOrder(drainOnOrder({ cluster, broker, now, log }));
  const expectOwn = async () => shared?.nodes.expectOwn();
  const stop = connectLiveness({ cluster, broker, registry: registry as SharedRegistry, expectOwn, log });
  opened.add({ close: async () => stop() });
}

function startNodes(
  context: ServerContext,
  stores: Stores,
  parts: BrokerParts,
  broker: BrokerKeeper,
): Promise<NodeThreads> {
  const { config, limits, now, log } = context;
  const { connectNode } = stores.telemetry as Required<Stores['telemetry']>;
  const failed = (error: unknown, call: string) =>
    log.error({ component: 'broker', err: error, call }, 'a message of a node failed');
  return NodeThreads.start({
    count: config.mqtt.workers,
    program: new URL('./nodes/broker-node-thread.ts', import.meta.url),
    async nodeOptions(ports) {
      const { connection, transfer } = await connectNode();
      return { options: { ...nodeSettings(context, stores, parts, ports), telemetry: connection }, transfer };
    },
    attach: (name, port: MessagePort) => broker.attach(name, new Channel(port, { name: `node ${name}`, failed })),
    detached: (name) => broker.detach(name),
    counted: (name, counters) => broker.counted(name, counters),
    sessionsOf: (name) => broker.nodes().find((node) => node.name === name)?.sessions ?? 0,
    drainNode: (name, drain) => broker.drainNode(name, drain),
    drainDefaults: config.drain,
    refusalLog: limits.refusalLog,
    refusalLogsPerMinute: config.mqtt.limits.refusalLogsPerMinute,
    loadTests: limits.loadTests,
    now,
    log,
  });
}

/** As they are now: certificates, CAs and limits change while the server runs. */
function nodeSettings(
  context: ServerContext,
  stores: Stores,
  parts: BrokerParts,
  listening: NodePorts | undefined,
): Omit<BrokerNodeSettings, 'telemetry'> {
  const options = brokerOptions(context, stores, parts);
  const { host, port, proxies, webSocket, tls, issuers, trustDomain, limits = {}, serverReference } = options;
  return {
    ...{ host, port: listening?.port ?? port, isJoining: listening !== undefined },
    registryFile: context.data.registryFile,
    ...{ tls, issuers: issuers.toString(), trustDomain, limits, serverReference },
    ...(proxies !== undefined && { proxies: [...proxies] }),
    ...(webSocket !== undefined && { webSocket: { ...webSocket, port: listening?.webSocketPort ?? webSocket.port } }),
  };
}
