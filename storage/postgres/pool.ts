/**
 * Connections to the primary, at most so many; requests wait for one in order. Some are left to reads, which go on while all writes wait
 * for lost standbys. Opens none before it is asked for.
 */

import { Problem } from '@rollcall/protocol';
import type { PostgresConnection } from './connection.ts';

export interface PoolOptions {
  readonly open: () => Promise<PostgresConnection>;
  readonly size: number;
  /** How long a request waits for a connection, ms. */
  readonly wait: number;
}

export interface PoolUsage {
  readonly open: number;
  /** Of those that are open. */
  readonly idle: number;
  /** Requests that wait for one. */
  readonly waiting: number;
}

/** Connections that writes leave to reads; half of them where there are few. */
const READERS = 2;

/**
 * Connections that are opened at once. After the network was mended every node needs all of its connections anew: TLS and passwords of a
 * hundred at once take so long that each would time out, and be tried again.
 */
const OPENING_AT_MOST = 4;

export type Use = 'read' | 'write';

interface Waiting {
  readonly use: Use;
  /** Grows with each request. */
  readonly order: number;
  readonly resolve: (connection: PostgresConnection) => void;
  readonly reject: (error: unknown) => void;
  timer: NodeJS.Timeout | undefined;
}

export class ConnectionPool {
  readonly #options: PoolOptions;
  readonly #all = new Set<PostgresConnection>();
  /** The most recently used one is last, and is used first. */
  readonly #idle: PostgresConnection[] = [];
  readonly #waiting: Readonly<Record<Use, Waiting[]>> = { read: [], write: [] };
  #requests = 0;
  readonly #writing = new Set<PostgresConnection>();
  readonly #writersAtMost: number;
  #opening = 0;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#writersAtMost = options.size - Math.min(READERS, Math.floor(options.size / 2));
  }

  /** Throws what opening throws, and Problem `unavailable` when none became free in time or the pool is closed. */
  acquire(use: Use): Promise<PostgresConnection> {
    if (this.#isClosed) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#requests += 1;
      const waiting: Waiting = { use, order: this.#requests, resolve, reject, timer: undefined };
      this.#waiting[use].push(waiting);
      this.#serve();
      if (this.#waiting[use].at(-1) !== waiting) return; // it has its connection
      waiting.timer = setTimeout(() => this.#giveUp(waiting), this.#options.wait);
    });
  }

  /** A connection that was lost meanwhile is replaced when one is needed. */
  release(connection: PostgresConnection): void {
    this.#writing.delete(connection);
    this.#idle.push(connection);
    this.#serve();
  }

  get usage(): PoolUsage {
    return {
      open: this.#all.size,
      idle: this.#idle.length,
      waiting: this.#waiting.read.length + this.#waiting.write.length,
    };
  }

  /** Ends every connection, also those in use. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const waiting of [...this.#waiting.read.splice(0), ...this.#waiting.write.splice(0)]) {
      clearTimeout(waiting.timer);
      waiting.reject(closed());
    }
    const connections = [...this.#all];
    this.#all.clear();
    await Promise.all(connections.map((connection) => connection.close()));
  }

  /** Gives idle connections to those that wait, and opens as many more as are wanted. */
  #serve(): void {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) break;
      if (this.#isClosed || connection.isLost) {
        this.#all.delete(connection);
        connection.destroy();
        continue;
      }
      const next = this.#takeNext();
      if (next === undefined) {
        this.#idle.push(connection);
        return;
      }
      if (next.use === 'write') this.#writing.add(connection);
      next.resolve(connection);
    }
    const wanted = Math.min(this.#waiting.read.length + this.#writersToServe(), OPENING_AT_MOST);
    while (!this.#isClosed && this.#opening < wanted && this.#all.size + this.#opening < this.#options.size) {
      this.#opening += 1;
      void this.#openOne();
    }
  }

  async #openOne(): Promise<void> {
    const begun = this.#requests;
    try {
      const connection = await this.#options.open();
      this.#opening -= 1;
      this.#all.add(connection);
      this.release(connection);
    } catch (error) {
      this.#opening -= 1;
      this.#rejectUpTo(begun, error);
      this.#serve();
    }
  }

  /** All that were waiting for a connection that could be opened, up to this request: none of them is told of a wait for its turn. */
  #rejectUpTo(order: number, error: unknown): void {
    const { read, write } = this.#waiting;
    const failed = [...read, ...write.slice(0, this.#writersToServe())].filter((waiting) => waiting.order <= order);
    for (const waiting of failed) {
      const queue = this.#waiting[waiting.use];
      queue.splice(queue.indexOf(waiting), 1);
      clearTimeout(waiting.timer);
      waiting.reject(error);
    }
  }

  /** The first that may have a connection now. */
  #takeNext(): Waiting | undefined {
    const read = this.#waiting.read[0];
    const write = this.#writersToServe() > 0 ? this.#waiting.write[0] : undefined;
    const isRead = write === undefined || (read !== undefined && read.order < write.order);
    const next = this.#waiting[isRead ? 'read' : 'write'].shift();
    clearTimeout(next?.timer);
    return next;
  }

  /** Of those that wait. */
  #writersToServe(): number {
    return Math.max(0, Math.min(this.#waiting.write.length, this.#writersAtMost - this.#writing.size));
  }

  #giveUp(waiting: Waiting): void {
    const queue = this.#waiting[waiting.use];
    const index = queue.indexOf(waiting);
    if (index < 0) return;
    queue.splice(index, 1);
    waiting.reject(
      new Problem('unavailable', {
        reason: `expected a free connection to the database within ${this.#options.wait} ms`,
      }),
    );
  }
}

function closed(): Problem {
  return new Problem('unavailable', { reason: 'the connections to the database are closed' });
}
