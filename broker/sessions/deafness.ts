/**
 * Whether this node may act. While it is deaf, nobody knows that it is there: it reads, acknowledges and delivers nothing, and accepts no
 * connection, because others may own its sessions, and a revocation does not reach it. Its sockets stay open, so that clients go on when
 * the node is heard again.
 */

import type { Logger } from 'pino';
import type { LiveSessions } from './live-sessions.ts';
import type { Session } from './session.ts';

export interface DeafnessOptions {
  readonly sessions: Pick<LiveSessions, 'all'>;
  readonly log: Logger;
}

export class Deafness {
  readonly #options: DeafnessOptions;
  #isDeaf = false;

  constructor(options: DeafnessOptions) {
    this.#options = options;
  }

  get isDeaf(): boolean {
    return this.#isDeaf;
  }

  set(isDeaf: boolean): void {
    if (isDeaf === this.#isDeaf) return;
    this.#isDeaf = isDeaf;
    const { sessions, log } = this.#options;
    let count = 0;
    for (const { connection } of sessions.all()) {
      count += 1;
      if (isDeaf) connection.suspend();
      else connection.resume();
    }
    if (isDeaf) log.error({ sessions: count }, 'this node is deaf: it reads, acknowledges and delivers nothing');
    else log.warn({ sessions: count }, 'this node is heard again');
  }

  /** Of a connection that was accepted before. */
  added({ connection }: Session): void {
    if (this.#isDeaf) connection.suspend();
  }

  /** Ends all sessions at once. No will is published: another node does that once the sessions are its own. */
  closeAll(): void {
    for (const session of [...this.#options.sessions.all()]) session.terminate('server_shutdown');
  }
}
