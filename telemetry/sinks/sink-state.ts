/** Whether a sink forwards, and why not: what is known of its target, for operators and the log. */

import type { Logger } from 'pino';
import { type Target, TargetUntrusted } from './target.ts';

export type SinkCondition = 'starting' | 'forwarding' | 'idle' | 'down' | 'stopped';

export interface SinkStateView {
  /** `idle`: everything is forwarded. `down`: the target does not take what it is offered. */
  readonly state: SinkCondition;
  /** Why it is down. */
  readonly reason: string | undefined;
  /** It is down because a certificate is not accepted, the target's or ours. An operator has to act. */
  readonly isUntrusted: boolean;
  /** Since when, in ms since the epoch. */
  readonly since: number;
  /** What was last found out about the target: that its file was moved or deleted, and what that means. */
  readonly notice: { readonly at: number; readonly text: string } | undefined;
  /** How often messages that the target had were found to be gone there. */
  readonly losses: number;
}

export interface SinkStateOptions {
  readonly target: Pick<Target, 'takeNotice'>;
  readonly now: () => number;
  readonly log: Logger;
}

export class SinkState {
  readonly #options: SinkStateOptions;
  #view: SinkStateView;

  constructor(options: SinkStateOptions) {
    this.#options = options;
    this.#view = {
      ...{ state: 'starting', reason: undefined, isUntrusted: false, since: options.now() },
      ...{ notice: undefined, losses: 0 },
    };
  }

  get isDown(): boolean {
    return this.#view.state === 'down';
  }

  view(): SinkStateView {
    return this.#view;
  }

  enter(state: SinkCondition, reason?: string): void {
    const since = state === this.#view.state ? this.#view.since : this.#options.now();
    this.#view = { ...this.#view, state, reason, since, isUntrusted: false };
  }

  /** The target did not take what it was offered. */
  failed(error: unknown): void {
    const { log } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    const isUntrusted = error instanceof TargetUntrusted;
    if (isUntrusted && !this.#view.isUntrusted) log.error({ reason }, 'sink is down: a certificate is not accepted');
    else if (!this.isDown) log.warn({ reason }, 'sink is down');
    this.enter('down', reason);
    this.#view = { ...this.#view, isUntrusted };
  }

  /** The target took it. */
  succeeded(): void {
    if (!this.isDown) return;
    this.#options.log.info({ downFor: this.#options.now() - this.#view.since }, 'sink is back');
    this.enter('forwarding');
  }

  note(text: string): void {
    this.#view = { ...this.#view, notice: { at: this.#options.now(), text } };
  }

  /** Takes what the target has found out about itself. */
  readNotice(): void {
    const { target, log } = this.#options;
    const notice = target.takeNotice?.();
    if (notice === undefined) return;
    this.note(notice.text);
    if (notice.isLoss) {
      this.#view = { ...this.#view, losses: this.#view.losses + 1 };
      log.error({ notice: notice.text }, 'the target of the sink lost messages');
    } else log.warn({ notice: notice.text }, 'the target of the sink changed');
  }
}
