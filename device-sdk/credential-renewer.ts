/**
 * Renews the credentials of a device or service whose connections are those of another program: once, or when they are due
 * for as long as a process runs. It follows the roots of the fleet on the way. The old pair stays on disk until the new one is.
 */

import { asDeviceError, DeviceError } from './device-error.ts';
import { withoutUndefined } from './device-options.ts';
import { type DeviceLog, SILENT_LOG } from './device-state.ts';
import { requestRenewal } from './enrollment.ts';
import { fetchCaCertificates, fetchRootRevocationLists } from './est-client.ts';
import type { Credentials, IdentityStore } from './identity-store.ts';
import type { KeyProvider } from './key-provider.ts';
import { fetchRenewalInfo } from './renewal-info.ts';
import { renewalTime } from './renewal-plan.ts';
import { Renewer, validityOf } from './renewer.ts';
import { realTimers, type Schedule } from './schedule.ts';
import { evaluateCertificates } from './trust-bundle.ts';

export interface RenewalDue {
  readonly isDue: boolean;
  /** When it is or was due, milliseconds since 1970. */
  readonly at: number;
  /** Why the server was not asked; undefined when it answered. */
  readonly unanswered?: DeviceError;
}

/**
 * Whether a renewal is due: from the start of the window on that the server names for this certificate; from two thirds of
 * the life on when the server does not answer.
 */
export async function isRenewalDue(identity: Credentials, now: number, signal?: AbortSignal): Promise<RenewalDue> {
  const own = renewalTime(validityOf(identity.certificatePem), () => 0);
  try {
    const notice = await fetchRenewalInfo(identity, { signal });
    if (notice === undefined) return { isDue: own <= now, at: own };
    const at = Date.parse(notice.windowStart);
    return { isDue: at <= Date.parse(notice.serverTime), at };
  } catch (thrown) {
    return { isDue: own <= now, at: own, unanswered: asDeviceError(thrown, 'internal') };
  }
}

/**
 * Requests the next certificate with a new key and replaces the pair on disk. Rejects with a DeviceError; the pair on disk
 * is unchanged then, and the next call repeats the request with the same key.
 */
export async function renewCredentials<Identity extends Credentials>(
  store: IdentityStore<Identity>,
  current: Identity,
  { signal, keys }: { readonly signal?: AbortSignal; readonly keys?: KeyProvider | undefined } = {},
): Promise<Identity> {
  const trusting = await trustNewRoots(store, current, signal);
  const next = await requestRenewal(store, trusting, withoutUndefined({ signal, keys }));
  await store.commit(next);
  return next;
}

/** A new root is accepted when a trusted one vouches for it, from any sender (RFC 7030, section 4.1.3). */
async function trustNewRoots<Identity extends Credentials>(
  store: IdentityStore<Identity>,
  current: Identity,
  signal: AbortSignal | undefined,
): Promise<Identity> {
  const peer = { url: current.enrollUrl, root: 'unverified', signal } as const;
  const offered = await fetchCaCertificates(peer);
  const update = evaluateCertificates(current, offered, await fetchRootRevocationLists(peer));
  if (update.verdict !== 'changed') return current;
  const next = { ...current, ...update.trusted };
  await store.commit(next);
  return next;
}

/** Why a {@link CredentialRenewer} renews no more: the server refused this holder for good. */
export type RenewalEnd = (error: DeviceError) => void;

export interface CredentialRenewerOptions<Identity extends Credentials> {
  readonly store: IdentityStore<Identity>;
  readonly identity: Identity;
  /** Who holds the private keys. */
  readonly keys?: KeyProvider | undefined;
  /** Called with each new identity; it is on disk. */
  readonly onRenewed: (identity: Identity) => void | Promise<void>;
  /** Called once, when the server refuses this holder: it was revoked, or its certificate has ended. */
  readonly onRefused: RenewalEnd;
  readonly log?: DeviceLog;
  readonly now?: () => number;
  readonly random?: () => number;
  readonly schedule?: Schedule;
}

