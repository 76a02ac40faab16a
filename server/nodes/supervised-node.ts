/**
 * One node of a server, and its threads: a thread that ends is followed by another one, after a delay that grows while they end soon; a thread
 * that hangs is ended. After `close()` none is started.
 */

import type { MessagePort } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { NodeDrainOrder, NodeView } from '../../console/index.ts';
import {
  forgetConnections,
  type LoadTestExemptions,
  type RefusalLog,
  type SharedConnectionMemory,
} from '../../limits/index.ts';
import { type LogLevel, logFormatOf } from '../logger.ts';
import type { NodeCalls, NodePorts, NodeStatus } from './node-calls.ts';
import { writeNodeLines } from './node-log.ts';
import { NodeThread, STATUS_MS } from './node-thread.ts';
import { ThreadLoad } from './thread-load.ts';

/** The same for all nodes of a server. */
export interface SupervisionOptions {
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

/** What the nodes of a server have together. */
export interface NodesInCommon {
  readonly options: SupervisionOptions;
  /** Where their pending connections are counted. */
  readonly memory: SharedConnectionMemory;
  /** Those of the first one that listened. */
  ports: NodePorts | undefined;
  readonly log: Logger;
}

/** A thread that has run for so long has not ended soon. */
const SOON_MS = 60_000;

/** 1, 2, 4 ... 30 seconds. */
function growingDelay(crashes: number): number {
  return Math.min(30_000, 1_000 * 2 ** (crashes - 1));
}

export class SupervisedNode {
  readonly name: string;
  readonly #index: number;
  readonly #common: NodesInCommon;
  readonly #load: ThreadLoad;
  #thread: NodeThread | undefined;
  #state: NodeView['state'] = 'restarting';
  #since: number;
  #crashes = 0;
  /** Ends by an error that came soon after the start. */
  #soon = 0;
  #startedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Its last thread ended; resolves when the keeper has released what it had. */
  #detaching: Promise<void> | undefined;
  #starting: Promise<void> | undefined;
  #isClosed = false;

  constructor(index: number, common: NodesInCommon) {
    this.name = `w${index + 1}`;
    this.#index = index;
    this.#common = common;
    this.#load = new ThreadLoad(common.options.hangsAfter);
    this.#since = common.options.now();
  }

  get state(): NodeView['state'] {
    return this.#state;
  }

  get crashes(): number {
    return this.#crashes;
  }

  /** Of the event loop, since the first thread started. */
  get busySeconds(): number {
    return this.#load.busySeconds;
  }

