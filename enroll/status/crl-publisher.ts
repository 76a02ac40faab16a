/**
 * The current revocation list of one CA and its delta: made when first asked for, made anew on a revocation and by the
 * hour. In slices, so that a list of 100,000 keeps nobody waiting. It is for third parties; Rollcall's own doors ask the
 * registry, so a list that cannot be made locks nobody out.
 */

import type { Logger } from 'pino';
import type { OnHoldEntry, PublishedStatusStore, Registry, RevokedEntry } from '../../registry/index.ts';
import type { Signer } from '../ca/signer.ts';
import type { CertificateIssuer } from '../x509/profile.ts';
import { type CrlEntry, type CrlFields, writeCrl, writeCrlEntries } from './crl-writer.ts';

/** From this update to the next, at the latest. */
const LIFE_MS = 24 * 3600 * 1000;
/** A full list that old is the base of deltas no more. */
const BASE_LIFE_MS = 3600 * 1000;
/** Entries read and written before others have their turn: a few milliseconds. */
const SLICE = 500;
/** A flood of revocations makes lists for a fifth of the time at most, and waits no longer than this for the next. */
const REST = 4;
const LONGEST_REST_MS = 5_000;

export interface CrlPair {
  readonly full: Buffer;
  readonly delta: Buffer;
}

export interface CrlPublisher {
  /** Lists that are valid now. While some are being made it is those: they may hold a revocation that was just told. */
  current(): Promise<CrlPair>;
  /** Makes lists that hold every revocation committed before this call. Calls that overlap share one round. */
  refresh(): Promise<void>;
  /** Resolves when no list is being made. */
  close(): Promise<void>;
}

interface Made extends CrlPair {
  readonly madeAt: number;
}

/** The full list on which deltas stand. */
interface Base {
  readonly number: number;
  readonly madeAt: number;
  /** What was on hold in it or in a list since, by serial, and since when. */
  readonly shownHeld: ReadonlyMap<string, number>;
}

interface Gathered {
  readonly all: Buffer;
  readonly recent: Buffer;
  readonly count: number;
  readonly held: ReadonlyMap<string, number>;
}

export function createCrlPublisher(options: {
  readonly ca: CertificateIssuer & { readonly id: string; readonly signer: Signer };
  readonly registry: Pick<PublishedStatusStore, 'listRevokedBy' | 'listHeldBy'> & Pick<Registry, 'nextCrlNumber'>;
  readonly deltaUrl?: string | undefined;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}): CrlPublisher {
  const { ca, registry, now, log } = options;
  let list: Made | undefined;
  let base: Base | undefined;
  let running: Promise<void> | undefined;
  let waiting: Promise<void> | undefined;
  let restUntil = 0;

  /** By serial, since when. */
  const gatherHeld = async (): Promise<Map<string, number>> => {
    const held = new Map<string, number>();
    let after: OnHoldEntry | undefined;
    for (;;) {
      const page = await registry.listHeldBy({ issuerId: ca.id, after, limit: SLICE });
      for (const { serial, heldAt } of page) held.set(serial, heldAt);
      after = page.at(-1);
      if (page.length < SLICE) return held;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  const gather = async ({ madeAt: since, shownHeld }: Base): Promise<Gathered> => {
    // First what is on hold: what is revoked meanwhile is in the second reading, and so in one of them at least.
    const held = await gatherHeld();
    const released = new Map([...shownHeld].filter(([serial]) => !held.has(serial)));
    const all: Buffer[] = [];
    const recent: CrlEntry[] = [];
    let after: RevokedEntry | undefined;
    let count = 0;
    for (;;) {
      const page = await registry.listRevokedBy({ issuerId: ca.id, after, limit: SLICE });
      all.push(writeCrlEntries(page));
      for (const entry of page) {
        if (entry.revokedAt >= since) recent.push(entry);
        held.delete(entry.serial);
        released.delete(entry.serial);
      }
      count += page.length;
      after = page.at(-1);
      if (page.length < SLICE) break;
      await new Promise((resolve) => setImmediate(resolve));
    }
    const onHold = [...held].map(([serial, heldAt]) => entryOf(serial, heldAt, 'certificateHold'));
    recent.push(...onHold.filter(({ revokedAt }) => revokedAt >= since));
    for (const [serial, heldAt] of released) recent.push(entryOf(serial, heldAt, 'removeFromCRL'));
    return {
      all: Buffer.concat([...all, writeCrlEntries(onHold)]),
      recent: writeCrlEntries(recent),
      count: count + onHold.length,
      held,
    };
  };

  const make = async (): Promise<void> => {
    const started = performance.now();
    const madeAt = now();
    // The number first: a list with a higher number never holds less of what is final.
    const number = await registry.nextCrlNumber();
    const age = base === undefined ? -1 : madeAt - base.madeAt;
    const isBaseOver = base === undefined || age < 0 || age >= BASE_LIFE_MS;
    const under: Base = base === undefined || isBaseOver ? { number, madeAt, shownHeld: new Map() } : base;
    const { all, recent, count, held } = await gather(under);
    const frame: CrlFields = {
      issuer: ca.subject,
      keyIdentifier: ca.keyIdentifier,
      number,
      thisUpdate: Math.max(madeAt - options.backdateSeconds * 1000, ca.notBefore),
      nextUpdate: madeAt + LIFE_MS,
      lists: 'users',
    };
    const full = await writeCrl({ ...frame, deltaUrl: options.deltaUrl }, all, ca.signer);
    const delta = await writeCrl({ ...frame, baseNumber: under.number }, recent, ca.signer);
    list = { full, delta, madeAt };
    // Whoever was on hold in any list since the base is taken off by name (RFC 5280, section 5.2.4).
    base = { ...under, shownHeld: new Map([...under.shownHeld, ...held]) };
    const took = performance.now() - started;
    restUntil = performance.now() + Math.min(took * REST, LONGEST_REST_MS);
    log.info({ ca: ca.id, number, entries: count, bytes: full.length, ms: Math.round(took) }, 'revocation list made');
  };

  const start = (): Promise<void> => {
    running = make().finally(() => {
      running = undefined;
    });
    return running;
  };

  // Whoever asks while one is being made waits for the one after it: the running one may have read the registry too early.
  const refresh = (): Promise<void> => {
    const rest = restUntil - performance.now();
    if (running === undefined && waiting === undefined && rest <= 0) return start();
    waiting ??= (running ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => pause(restUntil - performance.now()))
      .then(() => {
        waiting = undefined;
        return start();
      });
    return waiting;
  };

  return {
    refresh,
    close: async () => {
      while (running !== undefined || waiting !== undefined) await (waiting ?? running)?.catch(() => undefined);
    },
    current: async () => {
      const age = list === undefined ? Number.POSITIVE_INFINITY : now() - list.madeAt;
      const underway = waiting ?? running;
      if (underway === undefined && list !== undefined && age >= 0 && age < LIFE_MS / 2) return list;
      try {
        await (underway ?? start());
      } catch (error) {
        // The old list is the truth of its time until its nextUpdate; after that it is nothing.
        if (list === undefined || age < 0 || age >= LIFE_MS) throw error;
        log.error({ err: error, ca: ca.id }, 'revocation list could not be made; the last one is still valid');
      }
      return list as Made;
    },
  };
}

function entryOf(serial: string, revokedAt: number, reason: CrlEntry['reason']): CrlEntry {
  return { serial, revokedAt, reason };
}

function pause(ms: number): Promise<void> {
  return ms <= 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));
}
