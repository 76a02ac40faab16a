/**
 * Wakes over LISTEN and NOTIFY, on one connection of its own, which is opened again when it is lost; then everyone is woken once. The
 * only file that uses them. NOTIFY is not part of the transactions that write: there it would hold a lock of the whole server
 * during their commits.
 */

import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { checkChannel, WakeListeners, type Wakes } from '../wakes.ts';
import type { PostgresConnection } from './connection.ts';
import type { PostgresDatabase } from './database.ts';
import { postgresProblem } from './postgres-problem.ts';

export interface PostgresWakesOptions {
  readonly database: PostgresDatabase;
  /** The connection was lost, or could not be opened again: at each attempt. */
  readonly onLost?: ((error: unknown) => void) | undefined;
  /** Also the first time. */
  readonly onConnected?: (() => void) | undefined;
  /** Between two NOTIFY, for which wakes are collected, ms; 5 without it. One that comes later than that is sent at once. */
  readonly collect?: number | undefined;
  /** Everyone is woken at least so often, ms: another node can be killed between a commit and its wake. 1000 without it. */
  readonly atLeastEvery?: number | undefined;
}

/** The name of the schema separates fleets in one database. */
const NOTIFY = { name: 'notify', text: 'SELECT pg_notify($1, channel) FROM unnest($2::text[]) AS channel' };

const COLLECT_MS = 5;
const AT_LEAST_EVERY_MS = 1_000;
const FIRST_PAUSE_MS = 50;
const PAUSE_AT_MOST_MS = 1_000;

export class PostgresWakes implements Wakes {
  readonly #options: PostgresWakesOptions;
  readonly #listeners = new WakeListeners();
  readonly #timer: NodeJS.Timeout;
  /** Not sent yet. */
  #collected = new Set<string>();
  #isSending = false;
  /** When the last one was sent, by the monotonic clock. */
  #sentAt = Number.NEGATIVE_INFINITY;
  #connection: PostgresConnection | undefined;
  #isClosed = false;

  /** Connects in the background. */
  constructor(options: PostgresWakesOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#listeners.wakeAll(), options.atLeastEvery ?? AT_LEAST_EVERY_MS);
    this.#timer.unref();
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

  /** One NOTIFY at a time, with everything that was collected meanwhile. */
  async #send(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#collected.size > 0 && !this.#isClosed) {
      const pause = this.#sentAt + (this.#options.collect ?? COLLECT_MS) - performance.now();
      await (pause > 0 ? delay(pause) : nextTurn());
      this.#sentAt = performance.now();
      const channels = [...this.#collected];
      this.#collected = new Set();
      const values = [this.#options.database.schema, channels];
      // What cannot be sent is not kept: everyone is woken after the next connect of each node, and at intervals.
      await this.#connection?.query(NOTIFY, values).catch(() => {});
    }
    this.#isSending = false;
  }

  async #stayConnected(): Promise<void> {
    for (let tries = 0; !this.#isClosed; tries += 1) {
      try {
        const { lost } = await this.#connect();
        this.#options.onConnected?.();
        this.#listeners.wakeAll();
        tries = 0;
        const error = await lost;
        if (!this.#isClosed) this.#options.onLost?.(error);
      } catch (error) {
        if (!this.#isClosed) this.#options.onLost?.(postgresProblem(error));
      }
      this.#connection = undefined;
      if (!this.#isClosed)
        await delay(Math.min(FIRST_PAUSE_MS * 2 ** tries, PAUSE_AT_MOST_MS), undefined, { ref: false });
    }
  }

  /** Resolves once it listens, with a promise of its loss. */
  async #connect(): Promise<{ readonly lost: Promise<unknown> }> {
    const { database } = this.#options;
    const connection = await database.connect();
    if (this.#isClosed) await connection.close();
    const lost = new Promise<unknown>((resolve) => connection.onLost(resolve));
    connection.onNotification((channel, isOwn) => {
      // Listeners of this node were woken by `wake` itself.
      if (!isOwn) this.#listeners.wake(channel);
    });
    await connection.query(`LISTEN "${database.schema}"`);
    this.#connection = connection;
    return { lost };
  }
}
