/**
 * While storage is behind, the sockets of devices that send telemetry are not read, so that TCP slows these devices down and memory
 * stays bounded. All other clients are read, and all clients are written to: commands, revocations and acknowledgements
 * continue. Reading resumes when storage has caught up.
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
  readonly #paused = new Set<Session>();
  #isBehind = false;

  constructor(options: BackpressureOptions) {
    this.#options = options;
  }

  /** Devices whose sockets are not read. */
  get pausedSessions(): number {
    return this.#paused.size;
  }

  /** Storage has fallen behind, or has caught up. */
  setPressure(isBehind: boolean): void {
    if (isBehind === this.#isBehind) return;
    this.#isBehind = isBehind;
    const { sessions, log } = this.#options;
    if (isBehind) {
      for (const session of sessions()) if (session.sendsTelemetry && !session.isEnded) this.#pause(session);
      log.warn({ devices: this.#paused.size }, 'reading from devices that send telemetry is paused');
      return;
    }
    const paused = [...this.#paused];
    this.#paused.clear();
    for (const session of paused) session.connection.resumeReading(PauseReason.storage);
    log.info({ devices: paused.length }, 'reading from devices that send telemetry is resumed');
  }

  /** A session has sent telemetry. */
  telemetryReceived(session: Session): void {
    session.sendsTelemetry = true;
    if (this.#isBehind) this.#pause(session);
  }

  sessionEnded(session: Session): void {
    this.#paused.delete(session);
  }

  #pause(session: Session): void {
    this.#paused.add(session);
    session.connection.pauseReading(PauseReason.storage);
  }
}
