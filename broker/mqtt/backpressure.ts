/**
 * While storage is behind, devices that send telemetry are not read: what they have to say waits on their side of the wire,
 * not in our memory. Everybody else is read as always, and everybody is written to: commands, revocations and
 * acknowledgements go on. When storage has caught up they are read again.
 */

import type { Logger } from 'pino';
import type { Session } from '../sessions/session.ts';
import { PauseReason } from './receive-loop.ts';

export interface BackpressureOptions {
  readonly sessions: () => Iterable<Session>;
  readonly log: Logger;
}

export class Backpressure {
  readonly #options: BackpressureOptions;
  readonly #held = new Set<Session>();
  #isOn = false;

  constructor(options: BackpressureOptions) {
    this.#options = options;
  }

  /** Devices that aren't read. */
  get pausedSessions(): number {
    return this.#held.size;
  }

  /** Storage has fallen behind, or has caught up. */
  setPressure(isBehind: boolean): void {
    if (isBehind === this.#isOn) return;
    this.#isOn = isBehind;
    const { sessions, log } = this.#options;
    if (isBehind) {
      for (const session of sessions()) if (session.sendsTelemetry && !session.isEnded) this.#hold(session);
      log.warn({ devices: this.#held.size }, 'devices that send telemetry are not read');
      return;
    }
    const held = [...this.#held];
    this.#held.clear();
    for (const session of held) session.connection.resumeReading(PauseReason.storage);
    log.info({ devices: held.length }, 'devices that send telemetry are read again');
  }

  /** A session has sent telemetry. */
  telemetryReceived(session: Session): void {
    session.sendsTelemetry = true;
    if (this.#isOn) this.#hold(session);
  }

  sessionEnded(session: Session): void {
    this.#held.delete(session);
  }

  #hold(session: Session): void {
    this.#held.add(session);
    session.connection.pauseReading(PauseReason.storage);
  }
}
