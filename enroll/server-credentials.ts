/**
 * The certificates of our own listeners: issued by the same authority, recorded before they are used, renewed by
 * themselves at two thirds of their life. Their keys live in this process only, so a restart makes new ones.
 */

import { generateKeyPairSync } from 'node:crypto';
import type { Logger } from 'pino';
import type { IssuedCertificate } from '../registry/registry.ts';
import { exportSpki } from './profile.ts';

export const SERVER_NAMES = ['enroll', 'broker', 'console'] as const;
export type ServerName = (typeof SERVER_NAMES)[number];

/** What `node:tls` takes: all PEM. */
export interface ServerCredentials {
  readonly key: string;
  /** Chain, leaf first, without the root. */
  readonly cert: string;
  /** The trust bundle by which clients are judged: root and issuing CA. */
  readonly ca: string;
  readonly notAfter: number;
}

export interface ServerCredentialsKeeper {
  current(name: ServerName): ServerCredentials;
  /** Called with each certificate that replaces the current one. Returns the way to unsubscribe. */
  listen(name: ServerName, listener: (credentials: ServerCredentials) => void): () => void;
  /** Renews what is past two thirds of its life; the timer calls it. */
  renewDue(): Promise<void>;
  /** Resolves when nothing is under way that uses the registry. */
  close(): Promise<void>;
}

const RENEW_AT = 2 / 3;
/** Looks at least this often, so that a clock that jumped and a timer's 2^31 ms do no harm. */
const LOOK_EVERY_MS = 3600 * 1000;
const RETRY_AFTER_MS = 60 * 1000;
/** And not more often than this, however short a life was configured. */
const LOOK_AGAIN_MS = 1000;

export async function keepServerCredentials(options: {
  /** Issues and records a server certificate. */
  readonly issue: (name: ServerName, publicKeySpki: Buffer) => Promise<IssuedCertificate>;
  /** PEM of a leaf's chain. */
  readonly chain: (der: Uint8Array) => string;
  readonly trustBundle: string;
  readonly now: () => number;
  readonly log: Logger;
}): Promise<ServerCredentialsKeeper> {
  const { now, log } = options;
  const held = new Map<ServerName, { readonly credentials: ServerCredentials; readonly renewAt: number }>();
  const listeners = new Map<ServerName, Set<(credentials: ServerCredentials) => void>>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const renew = async (name: ServerName): Promise<void> => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const certificate = await options.issue(name, exportSpki(publicKey));
    const credentials: ServerCredentials = {
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      cert: options.chain(certificate.der),
      ca: options.trustBundle,
      notAfter: certificate.notAfter,
    };
    const { serial, notBefore, notAfter } = certificate;
    held.set(name, { credentials, renewAt: notBefore + (notAfter - notBefore) * RENEW_AT });
    log.info({ server: name, serial, notAfter: new Date(notAfter).toISOString() }, 'server certificate issued');
    for (const listener of listeners.get(name) ?? []) {
      try {
        listener(credentials);
      } catch (error) {
        log.error({ server: name, err: error }, 'server certificate could not be put in place');
      }
    }
  };

  let renewing: Promise<void> | undefined;
  const renewEach = async (): Promise<void> => {
    for (const name of SERVER_NAMES) {
      if (now() >= (held.get(name)?.renewAt ?? 0)) await renew(name);
    }
  };
  // The timer and a caller who come at once share one round.
  const renewDue = (): Promise<void> => {
    renewing ??= renewEach().finally(() => {
      renewing = undefined;
    });
    return renewing;
  };

  const arm = (delay: number): void => {
    if (closed) return;
    timer = setTimeout(look, delay);
    timer.unref();
  };
  const look = (): void => {
    renewDue().then(
      () => arm(untilDue()),
      (error: unknown) => {
        log.error({ err: error }, 'server certificate could not be renewed');
        arm(RETRY_AFTER_MS);
      },
    );
  };
  const untilDue = (): number => {
    const due = Math.min(...[...held.values()].map(({ renewAt }) => renewAt)) - now();
    return Math.min(Math.max(due, LOOK_AGAIN_MS), LOOK_EVERY_MS);
  };

  await renewDue();
  arm(untilDue());

  return {
    current: (name) => (held.get(name) as { credentials: ServerCredentials }).credentials,
    listen: (name, listener) => {
      const set = listeners.get(name) ?? new Set();
      listeners.set(name, set.add(listener));
      return () => set.delete(listener);
    },
    renewDue,
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await renewing?.catch(() => undefined); // whoever asked for it hears of it
    },
  };
}