  view(): NodeView {
    const { name } = this;
    const sessions = this.#common.options.sessionsOf(name);
    const [state, since, crashes] = [this.#state, this.#since, this.#crashes];
    return { name, kind: 'thread', state, since, sessions, eventLoopBusy: this.#load.busy, crashes };
  }

  tell<Name extends 'logLevel' | 'loadTests'>(name: Name, input: NodeCalls[Name]['input']): void {
    this.#thread?.tell(name, input);
  }

  /** The thread loads its modules from here on. */
  spawn(): NodeThread {
    const { options, memory, log } = this.#common;
    const { name } = this;
    const thread: NodeThread = new NodeThread({
      program: options.program,
      settings: {
        name,
        thread: this.#index,
        log: { level: options.log.level as LogLevel, format: logFormatOf(options.log) },
        refusalLogsPerMinute: options.refusalLogsPerMinute,
        connections: memory,
        loadTests: options.loadTests.active,
      },
      attach: (keeper) => options.attach(name, keeper),
      writeLines: (batch) => writeNodeLines(batch, name, options),
      failed: (error, call) => log.error({ node: name, err: error, call }, 'a message of a node was not handled'),
      ended: (cause) => this.#ended(thread, cause),
    });
    this.#thread = thread;
    this.#startedAt = performance.now();
    return thread;
  }

  /** Resolves when the thread that was spawned listens. Rejects with its Problem, and with `unavailable` when it has ended. */
  async listen(thread: NodeThread): Promise<void> {
    const { name } = this;
    const common = this.#common;
    let ports: readonly MessagePort[] = [];
    try {
      const { options, transfer } = await common.options.nodeOptions(common.ports);
      ports = transfer;
      common.ports = await thread.start(options, transfer);
    } catch (error) {
      for (const port of ports) port.close(); // Where the thread had ended before it got them.
      await this.#end(thread);
      throw error;
    }
    this.#set('serving');
    common.log.info({ node: name, ...common.ports }, 'node listens');
    await this.#ask(thread);
  }

  /** Resolves when it has answered, within a second. */
  async ask(): Promise<void> {
    if (this.#thread !== undefined) await this.#ask(this.#thread);
  }

  /** Of a node that serves. Resolves when that is done, and another thread serves or none does. */
  async drain({ restart, ...drain }: NodeDrainOrder, begun: (node: NodeView) => void): Promise<void> {
    const { options, log } = this.#common;
    const { name } = this;
    const thread = this.#thread as NodeThread;
    this.#set('draining');
    begun(this.view());
    log.info({ node: name, ...drain, restart }, 'node is drained');
    await options.drainNode(name, drain).catch(() => {}); // The thread ended, and so did its sessions.
    await thread.terminated(); // One that hung has crashed.
    await this.#end(thread);
    log.info({ node: name }, 'node was drained');
    this.#set(restart ? 'restarting' : 'stopped');
    if (restart) await this.#startAgain();
  }

  /** Of a node that was drained and is down. */
  async undrain(): Promise<void> {
    this.#set('restarting');
    await this.#startAgain();
  }

  /** Ends its thread as a crash does; another one is started. */
  async terminate(): Promise<void> {
    await this.#thread?.terminate();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    if (this.#thread !== undefined) await this.#end(this.#thread);
    await this.#starting;
    await this.#detaching;
  }

  async #ask(thread: NodeThread): Promise<void> {
    const { options } = this.#common;
    const asked = performance.now();
    const status = await thread.status().catch(() => undefined);
    const now = performance.now();
    if (status === undefined) return this.#unanswered(thread, asked, now);
    this.#load.answered(status, now);
    options.refusalLog.addOmitted(status.refusalsOmitted);
    options.counted(this.name, status.counters);
  }

  /** Before it serves it loads modules, and at its end it is ended anyway. */
  #unanswered(thread: NodeThread, asked: number, now: number): void {
    this.#load.unknown();
    if (this.#thread !== thread || (this.#state !== 'serving' && this.#state !== 'draining')) return;
    const silentMs = this.#load.hangsFor({ asked, now, limit: STATUS_MS });
    if (silentMs === undefined) return;
    const fields = { node: this.name, silentMs: Math.round(silentMs) };
    this.#common.log.error(fields, 'the thread of a node hangs, and is ended');
    void thread.terminate();
  }

  /** By itself. */
  #ended(thread: NodeThread, cause: unknown): void {
    if (this.#thread !== thread) return;
    const { options, log } = this.#common;
    const hadStarted = this.#state === 'serving';
    const sessions = options.sessionsOf(this.name);
    this.#forget();
    this.#crashes += 1;
    log.error({ node: this.name, err: cause, sessions }, 'the thread of a node ended; its clients connect again');
    if (!hadStarted) return; // Who starts or drains it goes on.
    this.#set('restarting');
    this.#scheduleStart();
  }

  #scheduleStart(): void {
    if (this.#isClosed) return;
    this.#soon = performance.now() - this.#startedAt < SOON_MS ? this.#soon + 1 : 1;
    const delay = (this.#common.options.restartDelay ?? growingDelay)(this.#soon);
    this.#timer = setTimeout(() => void this.#startAgain(), delay);
  }

  /** Resolves when it listens, or is to be tried again. */
  #startAgain(): Promise<void> {
    this.#starting = this.#tryToStart();
    return this.#starting;
  }

  async #tryToStart(): Promise<void> {
    try {
      await this.#detaching;
      if (this.#isClosed) return;
      await this.listen(this.spawn());
    } catch (error) {
      if (this.#isClosed) return; // Its thread was ended.
      this.#common.log.error({ node: this.name, err: error }, 'node was not started; it is tried again');
      this.#scheduleStart();
    }
  }

  async #end(thread: NodeThread): Promise<void> {
    if (this.#thread !== thread) return;
    this.#thread = undefined; // Its end is expected.
    await this.#ask(thread); // Once more, so that its counters are complete.
    await thread.close();
    this.#forget();
  }

  #forget(): void {
    const { options, memory, log } = this.#common;
    this.#thread = undefined;
    this.#load.ended();
    forgetConnections(memory, this.#index);
    this.#detaching = options.detached(this.name).catch((error: unknown) => {
      log.error({ node: this.name, err: error }, 'sessions of a node that ended were not released');
    });
  }

  #set(state: NodeView['state']): void {
    this.#state = state;
    this.#since = this.#common.options.now();
  }
}
