/**
 * The certificates of this server's own listeners. The authority issues and records them, and renews them at two thirds of
 * their validity. Their keys exist in this process only, so a restart creates new ones. A listener whose certificate
 * another CA issues reads it from files (`credential-files.ts`).
 */

import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { Logger } from 'pino';
import type { IssuedCertificate } from '../../registry/index.ts';
import { certificateSerial } from '../x509/certificate-check.ts';
import { pem } from '../x509/pem.ts';
import { exportSpki } from '../x509/profile.ts';
import { ChangeListeners } from './change-listeners.ts';
import {
  type CredentialFiles,
  type CredentialPair,
  type WatchedFiles,
  watchCredentialFiles,
} from './credential-files.ts';
import type { TrustBundle } from './trust-bundle.ts';

export const SERVER_NAMES = ['enroll', 'broker', 'console'] as const;
export type ServerName = (typeof SERVER_NAMES)[number];

/** The options of `node:tls`, PEM. */
export interface ServerCredentials {
  readonly key: string;
  /** Chain, leaf first, without the root. */
  readonly cert: string;
  /** The trust bundle that client certificates are verified against. */
  readonly ca: string;
  readonly notAfter: number;
}

/** Times are milliseconds since the epoch. */
export interface ListenerCertificate {
  readonly name: ServerName;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Path of the certificate; undefined for one that the authority issued. */
  readonly file: string | undefined;
}

export interface ServerCertificates {
  current(name: ServerName): ServerCredentials;
  /** The certificate of each listener that is in use. */
  list(): readonly ListenerCertificate[];
  /** Called with each certificate that replaces the current one. Returns the function that unsubscribes. */
  onChange(name: ServerName, listener: (credentials: ServerCredentials) => void): () => void;
  /** Why a listener still uses an older certificate than its files contain, by listener. */
  fileErrors(): Readonly<Partial<Record<ServerName, string>>>;
  /** Looks at the files of all listeners now. A pair that cannot be used is logged and ignored. */
  readFiles(): Promise<void>;
  /** Renews the certificates that are due; the timer calls it. */
  renewDue(): Promise<void>;
}

export interface OwnServerCertificates extends ServerCertificates {
  /** Issues every certificate again, with the CA that signs now. */
  reissue(): Promise<void>;
  /** Keeps the certificates, with the current trust bundle. */
  applyTrust(): void;
  /** Resolves when no work that uses the registry is left. */
  close(): Promise<void>;
}

/** Of another node. */
export interface ObtainedCertificate {
  /** PEM. */
  readonly key: string;
  readonly certificate: X509Certificate;
}

export interface ServerCertificatesOptions {
  /** Issues and records a server certificate. */
  readonly issue: (name: ServerName, publicKeySpki: Buffer) => Promise<IssuedCertificate>;
  /** In place of `issue`: another node issues certificates of these servers, and there are no others. */
  readonly remote?:
    | { readonly servers: readonly ServerName[]; obtain(name: ServerName): Promise<ObtainedCertificate> }
    | undefined;
  readonly trust: Pick<TrustBundle, 'chainPem' | 'chainOf' | 'pem'>;
  readonly files: Partial<Record<ServerName, CredentialFiles>>;
  readonly now: () => number;
  readonly log: Logger;
}

const RENEW_AT = 2 / 3;
/** The longest wait: it bounds the effect of a clock that jumps, and stays below the 2^31 ms of a timer. */
const CHECK_EVERY_MS = 3600 * 1000;
const RETRY_AFTER_MS = 60 * 1000;
/** The shortest wait, however short the validity is configured. */
const CHECK_AGAIN_MS = 1000;
/** Certificates from files are renewed by the program that writes the files. */
const NEVER = Number.MAX_SAFE_INTEGER;

/** Throws Problem `config_invalid` when certificate files cannot be used. */
export async function openServerCertificates(options: ServerCertificatesOptions): Promise<OwnServerCertificates> {
  const certificates = new ServerCertificateSet(options);
  await certificates.open();
  return certificates;
}

