/**
 * The current CRL of one CA and its delta CRL (RFC 5280, section 5). They are issued at the first request, after a
 * revocation and every hour, in slices, so that a CRL of 100,000 entries does not block the event loop. CRLs are for third
 * parties; Rollcall itself reads the registry, so a CRL that cannot be issued locks no device out.
 */

import type { Logger } from 'pino';
import type { OnHoldEntry, PublishedStatusStore, Registry, RevokedEntry } from '../../registry/index.ts';
import type { Signer } from '../ca/signer.ts';
import type { CertificateIssuer } from '../x509/profile.ts';
import { type CrlEntry, type CrlFields, writeCrl, writeCrlEntries } from './crl-writer.ts';

/** From thisUpdate to nextUpdate. */
const VALIDITY_MS = 24 * 3600 * 1000;
/** The age at which a full CRL is no longer the base of delta CRLs. */
const BASE_LIFE_MS = 3600 * 1000;
/** Entries that are read and written in one turn of the event loop: a few milliseconds. */
const SLICE = 500;
/** The pause after a run is this multiple of its duration, so that a flood of revocations uses a fifth of the time. */
const REST = 4;
const LONGEST_REST_MS = 5_000;

export interface CrlPair {
  readonly full: Buffer;
  readonly delta: Buffer;
}

export interface CrlValidity {
  readonly issuedAt: number;
  readonly nextUpdate: number;
}

/** Times are milliseconds since the epoch, sizes bytes of DER. */
export interface IssuedCrlFacts extends CrlValidity {
  readonly number: number;
  /** Revoked certificates, and those on hold. */
  readonly entries: number;
  readonly bytes: number;
  readonly delta: { readonly baseNumber: number; readonly bytes: number };
}

export interface CrlPublisher {
  /** CRLs that are valid now. During a run it waits for its result, which may contain a revocation that was just committed. */
  current(): Promise<CrlPair>;
  /** The dates of the current CRL, milliseconds since the epoch; undefined before the first one. */
  validity(): CrlValidity | undefined;
  /** The current CRLs; undefined before the first ones. */
  describe(): IssuedCrlFacts | undefined;
  /** Issues CRLs that contain every revocation committed before this call. Overlapping calls share one run. */
  refresh(): Promise<void>;
  /** Resolves when no CRL is being issued. */
  close(): Promise<void>;
}

export interface CrlPublisherOptions {
  readonly ca: CertificateIssuer & { readonly id: string; readonly signer: Signer };
  readonly registry: Pick<PublishedStatusStore, 'listRevokedBy' | 'listHeldBy'> & Pick<Registry, 'nextCrlNumber'>;
  readonly deltaUrl?: string | undefined;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}

interface IssuedCrls extends CrlPair {
  readonly issuedAt: number;
  readonly number: number;
  readonly entries: number;
  readonly baseNumber: number;
}

/** The full CRL that delta CRLs refer to. */
interface Base {
  readonly number: number;
  readonly issuedAt: number;
  /** Certificates that were on hold in it or in a later CRL, by serial, and since when. */
  readonly shownOnHold: ReadonlyMap<string, number>;
}

interface Entries {
  readonly full: Buffer;
  readonly delta: Buffer;
  /** Of the full CRL. */
  readonly count: number;
  readonly onHold: ReadonlyMap<string, number>;
}

export function createCrlPublisher(options: CrlPublisherOptions): CrlPublisher {
  return new Publisher(options);
}

class Publisher implements CrlPublisher {
  readonly #options: CrlPublisherOptions;
  #crls: IssuedCrls | undefined;
  #base: Base | undefined;
  #running: Promise<void> | undefined;
  /** The run after the current one, or after the pause. */
  #next: Promise<void> | undefined;
  #restUntil = 0;

  constructor(options: CrlPublisherOptions) {
    this.#options = options;
  }

