/**
 * Moves the clients of one node to the others while its process goes on: it accepts no connection, and ends its sessions at a limited rate,
 * until it is told to accept connections again.
 */

import { type DrainOptions, drainSessions } from './session-shutdown.ts';
import type { SessionState } from './session-state.ts';

export class NodeDrain {
  readonly #state: SessionState;
  #isDrained = false;

  constructor(state: SessionState) {
    this.#state = state;
  }

  /** It accepts no connection. */
  get isDrained(): boolean {
    return this.#isDrained;
  }

  /** Resolves when no session is left, also none of a connection that was accepted before. */
  async drain(options: Omit<DrainOptions, 'isNodeOnly'>): Promise<void> {
    this.#isDrained = true;
    do {
      await drainSessions(this.#state, undefined, { ...options, isNodeOnly: true });
    } while (this.#isDrained && this.#state.sessions.size > 0);
  }

  undrain(): void {
    this.#isDrained = false;
  }
}
