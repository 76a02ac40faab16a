/**
 * The nodes of one server: threads that listen on the same port. A thread that ends is started again, after a delay that grows while it ends
 * soon. One node can be drained while the others serve. The main thread asks each how it is once a second, and ends one that hangs: whatever
 * waits for that thread (a claim, a SUBACK, a delivery, an order of an operator) goes on with its end.
 */

import type { MessagePort } from 'node:worker_threads';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { NodeControl, NodeDrainOrder, NodeView } from '../../console/index.ts';
import {
  createSharedConnectionMemory,
  forgetConnections,
  type LoadTestExemptions,
  type RefusalLog,
} from '../../limits/index.ts';
import { type LogLevel, logFormatOf } from '../logger.ts';
import { HangDetector } from './hang-detector.ts';
import type { NodePorts, NodeStatus } from './node-calls.ts';
import { writeNodeLines } from './node-log.ts';
import { NodeThread, STATUS_MS } from './node-thread.ts';

export interface NodeThreadsOptions {
  readonly count: number;
  /** The module that calls `serveNode()`. */
  readonly program: URL;
  /** For a node that starts now: plain data, and the ports in it that are transferred. `ports` are those of the nodes that listen. */
  nodeOptions(ports: NodePorts | undefined): Promise<{
    readonly options: unknown;
    readonly transfer: readonly MessagePort[];
  }>;
  /** Connects a node to the keeper of its state, before its thread runs. */
  attach(name: string, keeper: MessagePort): void;
  /** The thread of a node has ended. It is started again when this resolves. */
  detached(name: string): Promise<void>;
  readonly drainDefaults: Omit<NodeDrainOrder, 'restart'>;
  readonly refusalLog: RefusalLog;
  readonly refusalLogsPerMinute: number;
  readonly loadTests: LoadTestExemptions;
  /** What a node has counted until now. */
  counted(name: string, counters: NodeStatus['counters']): void;
  /** Connected sessions of a node. */
  sessionsOf(name: string): number;
  /** Ends the sessions of a node at a limited rate; it accepts no connection any more. */
  drainNode(name: string, drain: Omit<NodeDrainOrder, 'restart'>): Promise<unknown>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds until a thread that ended is started again; `crashes`: how often it ended soon after its start, 1 for the first. */
  readonly restartDelay?: (crashes: number) => number;
  /** Milliseconds after which a thread that answers nothing is ended. */
  readonly hangsAfter?: number;
  /** That of the server. */
  readonly log: Logger;
}

interface Node {
  readonly name: string;
  readonly index: number;
  thread: NodeThread | undefined;
  state: NodeView['state'];
  since: number;
  crashes: number;
  /** Ends by an error that came soon after the start. */
  soon: number;
  startedAt: number;
  timer: NodeJS.Timeout | undefined;
  /** Its last thread ended; resolves when the keeper has released what it had. */
  detaching: Promise<void> | undefined;
  readonly load: NodeLoad;
}

/** How busy the event loop of a node was. */
interface NodeLoad {
  /** Seconds, of the threads of this node that have ended. */
  endedSeconds: number;
  status: NodeStatus | undefined;
  /** Milliseconds of a monotonic clock at the last status. */
  at: number;
  /** 0 to 1, between the last two. */
  busy: number | undefined;
  readonly hang: HangDetector;
}

/** Why no node can join. */
export const NO_SHARED_STORE = 'this server shares its store with no other: store.url names no PostgreSQL';

const POLL_MS = 1_000;
/** A thread that has run for so long has not ended soon. */
const SOON_MS = 60_000;

/** 1, 2, 4 ... 30 seconds. */
function growingDelay(crashes: number): number {
  return Math.min(30_000, 1_000 * 2 ** (crashes - 1));
}

