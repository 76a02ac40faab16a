/** The inside of a node's thread: opens the node, answers the main thread, and closes the node. Knows nothing of MQTT. */

import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { PendingConnectionCounts, PendingConnectionLimits } from '../../limits/index.ts';
import { LoadTestExemptions, type RefusalLog, SharedPendingConnections } from '../../limits/index.ts';
import { Channel } from '../../storage/index.ts';
import type { KeeperCalls, NodeCalls, NodePorts, NodeSettings } from './node-calls.ts';
import { NodeLog } from './node-log.ts';

/** What a thread is started with. */
export interface NodeThreadData {
  readonly settings: NodeSettings;
  /** The channel between the node and the keeper of its state. */
  readonly keeper: MessagePort;
}

export interface NodeContext<Options> {
  readonly name: string;
  readonly options: Options;
  readonly keeper: MessagePort;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
  readonly loadTests: LoadTestExemptions;
  /** Pending connections, counted together with those of the other nodes. */
  connections(limits: PendingConnectionLimits): PendingConnectionCounts;
}

export interface RunningNode extends NodePorts {
  counters(): Readonly<Record<string, number>>;
  close(): Promise<void>;
}

/** Called once in a thread that `NodeThreads` started. */
export function serveNode<Options>(open: (context: NodeContext<Options>) => Promise<RunningNode>): void {
  if (parentPort === null) throw new Error('expected to run in a worker thread, found none');
  const { settings, keeper } = workerData as NodeThreadData;
  const channel = new Channel<KeeperCalls, NodeCalls>(parentPort, {
    name: 'the main thread',
    failed: (error, name) => nodeLog.log.error({ err: error, call: name }, 'a message to this node was not handled'),
  });
  const nodeLog: NodeLog = new NodeLog(settings, (batch) => channel.call('log', batch));
  const loadTests = new LoadTestExemptions(Date.now);
  loadTests.replace(settings.loadTests);
  let node: RunningNode | undefined;
  channel.handle('start', async (options) => {
    node = await open({
      name: settings.name,
      options: options as Options,
      keeper,
      log: nodeLog.log,
      refusalLog: nodeLog.refusalLog,
      loadTests,
      connections: (limits) =>
        new SharedPendingConnections({
          memory: settings.connections,
          thread: settings.thread,
          limits,
          monotonic: process.hrtime.bigint,
        }),
    });
    return { port: node.port, webSocketPort: node.webSocketPort };
  });
  channel.handle('status', () => ({
    counters: node?.counters() ?? {},
    busySeconds: performance.eventLoopUtilization().active / 1_000,
    refusalsOmitted: nodeLog.refusalLog.takeNotLogged(),
  }));
  channel.handle('close', async () => {
    await node?.close();
    await nodeLog.settled();
  });
  channel.handle('logLevel', (level) => nodeLog.setLevel(level));
  channel.handle('loadTests', (active) => loadTests.replace(active));
}
