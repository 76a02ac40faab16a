/**
 * The current revocation list of one CA and its delta: made when first asked for, made anew on a revocation and by the
 * hour. In slices, so that a list of 100,000 keeps nobody waiting. It is for third parties; Rollcall's own doors ask the
 * registry, so a list that cannot be made locks nobody out.
 */

import type { Logger } from 'pino';
import type { IssuerMemory } from '../registry/issuers.ts';
import type { Registry, RevokedEntry } from '../registry/registry.ts';
import { type CrlFrame, writeCrl, writeCrlEntries } from './crl-writer.ts';
import type { IssuerView } from './profile.ts';
import type { Signer } from './signer.ts';

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

export function createCrlPublisher(options: {
  readonly ca: IssuerView & { readonly id: string; readonly signer: Signer };
  readonly registry: Pick<IssuerMemory, 'listRevokedBy'> & Pick<Registry, 'nextCrlNumber'>;
  readonly deltaUrl?: string | undefined;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}): CrlPublisher {
  const { ca, registry, now, log } = options;
  let list: Made | undefined;
  let base: { readonly number: number; readonly madeAt: number } | undefined;
  let running: Promise<void> | undefined;
  let waiting: Promise<void> | undefined;
  let restUntil = 0;

  const gather = async (
    since: number,
  ): Promise<{ readonly all: Buffer; readonly recent: Buffer; readonly count: number }> => {
    const all: Buffer[] = [];
    const recent: RevokedEntry[] = [];
    let after: RevokedEntry | undefined;
    let count = 0;
    for (;;) {
      const page = await registry.listRevokedBy({ issuerId: ca.id, after, limit: SLICE });
      all.push(writeCrlEntries(page));
      for (const entry of page) if (entry.revokedAt >= since) recent.push(entry);
      count += page.length;
      after = page.at(-1);
      if (page.length < SLICE) return { all: Buffer.concat(all), recent: writeCrlEntries(recent), count };
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  const make = async (): Promise<void> => {
    const started = performance.now();
    const madeAt = now();
    // The number first: a list with a higher number never holds less.
    const number = await registry.nextCrlNumber();
    const age = base === undefined ? -1 : madeAt - base.madeAt;
    if (base === undefined || age < 0 || age >= BASE_LIFE_MS) base = { number, madeAt };
    const { all, recent, count } = await gather(base.madeAt);
    const frame: CrlFrame = {
      issuer: ca.subject,
      keyIdentifier: ca.keyIdentifier,
      number,
      thisUpdate: Math.max(madeAt - options.backdateSeconds * 1000, ca.notBefore),
      nextUpdate: madeAt + LIFE_MS,
      lists: 'users',
    };
    const full = await writeCrl({ ...frame, deltaUrl: options.deltaUrl }, all, ca.signer);
    const delta = await writeCrl({ ...frame, baseNumber: base.number }, recent, ca.signer);
    list = { full, delta, madeAt };
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

function pause(ms: number): Promise<void> {
  return ms <= 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));
}
