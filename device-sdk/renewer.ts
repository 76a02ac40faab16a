/**
 * Schedules the renewal of a device's certificate and retries after failures. The caller supplies the renewal itself.
 */

import { X509Certificate } from 'node:crypto';
import type { RenewalNotice } from '@rollcall/protocol';
import { asDeviceError, type DeviceError } from './device-error.ts';
import type { DeviceLog } from './device-state.ts';
import { noticeTime, overdueDelay, renewalRetryDelay, renewalTime, type Validity } from './renewal-plan.ts';
import type { Schedule } from './schedule.ts';

export interface RenewerOptions {
  /** Rejects with a DeviceError. When it succeeds, {@link Renewer.adopt} was called. */
  readonly renew: () => Promise<void>;
  /** Fetches the server's renewal notice before a renewal by the device's own plan. */
  readonly fetchNotice: () => Promise<RenewalNotice | undefined>;
  readonly now: () => number;
  readonly random: () => number;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
}

/** Interval of checks of the clock, which may be corrected by years while a device runs. Milliseconds. */
const CHECK_INTERVAL_MS = 3_600_000;
const SOON_SPREAD_MS = 30_000;

export class Renewer {
  readonly #options: RenewerOptions;
  #validity: Validity;
  #due: number;
  #cancel: (() => void) | undefined;
  #isRunning = false;
  /** The window that the server named last: the same one again changes nothing. */
  #window: string | undefined;
  /** Due by the device's own plan, about which the server was not asked yet. */
  #isOwnPlan = true;

  constructor(certificatePem: string, options: RenewerOptions) {
    this.#options = options;
    const { now, random } = options;
    this.#validity = validityOf(certificatePem);
    this.#due = renewalTime(this.#validity, random);
    if (this.#due <= now()) this.#due = now() + overdueDelay(this.#validity, now(), random);
  }

  /** When the next try is due, milliseconds since 1970. */
  get due(): number {
    return this.#due;
  }

  start(): void {
    this.#isRunning = true;
    this.#wait();
  }

  /** Plans the renewal of this certificate. PEM, leaf first. */
  adopt(certificatePem: string): void {
    this.#validity = validityOf(certificatePem);
    this.#due = renewalTime(this.#validity, this.#options.random);
    this.#isOwnPlan = true;
    this.#wait();
  }

  /**
   * Plans the renewal by the server's notice: at a random moment of its window, early enough for a second attempt, and soon
   * when the window has passed. Undefined returns to the device's own plan.
   */
  applyNotice(notice: RenewalNotice | undefined): void {
    const { now, random, log } = this.#options;
    if (notice === undefined) {
      if (this.#isOwnPlan) return;
      this.#due = renewalTime(this.#validity, random);
      this.#isOwnPlan = true;
    } else {
      const { windowStart, windowEnd, reason, serverTime } = notice;
      const window = `${windowStart}/${windowEnd}`;
      // A notice from before this certificate is about the previous one.
      if (window === this.#window || Date.parse(serverTime) < this.#validity.notBefore) return;
      this.#window = window;
      this.#isOwnPlan = false;
      this.#due = noticeTime(notice, this.#validity, now(), random);
      log.info({ due: new Date(this.#due).toISOString(), reason }, 'renewal planned by a notice of the server');
    }
    if (this.#cancel !== undefined) this.#wait();
  }

  /** Renews within half a minute, because the broker refused this certificate. */
  renewSoon(): void {
    const { now, random } = this.#options;
    this.#due = Math.min(this.#due, now() + Math.floor(random() * SOON_SPREAD_MS));
    this.#isOwnPlan = false;
    if (this.#cancel !== undefined) this.#wait();
  }

  /** Idempotent. A try under way goes on. */
  stop(): void {
    this.#isRunning = false;
    this.#cancel?.();
  }

  #wait(): void {
    this.#cancel?.();
    if (!this.#isRunning) return;
    const { now, schedule } = this.#options;
    const wait = Math.min(Math.max(0, this.#due - now()), CHECK_INTERVAL_MS);
    this.#cancel = schedule(wait, () => {
      if (now() < this.#due) this.#wait();
      else void this.#try();
    });
  }

  async #try(): Promise<void> {
    const { renew, now, random, log } = this.#options;
    this.#cancel = undefined;
    if (await this.#isPutOff()) {
      this.#wait();
      return;
    }
    if (!this.#isRunning) return;
    try {
      await renew();
      log.info({ due: new Date(this.#due).toISOString() }, 'certificate renewed');
    } catch (thrown) {
      const error: DeviceError = asDeviceError(thrown, 'internal');
      if (error.code === 'closed') return;
      const wait = renewalRetryDelay(this.#validity, error.retryAfter, random);
      this.#due = now() + wait;
      log.warn({ code: error.code, reason: error.message, wait }, 'certificate not renewed');
      this.#wait();
    }
  }

  /** Whether the server's notice or its time postpones the renewal. */
  async #isPutOff(): Promise<boolean> {
    if (!this.#isOwnPlan) return false;
    const notice = await this.#options.fetchNotice().catch(() => undefined);
    // The answer told the time as well: a clock that leapt ahead made it due too early.
    if (notice === undefined) return this.#options.now() < this.#due;
    if (Date.parse(notice.windowStart) <= this.#options.now()) return false;
    this.applyNotice(notice);
    return this.#due > this.#options.now();
  }
}

/** Of the first certificate in a PEM. */
export function validityOf(certificatePem: string): Validity {
  const leaf = new X509Certificate(certificatePem);
  return { notBefore: Date.parse(leaf.validFrom), notAfter: Date.parse(leaf.validTo) };
}
