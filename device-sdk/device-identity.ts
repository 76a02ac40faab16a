import { addressOptions, type DeviceId, parseDecimal, urlHost } from '@rollcall/protocol';
import { CredentialRenewer } from './credential-renewer.ts';
import { asDeviceError, type DeviceError } from './device-error.ts';
import { type DeviceLog, SILENT_LOG } from './device-state.ts';
import { checkedMqttUrls, type EnrollmentOptions, enrollOnce } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import type { IdentityStore, StoredIdentity } from './identity-store.ts';
import { pemKeys, type TlsKey } from './key-provider.ts';
import { Listeners } from './listeners.ts';
import type { Schedule } from './schedule.ts';

/** What `DeviceIdentity.open` takes, beside the place of the identity. */
export interface DeviceIdentitySettings extends Omit<EnrollmentOptions, 'clock'> {
  /** Called when the server refuses this device for good: it was revoked. Another bootstrap token lets it in again. */
  readonly onRefused?: (error: DeviceError) => void;
  /** A pino logger, or anything with its `debug`, `info` and `warn`. Default: silence. */
  readonly log?: DeviceLog;
  /** Clock, in milliseconds since 1970. */
  readonly now?: () => number;
  /** Numbers from 0 up to but not including 1, for jitter. */
  readonly random?: () => number;
  /** Timers of the renewal. */
  readonly schedule?: Schedule;
}

/** Either a directory of the device's own (created with mode 0700), or a store. */
export type DeviceIdentityOptions = DeviceIdentitySettings &
  (
    | { readonly dataDir: string; readonly store?: undefined }
    | { readonly store: IdentityStore; readonly dataDir?: undefined }
  );

/**
 * Options of an MQTT client over TLS, as `mqtt.connect` and `tls.connect` take them: address, client id, identity and trust. A snapshot:
 * a renewal changes none of it.
 */
export type MqttTlsOptions = TlsKey & {
  readonly protocol: 'mqtts';
  readonly host: string;
  readonly port: number;
  /** The device id: the broker takes no other one. */
  readonly clientId: string;
  /** PEM, leaf first. */
  readonly cert: string;
  /** PEM of the fleet's roots. */
  readonly ca: string;
  readonly rejectUnauthorized: true;
};

/** The part of a client of the npm library mqtt that {@link DeviceIdentity.keepCurrent} uses. */
export interface ReconnectingClient {
  readonly options: object;
  readonly connected: boolean;
  readonly stream: { end(): unknown };
}

/**
 * The identity of a device whose application has an MQTT client of its own: it enrolls, and renews the certificate, and connects to no broker. A
 * device has one client id, so an application uses either this or `Device`.
 */
export class DeviceIdentity {
  readonly id: DeviceId;
  readonly #options: DeviceIdentityOptions;
  readonly #renewer: CredentialRenewer<StoredIdentity>;
  readonly #renewed = new Listeners<[]>();

  /**
   * Enrolls if there is no identity yet, and begins to renew it when it is due. Rejects with a {@link DeviceError} when there is no identity and none
   * can be had.
   */
  static async open(options: DeviceIdentityOptions): Promise<DeviceIdentity> {
    const store = options.store ?? fileIdentityStore(options.dataDir);
    const identity = new DeviceIdentity(options, store, await enrollOnce(store, options));
    identity.#renewer.start();
    return identity;
  }

  private constructor(options: DeviceIdentityOptions, store: IdentityStore, identity: StoredIdentity) {
    const { keys, log = SILENT_LOG, now = Date.now, random = Math.random, schedule, onRefused } = options;
    this.id = identity.deviceId;
    this.#options = options;
    this.#renewer = new CredentialRenewer({
      ...{ store, identity, keys, log, now, random },
      ...(schedule !== undefined && { schedule }),
      onRenewed: () => this.#renewed.notify(),
      onRefused: (error) => onRefused?.(error),
    });
  }

  /**
   * What a stock MQTT client needs for its next connection. `more` is added: options of the client's own, such as `clean` or `will`. Keys of an
   * external key store are named by engine and identifier in place of `key`.
   */
  mqttOptions<More extends object = object>(more?: More): MqttTlsOptions & More {
    const { keyPem, certificatePem, rootPem, mqttUrl: stored } = this.#renewer.identity;
    const mqttUrl = checkedMqttUrls(this.#options.mqttUrl)?.[0] ?? stored;
    const host = urlHost(mqttUrl);
    return {
      protocol: 'mqtts',
      host,
      port: parseDecimal(new URL(mqttUrl).port, 1, 65_535) ?? MQTTS_PORT,
      clientId: this.id,
      cert: certificatePem,
      ...(this.#options.keys ?? pemKeys).tls(keyPem),
      ca: rootPem,
      rejectUnauthorized: true,
      ...addressOptions(host),
      ...(more as More),
    };
  }

  /** Calls back after each renewal, until the returned function is called. The new pair is on disk, and the next `mqttOptions()` has it. */
  onRenewed(listener: () => void): () => void {
    return this.#renewed.add(listener);
  }

  /**
   * Gives a client of the npm library mqtt the new options after each renewal, and ends its connection, so that it connects again by itself; until the
   * returned function is called. With a persistent session (`clean: false`) no message is lost: the client sends again what was not acknowledged.
   */
  keepCurrent(client: ReconnectingClient): () => void {
    return this.onRenewed(() => {
      Object.assign(client.options, this.mqttOptions());
      if (client.connected) client.stream.end();
    });
  }

  /** Renews now. Two calls at one time are one renewal. Rejects with a {@link DeviceError}. */
  async renew(): Promise<void> {
    try {
      await this.#renewer.renew();
    } catch (error) {
      throw asDeviceError(error, 'internal');
    }
  }

  /** Ends the renewal and leaves no timer behind. Idempotent; clients stay connected. */
  close(): Promise<void> {
    this.#renewed.clear();
    return this.#renewer.close();
  }
}

const MQTTS_PORT = 8883;
