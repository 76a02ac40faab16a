/**
 * The nodes of one server: threads that listen on the same port. One node can be drained while the others serve. The main thread asks each how
 * it is once a second, and ends one that hangs: whatever waits for that thread (a claim, a SUBACK, a delivery, an order of an operator) goes on
 * with its end.
 */

import { Problem } from '@rollcall/protocol';
import type { NodeControl, NodeDrainOrder, NodeView } from '../../console/index.ts';
import { createSharedConnectionMemory } from '../../limits/index.ts';
import type { LogLevel } from '../logger.ts';
import { NO_JOINS } from './no-joins.ts';
import type { NodePorts } from './node-calls.ts';
import { type NodesInCommon, SupervisedNode, type SupervisionOptions } from './supervised-node.ts';

export interface NodeThreadsOptions extends SupervisionOptions {
  readonly count: number;
  readonly drainDefaults: Omit<NodeDrainOrder, 'restart'>;
}

const POLL_MS = 1_000;

export class NodeThreads implements NodeControl {
  readonly createToken = NO_JOINS.createToken;
  readonly listTokens = NO_JOINS.listTokens;
  readonly revokeToken = NO_JOINS.revokeToken;
  readonly #options: NodeThreadsOptions;
  readonly #common: NodesInCommon;
  readonly #nodes: readonly SupervisedNode[];
  readonly #stopLoadTests: () => void;
  #poll: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: NodeThreadsOptions) {
    const { count, loadTests } = options;
    const log = options.log.child({ component: 'nodes' });
    this.#options = options;
    this.#common = { options, memory: createSharedConnectionMemory(count), ports: undefined, log };
    this.#nodes = Array.from({ length: count }, (_, index) => new SupervisedNode(index, this.#common));
    this.#stopLoadTests = loadTests.onReplaced((active) => {
      for (const node of this.#nodes) node.tell('loadTests', active);
    });
  }

  /** Resolves when all of them listen. Rejects with the Problem of the first that does not, and leaves none behind. */
  static async start(options: NodeThreadsOptions): Promise<NodeThreads> {
    const threads = new NodeThreads(options);
    try {
      // All load their modules side by side. The first one chooses the port, and finds out whether another process has it.
      const [first, ...others] = threads.#nodes.map((node) => ({ node, thread: node.spawn() }));
      await first?.node.listen(first.thread);
      await Promise.all(others.map(({ node, thread }) => node.listen(thread)));
    } catch (error) {
      await threads.close();
      throw error;
    }
    threads.#poll = setInterval(() => void threads.refresh(), POLL_MS).unref();
    return threads;
  }

  get drainDefaults(): NodeControl['drainDefaults'] {
    return { ...this.#options.drainDefaults, restart: true };
  }

  get ports(): NodePorts {
    const { ports } = this.#common;
    if (ports === undefined) throw new Error('expected nodes that listen, found none');
    return ports;
  }

  list(): readonly NodeView[] {
    return this.#nodes.map((node) => node.view());
  }

  /** Of the event loop of each node, since its first thread started. */
  busySeconds(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#nodes.map(({ name, busySeconds }) => [name, busySeconds]));
  }

  /** Counters per node: `sessions/node=w1`. */
  async counters(): Promise<Readonly<Record<string, number>>> {
    await this.refresh();
    const perNode = this.#nodes.map(({ name, state, crashes, busySeconds }) => ({
      [`up/node=${name}`]: state === 'serving' || state === 'draining' ? 1 : 0,
      [`sessions/node=${name}`]: this.#options.sessionsOf(name),
      [`event_loop_busy_seconds_total/node=${name}`]: busySeconds,
      [`crashes_total/node=${name}`]: crashes,
    }));
    return Object.assign({}, ...perNode) as Readonly<Record<string, number>>;
  }

  /** Asks every node how it is. Resolves when all have answered, within a second. */
  async refresh(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.ask()));
  }

  setLogLevel(level: LogLevel): void {
    for (const node of this.#nodes) node.tell('logLevel', level);
  }

  /** Throws Problem `node_unknown`, `node_busy` (it is not serving) or `node_last` (no other one is). */
  expectDrainable(name: string): void {
    this.#drainable(name);
  }

  /**
   * Drains one node, then starts it again or leaves it down. Resolves when that is done. Rejects at once as
   * `expectDrainable` throws.
   */
  async drain(name: string, order: NodeDrainOrder, begun: (node: NodeView) => void = () => {}): Promise<NodeView> {
    const node = this.#drainable(name);
    await node.drain(order, begun);
    return node.view();
  }

  /** Starts a thread that was drained and is down. */
  async undrain(name: string): Promise<NodeView> {
    const node = this.#find(name);
    if (node.state !== 'stopped') throw new Problem('node_busy', { reason: `${name} is ${node.state}` });
    await node.undrain();
    return node.view();
  }

  expectRemovable(name: string): never {
    this.#find(name);
    throw new Problem('node_not_removable', { detail: 'a thread of a server cannot be removed: change mqtt.workers' });
  }

  async remove(name: string): Promise<never> {
    return this.expectRemovable(name);
  }

  /** Ends the thread of a node as a crash does; it is started again. */
  async terminate(name: string): Promise<void> {
    await this.#nodes.find((node) => node.name === name)?.terminate();
  }

  /** No thread is left, and none is started, when it resolves. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#poll);
    this.#stopLoadTests();
    await Promise.all(this.#nodes.map((node) => node.close()));
  }

  #drainable(name: string): SupervisedNode {
    const node = this.#find(name);
    if (node.state !== 'serving') throw new Problem('node_busy', { reason: `${name} is ${node.state}` });
    if (!this.#nodes.some((each) => each !== node && each.state === 'serving')) {
      throw new Problem('node_last', { reason: `no other node than ${name} is serving` });
    }
    return node;
  }

  #find(name: string): SupervisedNode {
    const node = this.#nodes.find((each) => each.name === name);
    if (node === undefined) throw new Problem('node_unknown', { reason: `there is no node ${name}` });
    return node;
  }
}
