/**
 * The current revocation list: made when first asked for, made anew on a revocation and at half its life. It is for
 * third parties; Rollcall's own doors ask the registry, so a list that cannot be made locks nobody out.
 */

import type { Logger } from 'pino';
import type { Registry } from '../registry/registry.ts';
import type { CaCertificates } from './ca-certificates.ts';
import { writeCrl } from './crl-writer.ts';
import { keyIdentifier } from './profile.ts';

/** From this update to the next, at the latest. */
const LIFE_MS = 24 * 3600 * 1000;

export interface CrlPublisher {
  /** DER of a list that is valid now. While one is being made it is that one: it may hold a revocation that was just told. */
  current(): Promise<Buffer>;
  /** Makes a list that holds every revocation committed before this call. Calls that overlap share one. */
  refresh(): Promise<void>;
  /** Resolves when no list is being made. */
  close(): Promise<void>;
}

export function createCrlPublisher(options: {
  readonly issuing: CaCertificates['issuing'];
  readonly registry: Pick<Registry, 'listRevoked' | 'nextCrlNumber'>;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}): CrlPublisher {
  const { issuing, registry, now, log } = options;
  const keyId = keyIdentifier(issuing.publicKeySpki);
  let list: { readonly der: Buffer; readonly madeAt: number } | undefined;
  let running: Promise<void> | undefined;
  let waiting: Promise<void> | undefined;

  const make = async (): Promise<void> => {
    const madeAt = now();
    // The number first: a list with a higher number never holds less.
    const number = await registry.nextCrlNumber();
    const entries = await registry.listRevoked();
    const der = await writeCrl(
      {
        issuer: issuing.subject,
        keyIdentifier: keyId,
        number,
        thisUpdate: Math.max(madeAt - options.backdateSeconds * 1000, issuing.notBefore),
        nextUpdate: madeAt + LIFE_MS,
        entries,
      },
      issuing.signer,
    );
    list = { der, madeAt };
    log.info({ number, entries: entries.length, bytes: der.length }, 'revocation list made');
  };

  const start = (): Promise<void> => {
    running = make().finally(() => {
      running = undefined;
    });
    return running;
  };

  // Whoever asks while one is being made waits for the one after it: the running one may have read the registry too early.
  const refresh = (): Promise<void> => {
    if (running === undefined) return start();
    waiting ??= running
      .catch(() => undefined)
      .then(() => {
        waiting = undefined;
        return start();
      });
    return waiting;
  };

  return {
    refresh,
    close: async () => {
      while (running !== undefined) await (waiting ?? running).catch(() => undefined);
    },
    current: async () => {
      const age = list === undefined ? Number.POSITIVE_INFINITY : now() - list.madeAt;
      const underway = waiting ?? running;
      if (underway === undefined && list !== undefined && age >= 0 && age < LIFE_MS / 2) return list.der;
      try {
        await (underway ?? start());
      } catch (error) {
        // The old list is the truth of its time until its nextUpdate; after that it is nothing.
        if (list === undefined || age < 0 || age >= LIFE_MS) throw error;
        log.error({ err: error }, 'revocation list could not be made; the last one is still valid');
      }
      return (list as { der: Buffer }).der;
    },
  };
}
