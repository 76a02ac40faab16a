/**
 * The current credentials of a running service. It renews them itself, or reads them again after another program, such as
 * `rollcall service renew`, has replaced them.
 */

import {
  asDeviceError,
  CredentialRenewer,
  type DeviceLog,
  type Schedule,
  validityOf,
} from '@rollcall/device-sdk/building-blocks';
import { openServiceDirectory, type ServiceDirectory } from './service-directory.ts';
import { asServiceError, type ServiceError } from './service-error.ts';
import type { ServiceIdentity } from './service-identity.ts';

export interface ServiceCredentialsOptions {
  readonly directory: string;
  readonly renewal: 'automatic' | 'external';
  readonly log: DeviceLog;
  readonly now: () => number;
  readonly random: () => number;
  readonly schedule: Schedule;
  /** Called with the new identity; it is on disk. */
  readonly onChanged: (identity: ServiceIdentity) => void;
  readonly onError: (error: ServiceError) => void;
}

/** How often the directory is read again, as a part of the certificate's life, and at least: milliseconds. */
const READS_PER_LIFE = 100;
const READ_AT_LEAST_MS = 3_600_000;

export class ServiceCredentials {
  readonly #options: ServiceCredentialsOptions;
  readonly #renewer: CredentialRenewer<ServiceIdentity>;
  #identity: ServiceIdentity;
  #cancel: (() => void) | undefined;
  #isClosed = false;

  private constructor(options: ServiceCredentialsOptions, { store, identity }: ServiceDirectory) {
    const { log, now, random, schedule, onError } = options;
    this.#options = options;
    this.#identity = identity;
    this.#renewer = new CredentialRenewer({
      ...{ store, identity, log, now, random, schedule },
      onRenewed: (next) => this.#adopt(next),
      onRefused: (error) => onError(asServiceError(error, 'renewal_refused')),
    });
  }

  /** Rejects with a ServiceError `credentials_unusable`. */
  static async open(options: ServiceCredentialsOptions): Promise<ServiceCredentials> {
    try {
      return new ServiceCredentials(options, await openServiceDirectory(options.directory));
    } catch (thrown) {
      throw asServiceError(asDeviceError(thrown, 'identity_unusable'), 'credentials_unusable');
    }
  }

  get current(): ServiceIdentity {
    return this.#identity;
  }

  get certificateEnd(): Date {
    return new Date(validityOf(this.#identity.certificatePem).notAfter);
  }

  start(): void {
    if (this.#options.renewal === 'automatic') this.#renewer.start();
    else this.#waitToRead();
  }

  /** Rejects with a ServiceError `renewal_failed`. */
  async renew(): Promise<void> {
    try {
      await this.#renewer.renew();
    } catch (thrown) {
      throw asServiceError(asDeviceError(thrown, 'internal'), 'renewal_failed');
    }
  }

  /** Looks for new roots, because a server was not trusted; in vain when the server is none of this fleet. */
  async followRoots(): Promise<void> {
    const { log } = this.#options;
    if (this.#options.renewal === 'external') return this.#read();
    const hasChanged = await this.#renewer.followRoots().catch((thrown: unknown) => {
      log.debug({ code: asDeviceError(thrown, 'internal').code }, 'no other root was found');
      return false;
    });
    if (hasChanged) this.#adopt(this.#renewer.identity);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel?.();
    await this.#renewer.close();
  }

  #adopt(identity: ServiceIdentity): void {
    this.#identity = identity;
    this.#options.onChanged(identity);
  }

  #waitToRead(): void {
    const { notBefore, notAfter } = validityOf(this.#identity.certificatePem);
    const wait = Math.min((notAfter - notBefore) / READS_PER_LIFE, READ_AT_LEAST_MS);
    this.#cancel = this.#options.schedule(Math.ceil(wait), () => {
      void this.#read().finally(() => {
        if (!this.#isClosed) this.#waitToRead();
      });
    });
  }

  /** A pair that is being replaced does not fit together for a moment: the next time it does. */
  async #read(): Promise<void> {
    try {
      const { identity } = await openServiceDirectory(this.#options.directory);
      const { certificatePem, rootPem } = this.#identity;
      if (identity.certificatePem !== certificatePem || identity.rootPem !== rootPem) this.#adopt(identity);
    } catch (thrown) {
      const { code, message } = asDeviceError(thrown, 'identity_unusable');
      this.#options.log.warn({ code, reason: message }, 'credentials not read again');
    }
  }
}
