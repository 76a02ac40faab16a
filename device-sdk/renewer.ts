/**
 * Renews a device's certificate before it ends: it knows when, and starts over when a try failed. How a certificate is
 * renewed is said by whoever made it.
 */

import { X509Certificate } from 'node:crypto';
import { asDeviceError, type DeviceError } from './device-error.ts';
import type { DeviceLog } from './device-state.ts';
import { overdueDelay, renewalRetryDelay, renewalTime, type Validity } from './renewal-plan.ts';
import type { Schedule } from './schedule.ts';

export interface RenewerOptions {
  /** Rejects with a DeviceError. When it succeeds, {@link Renewer.adopt} was called. */
  readonly renew: () => Promise<void>;
  readonly now: () => number;
  readonly random: () => number;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
}

/** The clock is asked again this often: it may be set right by years while a device runs. Milliseconds. */
const LOOK_MS = 3_600_000;
const HASTE_SPREAD_MS = 30_000;

export class Renewer {
  readonly #options: RenewerOptions;
  #validity: Validity;
  #due: number;
  #cancel: (() => void) | undefined;
  #isRunning = false;

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

  /** From now on, PEM, leaf first. */
  adopt(certificatePem: string): void {
    this.#validity = validityOf(certificatePem);
    this.#due = renewalTime(this.#validity, this.#options.random);
    this.#wait();
  }

  /** The broker refuses this certificate: a new one may help, and if not, the answer tells why. */
  hasten(): void {
    const { now, random } = this.#options;
    this.#due = Math.min(this.#due, now() + Math.floor(random() * HASTE_SPREAD_MS));
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
    const wait = Math.min(Math.max(0, this.#due - now()), LOOK_MS);
    this.#cancel = schedule(wait, () => {
      if (now() < this.#due) this.#wait();
      else void this.#try();
    });
  }

  async #try(): Promise<void> {
    const { renew, now, random, log } = this.#options;
    this.#cancel = undefined;
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
}

/** Of the first certificate in a PEM. */
export function validityOf(certificatePem: string): Validity {
  const leaf = new X509Certificate(certificatePem);
  return { notBefore: Date.parse(leaf.validFrom), notAfter: Date.parse(leaf.validTo) };
}
