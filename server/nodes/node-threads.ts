/**
 * The nodes of one server: threads that listen on the same port. A thread that ends is started again, after a delay that grows while it ends
 * soon. One node can be drained while the others serve. The main thread asks each for its counters once a second.
 */

import type { MessagePort } from 'node:worker_threads';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import {
  createSharedConnectionMemory,
  forgetConnections,
  type LoadTestExemptions,
  type RefusalLog,
} from '../../limits/index.ts';
import { type LogLevel, logFormatOf } from '../logger.ts';
import type { NodeCounters, NodeDrain, NodePorts } from './node-calls.ts';
import { NodeCounterSums } from './node-counters.ts';
import { writeNodeLines } from './node-log.ts';
import { NodeThread } from './node-thread.ts';

/** `restarting`: its thread ended, and is started again. `stopped`: it was drained and stays down. */
export type NodeState = 'serving' | 'draining' | 'restarting' | 'stopped';

export interface NodeReport {
  /** `w1` */
  readonly name: string;
  /** A thread of the server's process. */
  readonly kind: 'thread';
  readonly state: NodeState;
  /** Milliseconds since the epoch: of this state. */
  readonly since: number;
  readonly sessions: number;
  /** 0 to 1, of the last second; undefined where the node did not answer. */
  readonly eventLoopBusy: number | undefined;
  /** Times that its thread ended by an error. */
  readonly crashes: number;
}

export interface DrainOrder extends NodeDrain {
  /** Started again afterwards; otherwise it stays down until the server restarts. */
  readonly restart: boolean;
}

export interface NodeThreadsOptions {
  readonly count: number;
  /** The module that calls `serveNode()`. */
  readonly program: URL;
  /** Plain data for a node that starts now; `ports` are those of the nodes that listen. */
  nodeOptions(ports: NodePorts | undefined): unknown;
  /** Connects a node to the keeper of its state, before its thread runs. */
  attach(name: string, keeper: MessagePort): void;
  /** The thread of a node has ended. Called before it is started again. */
  detached(name: string): void;
  readonly refusalLog: RefusalLog;
  readonly refusalLogsPerMinute: number;
  readonly loadTests: LoadTestExemptions;
  /** Whether a counter is a gauge, of which a thread that has ended has none. */
  isGauge(counter: string): boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds until a thread that ended is started again; `crashes`: how often it ended soon after its start, 1 for the first. */
  readonly restartDelay?: (crashes: number) => number;
  /** That of the server. */
  readonly log: Logger;
}

interface Node {
  readonly name: string;
  readonly index: number;
  thread: NodeThread | undefined;
  state: NodeState;
  since: number;
  crashes: number;
  /** Ends by an error that came soon after the start. */
  soon: number;
  startedAt: number;
  timer: NodeJS.Timeout | undefined;
}

const POLL_MS = 1_000;
/** A thread that has run for so long has not ended soon. */
const SOON_MS = 60_000;

/** 1, 2, 4 ... 30 seconds. */
function growingDelay(crashes: number): number {
  return Math.min(30_000, 1_000 * 2 ** (crashes - 1));
}