/** Interval of the requests for the renewal window, as a part of the certificate's life, and its bounds in milliseconds. */
const POLLS_PER_LIFE = 50;
const POLL_MIN_MS = 60_000;
const POLL_MAX_MS = 6 * 3_600_000;

/** Statuses of HTTP with which a server refuses a certificate. */
const REFUSED = [401, 403];

export class CredentialRenewer<Identity extends Credentials> {
  readonly #options: CredentialRenewerOptions<Identity> &
    Required<Pick<CredentialRenewerOptions<Identity>, 'now' | 'random' | 'schedule'>>;
  readonly #renewer: Renewer;
  readonly #ending = new AbortController();
  #identity: Identity;
  #renewal: Promise<void> | undefined;
  #cancelPoll: (() => void) | undefined;

  constructor(options: CredentialRenewerOptions<Identity>) {
    const { log = SILENT_LOG, now = Date.now, random = Math.random, schedule = realTimers } = options;
    this.#options = { ...options, now, random, schedule };
    this.#identity = options.identity;
    this.#renewer = new Renewer(options.identity.certificatePem, {
      renew: () => this.renew(),
      fetchNotice: () => fetchRenewalInfo(this.#identity, { signal: this.#ending.signal, keys: options.keys }),
      ...{ now, random, schedule, log },
    });
  }

  /** The identity that is on disk. */
  get identity(): Identity {
    return this.#identity;
  }

  /** When the next renewal is due, milliseconds since 1970. The server may name another time until then. */
  get due(): number {
    return this.#renewer.due;
  }

  start(): void {
    this.#renewer.start();
    this.#waitToPoll();
  }

  /** Renews now. Two calls at one time are one renewal. Rejects with a DeviceError. */
  renew(): Promise<void> {
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  /** Asks for the roots of the fleet now. Resolves to whether they have changed; the new ones are on disk. */
  async followRoots(): Promise<boolean> {
    const before = this.#identity.rootPem;
    await this.#renewal?.catch(() => {});
    const found = await trustNewRoots(this.#options.store, this.#identity, this.#ending.signal);
    // A renewal that began meanwhile has asked for them as well.
    if (this.#renewal !== undefined) return false;
    this.#identity = found;
    return found.rootPem !== before;
  }

  /** Ends what is under way, and resolves when it has ended. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#renewer.stop();
    this.#cancelPoll?.();
    await this.#renewal?.catch(() => {});
  }

  async #renew(): Promise<void> {
    const { store, keys, onRenewed, onRefused } = this.#options;
    if (this.#ending.signal.aborted) throw new DeviceError('closed');
    try {
      this.#identity = await renewCredentials(store, this.#identity, { signal: this.#ending.signal, keys });
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      if (error.status !== undefined && REFUSED.includes(error.status)) {
        this.#renewer.stop();
        this.#cancelPoll?.();
        onRefused(error);
      }
      throw error;
    }
    this.#renewer.adopt(this.#identity.certificatePem);
    await onRenewed(this.#identity);
  }

  /** A window may be pulled forward at any time, and a holder of credentials alone has no message that says so. */
  #waitToPoll(): void {
    const { schedule, random, keys } = this.#options;
    const { notBefore, notAfter } = validityOf(this.#identity.certificatePem);
    const interval = Math.min(Math.max((notAfter - notBefore) / POLLS_PER_LIFE, POLL_MIN_MS), POLL_MAX_MS);
    this.#cancelPoll = schedule(Math.ceil(interval * (0.9 + random() / 5)), () => {
      fetchRenewalInfo(this.#identity, { signal: this.#ending.signal, keys })
        .then((notice) => this.#renewer.applyNotice(notice))
        .catch(() => {}) // The renewal itself reports a server that cannot be reached.
        .finally(() => {
          if (!this.#ending.signal.aborted) this.#waitToPoll();
        });
    });
  }
}