  async current(): Promise<CrlPair> {
    const { now, log, ca } = this.#options;
    const crls = this.#crls;
    const age = crls === undefined ? Number.POSITIVE_INFINITY : now() - crls.issuedAt;
    const run = this.#next ?? this.#running;
    if (run === undefined && crls !== undefined && age >= 0 && age < VALIDITY_MS / 2) return crls;
    try {
      await (run ?? this.#start());
    } catch (error) {
      // The last CRL is correct until its nextUpdate, and useless after it.
      if (crls === undefined || age < 0 || age >= VALIDITY_MS) throw error;
      log.error({ err: error, ca: ca.id }, 'CRL could not be issued; the last one is still valid');
    }
    return this.#crls as IssuedCrls;
  }

  validity(): CrlValidity | undefined {
    const issuedAt = this.#crls?.issuedAt;
    return issuedAt === undefined ? undefined : { issuedAt, nextUpdate: issuedAt + VALIDITY_MS };
  }

  describe(): IssuedCrlFacts | undefined {
    if (this.#crls === undefined) return undefined;
    const { issuedAt, number, entries, full, delta, baseNumber } = this.#crls;
    const nextUpdate = issuedAt + VALIDITY_MS;
    return { issuedAt, nextUpdate, number, entries, bytes: full.length, delta: { baseNumber, bytes: delta.length } };
  }

  /** A call during a run waits for the run after it: the current one may have read the registry too early. */
  refresh(): Promise<void> {
    const isIdle = this.#running === undefined && this.#next === undefined;
    if (isIdle && this.#restUntil <= performance.now()) return this.#start();
    this.#next ??= (this.#running ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => pause(this.#restUntil - performance.now()))
      .then(() => {
        this.#next = undefined;
        return this.#start();
      });
    return this.#next;
  }

  async close(): Promise<void> {
    while (this.#running !== undefined || this.#next !== undefined) {
      await (this.#next ?? this.#running)?.catch(() => undefined);
    }
  }

  #start(): Promise<void> {
    this.#running = this.#issue().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #issue(): Promise<void> {
    const { ca, registry, now, log } = this.#options;
    const started = performance.now();
    const issuedAt = now();
    // The number comes first: a CRL with a higher number never contains fewer final revocations.
    const number = await registry.nextCrlNumber();
    const base = this.#baseFor(number, issuedAt);
    const entries = await readEntries(this.#options, base);
    const fields = this.#fields(number, issuedAt);
    const full = await writeCrl({ ...fields, deltaUrl: this.#options.deltaUrl }, entries.full, ca.signer);
    const delta = await writeCrl({ ...fields, baseNumber: base.number }, entries.delta, ca.signer);
    this.#crls = { full, delta, issuedAt, number, entries: entries.count, baseNumber: base.number };
    // A delta removes by serial every certificate that was on hold in any CRL since its base (RFC 5280, section 5.2.4).
    this.#base = { ...base, shownOnHold: new Map([...base.shownOnHold, ...entries.onHold]) };
    const ms = performance.now() - started;
    this.#restUntil = performance.now() + Math.min(ms * REST, LONGEST_REST_MS);
    log.info({ ca: ca.id, number, entries: entries.count, bytes: full.length, ms: Math.round(ms) }, 'CRL issued');
  }

  /** The base of the delta; the new full CRL itself when the last base is too old. */
  #baseFor(number: number, issuedAt: number): Base {
    const age = this.#base === undefined ? -1 : issuedAt - this.#base.issuedAt;
    if (this.#base !== undefined && age >= 0 && age < BASE_LIFE_MS) return this.#base;
    return { number, issuedAt, shownOnHold: new Map() };
  }

  #fields(number: number, issuedAt: number): CrlFields {
    const { ca, backdateSeconds } = this.#options;
    return {
      issuer: ca.subject,
      keyIdentifier: ca.keyIdentifier,
      number,
      thisUpdate: Math.max(issuedAt - backdateSeconds * 1000, ca.notBefore),
      nextUpdate: issuedAt + VALIDITY_MS,
      lists: 'users',
    };
  }
}

async function readEntries(
  { ca, registry }: CrlPublisherOptions,
  { issuedAt: since, shownOnHold }: Base,
): Promise<Entries> {
  // Certificates on hold come first: one that is revoked meanwhile is in the second reading, and so in one of them at least.
  const onHold = new Map<string, number>();
  const held = pages((after: OnHoldEntry | undefined) => registry.listHeldBy({ issuerId: ca.id, after, limit: SLICE }));
  for await (const page of held) for (const { serial, heldAt } of page) onHold.set(serial, heldAt);
  const released = new Map([...shownOnHold].filter(([serial]) => !onHold.has(serial)));

  const full: Buffer[] = [];
  const delta: CrlEntry[] = [];
  let count = 0;
  const revoked = pages((after: RevokedEntry | undefined) =>
    registry.listRevokedBy({ issuerId: ca.id, after, limit: SLICE }),
  );
  for await (const page of revoked) {
    full.push(writeCrlEntries(page));
    for (const entry of page) {
      if (entry.revokedAt >= since) delta.push(entry);
      onHold.delete(entry.serial);
      released.delete(entry.serial);
    }
    count += page.length;
  }

  const heldEntries = [...onHold].map(([serial, heldAt]) => entryOf(serial, heldAt, 'certificateHold'));
  delta.push(...heldEntries.filter(({ revokedAt }) => revokedAt >= since));
  for (const [serial, heldAt] of released) delta.push(entryOf(serial, heldAt, 'removeFromCRL'));
  return {
    full: Buffer.concat([...full, writeCrlEntries(heldEntries)]),
    delta: writeCrlEntries(delta),
    count: count + heldEntries.length,
    onHold,
  };
}

/** Pages of at most {@link SLICE} entries, one in a turn of the event loop. */
async function* pages<Entry>(
  read: (after: Entry | undefined) => Promise<readonly Entry[]>,
): AsyncGenerator<readonly Entry[]> {
  let after: Entry | undefined;
  for (;;) {
    const page = await read(after);
    yield page;
    after = page.at(-1);
    if (page.length < SLICE) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function entryOf(serial: string, revokedAt: number, reason: CrlEntry['reason']): CrlEntry {
  return { serial, revokedAt, reason };
}

function pause(ms: number): Promise<void> {
  return ms <= 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));
}