class ServerCertificateSet implements OwnServerCertificates {
  readonly #options: ServerCertificatesOptions;
  readonly #current = new Map<ServerName, { readonly credentials: ServerCredentials; readonly renewAt: number }>();
  readonly #listeners = new Map<ServerName, ChangeListeners<ServerCredentials>>();
  readonly #watched = new Map<ServerName, WatchedFiles>();
  #renewing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ServerCertificatesOptions) {
    this.#options = options;
    for (const name of SERVER_NAMES) {
      const failure = 'server certificate could not be applied';
      this.#listeners.set(name, new ChangeListeners(options.log, failure, { server: name }));
    }
  }

  async open(): Promise<void> {
    const { files, now, log } = this.#options;
    for (const name of this.#names) {
      if (files[name] === undefined) continue;
      const onPair = (pair: CredentialPair) => this.#useFiles(name, pair);
      this.#watched.set(name, await watchCredentialFiles(files[name], { name, onPair, now, log }));
    }
    await this.renewDue();
    this.#schedule(this.#untilDue());
  }

  current(name: ServerName): ServerCredentials {
    return (this.#current.get(name) as { credentials: ServerCredentials }).credentials;
  }

  list(): readonly ListenerCertificate[] {
    return [...this.#current].map(([name, { credentials }]) => {
      const leaf = new X509Certificate(credentials.cert);
      return {
        name,
        serial: certificateSerial(leaf.raw),
        notBefore: leaf.validFromDate.getTime(),
        notAfter: credentials.notAfter,
        file: this.#options.files[name]?.cert,
      };
    });
  }

  onChange(name: ServerName, listener: (credentials: ServerCredentials) => void): () => void {
    return (this.#listeners.get(name) as ChangeListeners<ServerCredentials>).add(listener);
  }

  fileErrors(): Readonly<Partial<Record<ServerName, string>>> {
    const errors = [...this.#watched].map(([name, files]) => [name, files.error()] as const);
    return Object.fromEntries(errors.filter(([, error]) => error !== undefined));
  }

  async readFiles(): Promise<void> {
    for (const [name, files] of this.#watched) {
      await files.check().catch((error: unknown) => {
        this.#options.log.error({ server: name, err: error }, 'server certificate could not be read');
      });
    }
  }

  /** The timer and a caller share one renewal. */
  renewDue(): Promise<void> {
    this.#renewing ??= this.#renewEachDue().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async reissue(): Promise<void> {
    await this.#renewing?.catch(() => undefined);
    for (const [name, { credentials }] of this.#current) {
      if (!this.#watched.has(name)) this.#current.set(name, { credentials, renewAt: 0 });
    }
    await this.renewDue();
    if (this.#watched.size > 0) this.applyTrust();
  }

  applyTrust(): void {
    const ca = this.#options.trust.pem;
    for (const [name, { credentials, renewAt }] of this.#current) this.#use(name, { ...credentials, ca }, renewAt);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const files of this.#watched.values()) files.close();
    clearTimeout(this.#timer);
    await this.#renewing?.catch(() => undefined); // the caller that started it receives the error
  }

  async #renewEachDue(): Promise<void> {
    for (const name of this.#names) {
      if (this.#watched.has(name)) continue;
      if (this.#options.now() >= (this.#current.get(name)?.renewAt ?? 0)) await this.#issue(name);
    }
  }

  get #names(): readonly ServerName[] {
    return this.#options.remote?.servers ?? SERVER_NAMES;
  }

  async #issue(name: ServerName): Promise<void> {
    const { trust, remote, log } = this.#options;
    if (remote !== undefined) {
      const { key, certificate } = await remote.obtain(name);
      const [from, notAfter] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
      log.info({ server: name, notAfter: certificate.validTo }, 'server certificate of another node is used');
      const cert = certificate.toString() + trust.chainPem;
      this.#use(name, { key, cert, ca: trust.pem, notAfter }, from + (notAfter - from) * RENEW_AT);
      return;
    }
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const issued = await this.#options.issue(name, exportSpki(publicKey));
    const { der, serial, notBefore, notAfter, issuerId } = issued;
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const credentials = { key, cert: pem(der) + trust.chainOf(issuerId), ca: trust.pem, notAfter };
    log.info({ server: name, serial, notAfter: new Date(notAfter).toISOString() }, 'server certificate issued');
    this.#use(name, credentials, notBefore + (notAfter - notBefore) * RENEW_AT);
  }

  #useFiles(name: ServerName, { key, cert, notAfter }: CredentialPair): void {
    const { trust, log } = this.#options;
    log.info({ server: name, notAfter: new Date(notAfter).toISOString() }, 'server certificate read from its files');
    this.#use(name, { key, cert, ca: trust.pem, notAfter }, NEVER);
  }

  #use(name: ServerName, credentials: ServerCredentials, renewAt: number): void {
    this.#current.set(name, { credentials, renewAt });
    void this.#listeners.get(name)?.notify(credentials);
  }

  #schedule(delay: number): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => this.#check(), delay);
    this.#timer.unref();
  }

  #check(): void {
    this.renewDue().then(
      () => this.#schedule(this.#untilDue()),
      (error: unknown) => {
        this.#options.log.error({ err: error }, 'server certificate could not be renewed');
        this.#schedule(RETRY_AFTER_MS);
      },
    );
  }

  #untilDue(): number {
    const due = Math.min(...[...this.#current.values()].map(({ renewAt }) => renewAt), NEVER) - this.#options.now();
    return Math.min(Math.max(due, CHECK_AGAIN_MS), CHECK_EVERY_MS);
  }
}
