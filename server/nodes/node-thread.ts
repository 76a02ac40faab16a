/** One thread of a node, as the main thread sees it: from its start to its end. */

import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { Problem } from '@rollcall/protocol';
import { Channel } from '../../storage/index.ts';
import type { KeeperCalls, NodeCalls, NodePorts, NodeSettings, NodeStatus } from './node-calls.ts';
import type { NodeThreadData } from './serve-node.ts';

export interface NodeThreadOptions {
  /** The module that calls `serveNode()`. */
  readonly program: URL;
  readonly settings: NodeSettings;
  /** Takes the end of the channel between the node and the keeper. Called before the thread runs. */
  attach(keeper: MessagePort): void;
  writeLines(batch: KeeperCalls['log']['input']): void;
  failed(error: unknown, call: string): void;
  /** The thread ended before `close()`. */
  ended(cause: unknown): void;
}

/** Milliseconds in which a thread has to answer: after that it is busy, or hangs. */
export const STATUS_MS = 1_000;
const CLOSE_MS = 15_000;
/** A start takes some seconds, most of them for loading modules. */
const START_MS = 120_000;

export class NodeThread {
  readonly #worker: Worker;
  readonly #channel: Channel<NodeCalls, KeeperCalls>;
  #terminated: Promise<unknown> | undefined;

  constructor({ program, settings, attach, writeLines, failed, ended }: NodeThreadOptions) {
    const { port1, port2 } = new MessageChannel();
    attach(port1);
    const workerData: NodeThreadData = { settings, keeper: port2 };
    this.#worker = new Worker(program, {
      name: `rollcall ${settings.name}`,
      workerData,
      transferList: [port2],
    });
    this.#channel = new Channel<NodeCalls, KeeperCalls>(this.#worker, {
      name: `node ${settings.name}`,
      failed,
      onEnded: ended,
    });
    this.#channel.handle('log', (batch) => writeLines(batch));
  }

  /** Resolves when the node listens. `transfer`: the ports in the options, which are plain data otherwise. Rejects after two minutes. */
  start(options: unknown, transfer: readonly MessagePort[]): Promise<NodePorts> {
    return within(START_MS, this.#channel.call('start', options, transfer));
  }

  /** Rejects with Problem `unavailable` where the thread does not answer in time. */
  status(): Promise<NodeStatus> {
    return within(STATUS_MS, this.#channel.call('status', undefined));
  }

  tell<Name extends 'logLevel' | 'loadTests'>(name: Name, input: NodeCalls[Name]['input']): void {
    this.#channel.tell(name, input);
  }

  /** Ends everything in the thread, then the thread; a thread that hangs is ended after a while. */
  async close(): Promise<void> {
    await within(CLOSE_MS, this.#channel.call('close', undefined)).catch(() => {});
    this.#channel.close();
    await this.#worker.terminate();
  }

  /** Ends the thread at once, as a crash does. */
  async terminate(): Promise<void> {
    this.#terminated ??= this.#worker.terminate();
    await this.#terminated;
  }

  /** Resolves when the end of a thread that was terminated was reported, and at once where none was. */
  async terminated(): Promise<void> {
    await this.#terminated;
  }
}

async function within<Value>(ms: number, answer: Promise<Value>): Promise<Value> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Problem('unavailable', { reason: `no answer in ${ms} ms` })), ms);
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
    answer.catch(() => {}); // It may fail after the timeout.
  }
}
