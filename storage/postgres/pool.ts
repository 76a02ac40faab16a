/** Connections to the primary, at most so many; requests wait for one in order. Opens none before it is asked for. */

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

interface Waiting {
  readonly resolve: (connection: PostgresConnection) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
}

export class ConnectionPool {
  readonly #options: PoolOptions;
  readonly #all = new Set<PostgresConnection>();
  /** The most recently used one is last, and is used first. */
  readonly #idle: PostgresConnection[] = [];
  readonly #waiting: Waiting[] = [];
  #opening = 0;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Throws what opening throws, and Problem `unavailable` when none became free in time or the pool is closed. */
  acquire(): Promise<PostgresConnection> {
    if (this.#isClosed) return Promise.reject(closed());
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) break;
      if (!connection.isLost) return Promise.resolve(connection);
      this.#all.delete(connection);
    }
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        resolve,
        reject,
        timer: setTimeout(() => this.#giveUp(waiting), this.#options.wait),
      };
      this.#waiting.push(waiting);
      this.#openMore();
    });
  }

  /** A connection that was lost meanwhile is replaced when one is needed. */
  release(connection: PostgresConnection): void {
    if (this.#isClosed || connection.isLost) {
      this.#all.delete(connection);
      connection.destroy();
      this.#openMore();
      return;
    }
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(connection);
    else this.#answer(next, connection);
  }

  get usage(): PoolUsage {
    return { open: this.#all.size, idle: this.#idle.length, waiting: this.#waiting.length };
  }

  /** Ends every connection, also those in use. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const waiting of this.#waiting.splice(0)) {
      clearTimeout(waiting.timer);
      waiting.reject(closed());
    }
    const connections = [...this.#all];
    this.#all.clear();
    await Promise.all(connections.map((connection) => connection.close()));
  }

  #openMore(): void {
    while (
      !this.#isClosed &&
      this.#opening < this.#waiting.length &&
      this.#all.size + this.#opening < this.#options.size
    ) {
      this.#opening += 1;
      void this.#openOne();
    }
  }

  async #openOne(): Promise<void> {
    try {
      const connection = await this.#options.open();
      this.#opening -= 1;
      this.#all.add(connection);
      this.release(connection);
    } catch (error) {
      this.#opening -= 1;
      const next = this.#waiting.shift();
      if (next === undefined) return;
      clearTimeout(next.timer);
      next.reject(error);
      this.#openMore();
    }
  }

  #answer({ timer, resolve }: Waiting, connection: PostgresConnection): void {
    clearTimeout(timer);
    resolve(connection);
  }

  #giveUp(waiting: Waiting): void {
    const index = this.#waiting.indexOf(waiting);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
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
