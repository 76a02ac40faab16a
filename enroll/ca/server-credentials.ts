/**
 * The certificates of our own listeners: issued by the same authority, recorded before they are used, renewed by
 * themselves at two thirds of their life. Their keys live in this process only, so a restart makes new ones. A listener
 * whose certificate somebody else issues has it from files (`credential-files.ts`).
 */

import { generateKeyPairSync } from 'node:crypto';
import type { Logger } from 'pino';
import type { IssuedCertificate } from '../../registry/index.ts';
import { exportSpki } from '../x509/profile.ts';
import { type CredentialFiles, type CredentialPair, watchCredentialFiles } from './credential-files.ts';

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

export interface ServerCredentialStore {
  current(name: ServerName): ServerCredentials;
  /** Called with each certificate that replaces the current one. Returns the way to unsubscribe. */
  onChange(name: ServerName, listener: (credentials: ServerCredentials) => void): () => void;
  /** New certificates for all, from the CA that signs now. */
  reissue(): Promise<void>;
  /** The same certificates, with the trust bundle of now. */
  trustChanged(): void;
  /** Why a listener goes on with an older certificate than its files hold, by listener. */
  fileErrors(): Readonly<Partial<Record<ServerName, string>>>;
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

export async function openServerCredentials(options: {
  /** Issues and records a server certificate. */
  readonly issue: (name: ServerName, publicKeySpki: Buffer) => Promise<IssuedCertificate>;
  /** PEM of a leaf's chain. */
  readonly chain: (der: Uint8Array) => string;
  readonly trustBundle: () => string;
  readonly files: Partial<Record<ServerName, CredentialFiles>>;
  readonly now: () => number;
  readonly log: Logger;
}): Promise<ServerCredentialStore> {
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
      ca: options.trustBundle(),
      notAfter: certificate.notAfter,
    };
    const { serial, notBefore, notAfter } = certificate;
    held.set(name, { credentials, renewAt: notBefore + (notAfter - notBefore) * RENEW_AT });
    log.info({ server: name, serial, notAfter: new Date(notAfter).toISOString() }, 'server certificate issued');
    tell(name, credentials);
  };

  const tell = (name: ServerName, credentials: ServerCredentials): void => {
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
      if (watched.has(name)) continue;
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

  const trustChanged = (): void => {
    for (const [name, { credentials, renewAt }] of held) {
      const fresh = { ...credentials, ca: options.trustBundle() };
      held.set(name, { credentials: fresh, renewAt });
      tell(name, fresh);
    }
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
    const due = Math.min(...[...held.values()].map(({ renewAt }) => renewAt), Number.MAX_SAFE_INTEGER) - now();
    return Math.min(Math.max(due, LOOK_AGAIN_MS), LOOK_EVERY_MS);
  };

  const watched = new Map<ServerName, { fault(): string | undefined; close(): void }>();
  for (const name of SERVER_NAMES) {
    const files = options.files[name];
    if (files === undefined) continue;
    const adopt = ({ key, cert, notAfter }: CredentialPair): void => {
      const credentials: ServerCredentials = { key, cert, ca: options.trustBundle(), notAfter };
      held.set(name, { credentials, renewAt: Number.MAX_SAFE_INTEGER });
      log.info({ server: name, notAfter: new Date(notAfter).toISOString() }, 'server certificate read from its files');
      tell(name, credentials);
    };
    watched.set(name, await watchCredentialFiles(files, { name, adopt, now, log }));
  }
  await renewDue();
  arm(untilDue());

  return {
    current: (name) => (held.get(name) as { credentials: ServerCredentials }).credentials,
    onChange: (name, listener) => {
      const set = listeners.get(name) ?? new Set();
      listeners.set(name, set.add(listener));
      return () => set.delete(listener);
    },
    renewDue,
    reissue: async () => {
      await renewing?.catch(() => undefined);
      for (const [name, { credentials }] of held) {
        if (!watched.has(name)) held.set(name, { credentials, renewAt: 0 });
      }
      await renewDue();
      if (watched.size > 0) trustChanged();
    },
    trustChanged: () => trustChanged(),
    fileErrors: () =>
      Object.fromEntries(
        [...watched].map(([name, files]) => [name, files.fault()]).filter(([, fault]) => fault !== undefined),
      ),
    close: async () => {
      closed = true;
      for (const files of watched.values()) files.close();
      clearTimeout(timer);
      await renewing?.catch(() => undefined); // whoever asked for it hears of it
    },
  };
}
