/**
 * Wakes between nodes over a connection that can be lost: it is opened again, and then everyone is woken once. Wakes are collected for
 * some milliseconds. Every listener is woken at intervals besides, more often while there is no connection, so that a lost one only slows.
 */

import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { checkChannel, WakeListeners, type Wakes } from './wakes.ts';

/** One connection. */
export interface WakeConnection {
  /** Tells the other nodes that these channels have news. May reject. */
  send(channels: readonly string[]): Promise<unknown>;
  /** Resolves with the error once the connection is lost, and after `close()`. */
  readonly lost: Promise<unknown>;
  close(): Promise<void>;
}

/** Resolves once what other nodes send arrives: `receive` is called for each channel. */
export type WakeCarrier = (receive: (channel: string) => void) => Promise<WakeConnection>;

export interface RemoteWakesOptions {
  /** The connection was lost, or could not be opened again: at each attempt. */
  readonly onLost?: ((error: unknown) => void) | undefined;
  /** Also the first time. */
  readonly onConnected?: (() => void) | undefined;
  /** Between two sends, for which wakes are collected, ms; 5 without it. One that comes later than that is sent at once. */
  readonly collect?: number | undefined;
  /** Everyone is woken at least so often, ms: another node can be killed between a commit and its wake. 1000 without it. */
  readonly atLeastEvery?: number | undefined;
  /** The same while there is no connection, ms; as `atLeastEvery` without it. */
  readonly whileLost?: number | undefined;
}

const COLLECT_MS = 5;
const AT_LEAST_EVERY_MS = 1_000;
const FIRST_PAUSE_MS = 50;
const PAUSE_AT_MOST_MS = 1_000;

export class RemoteWakes implements Wakes {
  readonly #carrier: WakeCarrier;
  readonly #options: RemoteWakesOptions;
  readonly #atLeastEvery: number;
  readonly #whileLost: number;
  readonly #listeners = new WakeListeners();
  #timer: NodeJS.Timeout | undefined;
  /** Not sent yet. */
  #collected = new Set<string>();
  #isSending = false;
  /** When the last one was sent, by the monotonic clock. */
  #sentAt = Number.NEGATIVE_INFINITY;
  #connection: WakeConnection | undefined;
  #isClosed = false;

  /** Connects in the background. */
  constructor(carrier: WakeCarrier, options: RemoteWakesOptions) {
    this.#carrier = carrier;
    this.#options = options;
    this.#atLeastEvery = options.atLeastEvery ?? AT_LEAST_EVERY_MS;
    this.#whileLost = options.whileLost ?? this.#atLeastEvery;
    this.#timer = this.#wakeAllEvery(this.#whileLost);
    void this.#stayConnected();
  }

  wake(channel: string): void {
    checkChannel(channel);
    this.#listeners.wake(channel);
    this.#collected.add(channel);
    void this.#send();
  }

  onWake(channel: string, listener: () => void): () => void {
    return this.#listeners.add(channel, listener);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#listeners.clear();
    await this.#connection?.close();
  }

  /** One at a time, with everything that was collected meanwhile. */
  async #send(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#collected.size > 0 && !this.#isClosed) {
      const pause = this.#sentAt + (this.#options.collect ?? COLLECT_MS) - performance.now();
      await (pause > 0 ? delay(pause) : nextTurn());
      this.#sentAt = performance.now();
      const channels = [...this.#collected];
      this.#collected = new Set();
      // What cannot be sent is not kept: everyone is woken after the next connect of each node, and at intervals.
      await this.#connection?.send(channels).catch(() => {});
    }
    this.#isSending = false;
  }

  async #stayConnected(): Promise<void> {
    const { onConnected, onLost } = this.#options;
    for (let tries = 0; !this.#isClosed; tries += 1) {
      try {
        const connection = await this.#carrier((channel) => this.#listeners.wake(channel));
        if (this.#isClosed) await connection.close();
        this.#connection = connection;
        this.#timer = this.#wakeAllEvery(this.#atLeastEvery);
        onConnected?.();
        this.#listeners.wakeAll();
        tries = 0;
        const error = await connection.lost;
        if (!this.#isClosed) onLost?.(error);
      } catch (error) {
        if (!this.#isClosed) onLost?.(error);
      }
      if (this.#connection !== undefined) this.#timer = this.#wakeAllEvery(this.#whileLost);
      this.#connection = undefined;
      if (!this.#isClosed)
        await delay(Math.min(FIRST_PAUSE_MS * 2 ** tries, PAUSE_AT_MOST_MS), undefined, { ref: false });
    }
  }

  #wakeAllEvery(ms: number): NodeJS.Timeout {
    clearInterval(this.#timer);
    const timer = setInterval(() => this.#listeners.wakeAll(), ms).unref();
    if (this.#isClosed) clearInterval(timer);
    return timer;
  }
}