export class NodeThreads implements NodeControl {
  readonly #options: NodeThreadsOptions;
  readonly #log: Logger;
  readonly #nodes: readonly Node[];
  readonly #memory;
  readonly #stopLoadTests: () => void;
  #poll: NodeJS.Timeout | undefined;
  #ports: NodePorts | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: NodeThreadsOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'nodes' });
    this.#memory = createSharedConnectionMemory(options.count);
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
      detaching: undefined,
      load: { endedSeconds: 0, status: undefined, at: 0, busy: undefined, hang: new HangDetector(options.hangsAfter) },
    }));
  }

  /** Resolves when all of them listen. Rejects with the Problem of the first that does not, and leaves none behind. */
  static async start(options: NodeThreadsOptions): Promise<NodeThreads> {
    const nodes = new NodeThreads(options);
    try {
      // All load their modules side by side. The first one chooses the port, and finds out whether another process has it.
      const [first, ...others] = nodes.#nodes.map((node) => [node, nodes.#spawn(node)] as const);
      if (first !== undefined) await nodes.#listen(...first);
      await Promise.all(others.map((each) => nodes.#listen(...each)));
    } catch (error) {
      await nodes.close();
      throw error;
    }
    nodes.#poll = setInterval(() => void nodes.refresh(), POLL_MS).unref();
    return nodes;
  }

  get drainDefaults(): NodeControl['drainDefaults'] {
    return { ...this.#options.drainDefaults, restart: true };
  }

  get ports(): NodePorts {
    if (this.#ports === undefined) throw new Error('expected nodes that listen, found none');
    return this.#ports;
  }

  list(): readonly NodeView[] {
    return this.#nodes.map(({ name, state, since, crashes, load }) => {
      const sessions = this.#options.sessionsOf(name);
      return { name, kind: 'thread', state, since, sessions, eventLoopBusy: load.busy, crashes };
    });
  }

  /** Of the event loop of each node, since its first thread started. */
  busySeconds(): Readonly<Record<string, number>> {
    return Object.fromEntries(
      this.#nodes.map(({ name, load }) => [name, load.endedSeconds + (load.status?.busySeconds ?? 0)]),
    );
  }

  /** Counters per node: `sessions/node=w1`. */
  async counters(): Promise<Readonly<Record<string, number>>> {
    await this.refresh();
    const busySeconds = this.busySeconds();
    const perNode = this.#nodes.map(({ name, state, crashes }) => ({
      [`up/node=${name}`]: state === 'serving' || state === 'draining' ? 1 : 0,
      [`sessions/node=${name}`]: this.#options.sessionsOf(name),
      [`event_loop_busy_seconds_total/node=${name}`]: busySeconds[name] ?? 0,
      [`crashes_total/node=${name}`]: crashes,
    }));
    return Object.assign({}, ...perNode) as Readonly<Record<string, number>>;
  }

  /** Asks every node how it is. Resolves when all have answered, within a second. */
  async refresh(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.thread && this.#ask(node, node.thread)));
  }

  async #ask(node: Node, thread: NodeThread): Promise<void> {
    const { name, load } = node;
    const asked = performance.now();
    const status = await thread.status().catch(() => undefined);
    const now = performance.now();
    if (status === undefined) {
      load.busy = undefined;
      this.#unanswered(node, thread, asked);
      return;
    }
    load.hang.reset();
    if (load.status !== undefined && now > load.at) {
      const busy = ((status.busySeconds - load.status.busySeconds) * 1_000) / (now - load.at);
      load.busy = Math.min(1, Math.max(0, busy));
    }
    load.status = status;
    load.at = now;
    this.#options.refusalLog.addOmitted(status.refusalsOmitted);
    this.#options.counted(name, status.counters);
  }

  /** The thread has not answered in time. Before it serves it loads modules, and at its end it is ended anyway. */
  #unanswered(node: Node, thread: NodeThread, asked: number): void {
    const { name, state, load } = node;
    if (node.thread !== thread || (state !== 'serving' && state !== 'draining')) return;
    const silentMs = load.hang.unanswered({ asked, now: performance.now(), limit: STATUS_MS });
    if (silentMs === undefined) return;
    this.#log.error({ node: name, silentMs: Math.round(silentMs) }, 'the thread of a node hangs, and is ended');
    void thread.terminate();
  }

  setLogLevel(level: LogLevel): void {
    for (const { thread } of this.#nodes) thread?.tell('logLevel', level);
  }

  /** Throws Problem `node_unknown`, `node_busy` (it is not serving) or `node_last` (no other one is). */
  expectDrainable(name: string): void {
    this.#drainable(name);
  }

  /**
   * Drains one node, then starts it again or leaves it down. Resolves when that is done. Rejects at once as
   * `expectDrainable` throws.
   */
  async drain(
    name: string,
    { restart, ...drain }: NodeDrainOrder,
    begun: (node: NodeView) => void = () => {},
  ): Promise<NodeView> {
    const node = this.#drainable(name);
    const thread = node.thread as NodeThread;
    this.#set(node, 'draining');
    begun(this.list()[node.index] as NodeView);
    this.#log.info({ node: name, ...drain, restart }, 'node is drained');
    await this.#options.drainNode(name, drain).catch(() => {}); // The thread ended, and so did its sessions.
    await thread.terminated(); // One that hung has crashed.
    await this.#end(node, thread);
    this.#log.info({ node: name }, 'node was drained');
    this.#set(node, restart ? 'restarting' : 'stopped');
    if (restart) await this.#startAgain(node);
    return this.list()[node.index] as NodeView;
  }

  /** Starts a thread that was drained and is down. */
  async undrain(name: string): Promise<NodeView> {
    const node = this.#find(name);
    if (node.state !== 'stopped') throw new Problem('node_busy', { reason: `${name} is ${node.state}` });
    this.#set(node, 'restarting');
    await this.#startAgain(node);
    return this.list()[node.index] as NodeView;
  }

  expectRemovable(name: string): never {
    this.#find(name);
    throw new Problem('node_not_removable', { detail: 'a thread of a server cannot be removed: change mqtt.workers' });
  }

  async remove(name: string): Promise<never> {
    return this.expectRemovable(name);
  }

  async listTokens(): Promise<readonly never[]> {
    return [];
  }

  async revokeToken(): Promise<never> {
    throw new Problem('node_token_unknown');
  }

  async createToken(): Promise<never> {
    throw new Problem('unavailable', { detail: NO_SHARED_STORE });
  }

  /** Ends the thread of a node as a crash does; it is started again. */
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
    await Promise.all(this.#nodes.map(({ detaching }) => detaching));
  }

  #drainable(name: string): Node {
    const node = this.#find(name);
    if (node.state !== 'serving') throw new Problem('node_busy', { reason: `${name} is ${node.state}` });
    if (!this.#nodes.some((each) => each !== node && each.state === 'serving')) {
      throw new Problem('node_last', { reason: `no other node than ${name} is serving` });
    }
    return node;
  }

  #find(name: string): Node {
    const node = this.#nodes.find((each) => each.name === name);
    if (node === undefined) throw new Problem('node_unknown', { reason: `there is no node ${name}` });
    return node;
  }

  #spawn(node: Node): NodeThread {
    const { program, log, loadTests, refusalLogsPerMinute } = this.#options;
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
      attach: (keeper) => this.#options.attach(name, keeper),
      writeLines: (batch) => writeNodeLines(batch, name, this.#options),
      failed: (error, call) => this.#log.error({ node: name, err: error, call }, 'a message of a node was not handled'),
      ended: (cause) => this.#ended(node, thread, cause),
    });
    node.thread = thread;
    node.startedAt = performance.now();
    return thread;
  }

  async #listen(node: Node, thread: NodeThread): Promise<void> {
    let ports: readonly MessagePort[] = [];
    try {
      const { options, transfer } = await this.#options.nodeOptions(this.#ports);
      ports = transfer;
      this.#ports = await thread.start(options, transfer);
    } catch (error) {
      for (const port of ports) port.close(); // Where the thread had ended before it got them.
      await this.#end(node, thread);
      throw error;
    }
    this.#set(node, 'serving');
    this.#log.info({ node: node.name, ...this.#ports }, 'node listens');
    await this.#ask(node, thread);
  }

  /** A thread ended by itself. */
  #ended(node: Node, thread: NodeThread, cause: unknown): void {
    if (node.thread !== thread) return;
    const hadStarted = node.state === 'serving';
    const sessions = this.#options.sessionsOf(node.name);
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
      await node.detaching;
      await this.#listen(node, this.#spawn(node));
    } catch (error) {
      this.#log.error({ node: node.name, err: error }, 'node was not started; it is tried again');
      this.#scheduleStart(node);
    }
  }

  async #end(node: Node, thread: NodeThread): Promise<void> {
    if (node.thread !== thread) return;
    node.thread = undefined; // Its end is expected.
    await this.#ask(node, thread); // Once more, so that its counters are complete.
    await thread.close();
    this.#forget(node);
  }

  #forget(node: Node): void {
    node.thread = undefined;
    node.load.endedSeconds += node.load.status?.busySeconds ?? 0;
    node.load.status = undefined;
    node.load.busy = undefined;
    node.load.hang.reset();
    forgetConnections(this.#memory, node.index);
    node.detaching = this.#options.detached(node.name).catch((error: unknown) => {
      this.#log.error({ node: node.name, err: error }, 'sessions of a node that ended were not released');
    });
  }

  #set(node: Node, state: NodeView['state']): void {
    node.state = state;
    node.since = this.#options.now();
  }
}