export class NodeThreads {
  readonly #options: NodeThreadsOptions;
  readonly #log: Logger;
  readonly #nodes: readonly Node[];
  readonly #memory;
  readonly #sums: NodeCounterSums;
  readonly #stopLoadTests: () => void;
  #poll: NodeJS.Timeout | undefined;
  #ports: NodePorts | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: NodeThreadsOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'nodes' });
    this.#memory = createSharedConnectionMemory(options.count);
    this.#sums = new NodeCounterSums((name) => options.isGauge(name));
    this.#stopLoadTests = options.loadTests.onReplaced((active) => {
      for (const { thread } of this.#nodes) thread?.tell('loadTests', active);
    });
    this.#nodes = Array.from({ length: options.count }, (_, index) => ({
      name: `w${index + 1}`,
      index,
      thread: undefined,
      state: 'restarting',
      since: options.now(),
      crashes: 0,
      soon: 0,
      startedAt: 0,
      timer: undefined,
    }));
  }

  /** Resolves when all of them listen. Rejects with the Problem of the first that does not, and leaves none behind. */
  static async start(options: NodeThreadsOptions): Promise<NodeThreads> {
    const nodes = new NodeThreads(options);
    try {
      const [first, ...others] = nodes.#nodes;
      // The first one chooses the port, and finds out whether another process has it.
      if (first !== undefined) await nodes.#start(first);
      await Promise.all(others.map((node) => nodes.#start(node)));
    } catch (error) {
      await nodes.close();
      throw error;
    }
    nodes.#poll = setInterval(() => void nodes.refresh(), POLL_MS).unref();
    return nodes;
  }

  get ports(): NodePorts {
    if (this.#ports === undefined) throw new Error('expected nodes that listen, found none');
    return this.#ports;
  }

  list(): readonly NodeReport[] {
    return this.#nodes.map(({ name, state, since, crashes }) => {
      const { sessions, busy } = this.#sums.of(name);
      return { name, kind: 'thread', state, since, sessions, eventLoopBusy: busy, crashes };
    });
  }

  /** Sums of the counters of all nodes, as of the last answer of each. */
  counters(): NodeCounters {
    return this.#sums.sums();
  }

  /** Counters per node: `sessions/node=w1`. */
  countersPerNode(): NodeCounters {
    const perNode = this.#nodes.map(({ name, state, crashes }) => {
      const { sessions, busySeconds } = this.#sums.of(name);
      return {
        [`up/node=${name}`]: state === 'serving' || state === 'draining' ? 1 : 0,
        [`sessions/node=${name}`]: sessions,
        [`event_loop_busy_seconds_total/node=${name}`]: busySeconds,
        [`crashes_total/node=${name}`]: crashes,
      };
    });
    return Object.assign({}, ...perNode) as NodeCounters;
  }

  /** Asks every node for its counters. Resolves when all have answered, within a second. */
  async refresh(): Promise<void> {
    await Promise.all(
      this.#nodes.map(async ({ name, thread }) => {
        const status = await thread?.status().catch(() => undefined);
        if (status === undefined) return;
        this.#sums.update(name, status, performance.now());
        this.#options.refusalLog.addOmitted(status.refusalsOmitted);
      }),
    );
  }

  setLogLevel(level: LogLevel): void {
    for (const { thread } of this.#nodes) thread?.tell('logLevel', level);
  }

  /**
   * Drains one node, then starts it again or leaves it down. Resolves when that is done. Rejects at once with Problem `node_unknown`,
   * `node_busy` (it is not serving) or `node_last` (no other one is).
   */
  async drain(name: string, { restart, ...drain }: DrainOrder): Promise<NodeReport> {
    const node = this.#nodes.find((each) => each.name === name);
    if (node === undefined) throw new Problem('node_unknown', { reason: `there is no node ${name}` });
    const { thread } = node;
    if (node.state !== 'serving' || thread === undefined) {
      throw new Problem('node_busy', { reason: `${name} is ${node.state}` });
    }
    if (!this.#nodes.some((each) => each !== node && each.state === 'serving')) {
      throw new Problem('node_last', { reason: `no other node than ${name} is serving` });
    }
    this.#set(node, 'draining');
    this.#log.info({ node: name, ...drain, restart }, 'node is drained');
    await thread.drain(drain).catch(() => {}); // The thread ended, and so did its sessions.
    await this.#end(node, thread);
    this.#log.info({ node: name }, 'node was drained');
    this.#set(node, restart ? 'restarting' : 'stopped');
    if (restart) await this.#startAgain(node);
    return this.list()[node.index] as NodeReport;
  }

  /** Ends every session of every node at a limited rate. */
  async drainAll(drain: NodeDrain): Promise<void> {
    const perNode = { ...drain, sessionsPerSecond: drain.sessionsPerSecond / this.#nodes.length };
    await Promise.all(this.#nodes.map(({ thread }) => thread?.drain(perNode).catch(() => {})));
  }

  /** Ends the thread of a node as a crash does; for tests. */
  async terminate(name: string): Promise<void> {
    await this.#nodes.find((node) => node.name === name)?.thread?.terminate();
  }

  /** Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#poll);
    this.#stopLoadTests();
    for (const { timer } of this.#nodes) clearTimeout(timer);
    await Promise.all(this.#nodes.map((node) => node.thread && this.#end(node, node.thread)));
  }

  async #start(node: Node): Promise<void> {
    const { program, nodeOptions, log, loadTests, refusalLogsPerMinute } = this.#options;
    const { name, index } = node;
    const thread: NodeThread = new NodeThread({
      program,
      settings: {
        name,
        thread: index,
        log: { level: log.level as LogLevel, format: logFormatOf(log) },
        refusalLogsPerMinute,
        connections: this.#memory,
        loadTests: loadTests.active,
      },
      options: nodeOptions(this.#ports),
      attach: (keeper) => this.#options.attach(name, keeper),
      writeLines: (batch) => writeNodeLines(batch, name, this.#options),
      failed: (error, call) => this.#log.error({ node: name, err: error, call }, 'a message of a node was not handled'),
      ended: (cause) => this.#ended(node, thread, cause),
    });
    node.thread = thread;
    node.startedAt = performance.now();
    try {
      this.#ports = await thread.start();
    } catch (error) {
      if (node.thread === thread) await this.#end(node, thread);
      throw error;
    }
    this.#set(node, 'serving');
    this.#log.info({ node: name, ...this.#ports }, 'node listens');
    await this.refresh();
  }

  /** A thread ended by itself. */
  #ended(node: Node, thread: NodeThread, cause: unknown): void {
    if (node.thread !== thread) return;
    const hadStarted = node.state === 'serving';
    const { sessions } = this.#sums.of(node.name);
    this.#forget(node);
    node.crashes += 1;
    this.#log.error({ node: node.name, err: cause, sessions }, 'the thread of a node ended; its clients connect again');
    if (!hadStarted) return; // Who starts or drains it goes on.
    this.#set(node, 'restarting');
    this.#scheduleStart(node);
  }

  #scheduleStart(node: Node): void {
    if (this.#closing !== undefined) return;
    node.soon = performance.now() - node.startedAt < SOON_MS ? node.soon + 1 : 1;
    const delay = (this.#options.restartDelay ?? growingDelay)(node.soon);
    node.timer = setTimeout(() => void this.#startAgain(node), delay);
  }

  async #startAgain(node: Node): Promise<void> {
    if (this.#closing !== undefined) return;
    try {
      await this.#start(node);
    } catch (error) {
      this.#log.error({ node: node.name, err: error }, 'node was not started; it is tried again');
      this.#scheduleStart(node);
    }
  }

  async #end(node: Node, thread: NodeThread): Promise<void> {
    if (node.thread !== thread) return;
    node.thread = undefined; // Its end is expected.
    await this.#last(node.name, thread);
    await thread.close();
    this.#forget(node);
  }

  /** Asks a thread once more before it ends, so that its counters are complete. */
  async #last(name: string, thread: NodeThread): Promise<void> {
    const status = await thread.status().catch(() => undefined);
    if (status !== undefined) this.#sums.update(name, status, performance.now());
  }

  #forget(node: Node): void {
    node.thread = undefined;
    this.#sums.ended(node.name);
    forgetConnections(this.#memory, node.index);
    this.#options.detached(node.name);
  }

  #set(node: Node, state: NodeState): void {
    node.state = state;
    node.since = this.#options.now();
  }
}
