/**
 * The TLS context of the console's TCP listener: its own certificate, which the certificate authority replaces, and the CAs and the CRL
 * for certificates of operators, whose files are read again when they changed.
 */

import type { Logger } from 'pino';
import type { CertificateName } from './auth/certificate-name.ts';

export interface ConsoleTls {
  /** PEM. */
  readonly key: string;
  /** PEM, leaf first. */
  readonly cert: string;
}

/** PEM. With a CRL, each CA of a chain needs one. */
export interface ClientTrust {
  readonly ca: string;
  readonly crl?: string[];
}

export interface ClientCertificateOptions {
  /** Where a certificate has the name of its operator. */
  readonly name: CertificateName;
  /** The content of the files, and the same object while they are unchanged. Throws when they cannot be used. */
  readonly read: () => ClientTrust;
}

export type ConsoleTlsChange = (
  context: ConsoleTls & Partial<ClientTrust>,
  cause: 'server certificate' | 'client certificates',
) => void;

const CHECK_MS = 5_000;

export class ConsoleTlsContext {
  readonly #options: ClientCertificateOptions | undefined;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout | undefined;
  #own: ConsoleTls;
  #trust: ClientTrust | undefined;
  #isFailing = false;
  #listener: ConsoleTlsChange = () => {};

  constructor(own: ConsoleTls, options: ClientCertificateOptions | undefined, log: Logger) {
    this.#own = own;
    this.#options = options;
    this.#log = log;
    this.#trust = options?.read();
    if (options !== undefined) this.#timer = setInterval(() => this.check(), CHECK_MS).unref();
  }

  /** For `node:tls`. */
  context(): ConsoleTls & Partial<ClientTrust> {
    return { ...this.#own, ...this.#trust };
  }

  onChange(listener: ConsoleTlsChange): void {
    this.#listener = listener;
  }

  replace(own: ConsoleTls): void {
    this.#own = own;
    this.#listener(this.context(), 'server certificate');
  }

  /** Reads the files of CAs and CRL again. While they cannot be used, the former content applies. */
  check(): void {
    let next: ClientTrust | undefined;
    try {
      next = this.#options?.read();
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) this.#log.error({ err: error }, 'CAs or CRL of operator certificates could not be read');
      this.#isFailing = true;
      return;
    }
    if (next === this.#trust) return;
    this.#trust = next;
    this.#listener(this.context(), 'client certificates');
    this.#log.info('CAs and CRL of operator certificates replaced');
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
