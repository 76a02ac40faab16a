/**
 * MQTT client of one device: connects, sends queued messages, and reconnects with backoff after each loss. The outbox
 * outlives connections; the only timer is the one for the next attempt.
 */

import { backoffDelay } from './backoff.ts';
import type { ConnectionEnd } from './connection-end.ts';
import { DeviceError } from './device-error.ts';
import type { ConnectionState, DeviceLog, StateReason } from './device-state.ts';
import type { StoredIdentity } from './identity-store.ts';
import type { KeyProvider } from './key-provider.ts';
import type { MqttVersion, PacketProperties } from './mqtt-codec/index.ts';
import { MqttConnection } from './mqtt-connection.ts';
import type { NewMessage, Outbox, OutboxMessage } from './outbox.ts';
import { PacketIds } from './packet-ids.ts';
import { type MqttVersionChoice, ProtocolVersions } from './protocol-versions.ts';
import type { Receipt } from './receipt.ts';
import { type Schedule, uptime } from './schedule.ts';
import type { ServerLimits } from './server-limits.ts';
import type { ValidityTime } from './server-verification.ts';
import type { TrustedRoots } from './trust-bundle.ts';

export interface MqttClientOptions {
  readonly identity: StoredIdentity;
  readonly keys?: KeyProvider | undefined;
  /** In place of the identity's own; one after the other. */
  readonly mqttUrls: readonly string[] | undefined;
  readonly mqttVersion: MqttVersionChoice;
  /** The time for the validity check of brokers. */
  readonly dates: () => ValidityTime;
  /** Requests the time from the enroll server when a broker's certificate is not valid by the system's clock. */
  readonly learnTime: () => Promise<void>;
  readonly clean: boolean;
  /** Seconds. */
  readonly sessionExpiry: number;
  readonly keepalive: number;
  readonly outbox: Outbox;
  readonly log: DeviceLog;
  readonly now: () => number;
  readonly random: () => number;
  readonly schedule: Schedule;
}

export interface MqttClientListener {
  changed(state: ConnectionState, error: DeviceError | undefined, reason: StateReason): void;
  /** A message was given up, because the broker refused it. */
  refused(topic: string, error: DeviceError): void;
  /** As {@link MqttConnectionListener.message}. */
  message(topic: string, payload: Buffer, properties: PacketProperties | undefined): Promise<void> | undefined;
}

/** A new certificate in its first connection attempts. */
interface Trial {
  readonly previous: StoredIdentity;
  failures: number;
  readonly resolve: () => void;
  readonly reject: (error: DeviceError) => void;
}

/** Failed attempts after which a new certificate is discarded. */
const TRIAL_FAILURES_MAX = 3;

/** A connection of this duration is stable: the next loss starts the backoff anew. Milliseconds. */
const LASTING_MS = 30_000;
const CONNECT_TIMEOUT_MS = 20_000;
/** A broker that stores messages answers within seconds, or within half a minute when its disk is busy. */
const ACK_TIMEOUT_MS = 60_000;

export class MqttClient {
  readonly #options: MqttClientOptions;
  readonly #listener: MqttClientListener;
  readonly #outbox: Outbox;
  readonly #packetIds = new PacketIds();
  #identity: StoredIdentity;
  #connection: MqttConnection | undefined;
  readonly #filters = new Set<string>();
  #urlIndex = 0;
  readonly #versions: ProtocolVersions;
  #cancelRetry: (() => void) | undefined;
  #failedTries = 0;
  #connectedAt: number | undefined;
  #version: MqttVersion | undefined;
  #trial: Trial | undefined;
  #isClosed = false;

  constructor(options: MqttClientOptions, listener: MqttClientListener) {
    this.#options = options;
    this.#listener = listener;
    this.#outbox = options.outbox;
    this.#outbox.onReady(() => this.#sendWaiting());
    this.#identity = options.identity;
    this.#versions = new ProtocolVersions(options.mqttVersion, uptime);
  }

  /** Of the last connection that the broker accepted; undefined before. */
  get version(): MqttVersion | undefined {
    return this.#version;
  }

  start(): void {
    this.#connect();
  }

  /** As {@link Outbox.add}; sent at once if there is a connection. */
  publish(message: NewMessage): Promise<Receipt> {
    const safe = this.#outbox.add(message);
    this.#sendWaiting();
    return safe;
  }

  /** Subscribes now if there is a connection, and at the start of each later one. */
  subscribe(...filters: readonly string[]): void {
    const added = filters.filter((filter) => !this.#filters.has(filter));
    for (const filter of added) this.#filters.add(filter);
    if (this.#connectedAt !== undefined) this.#subscribe(added);
  }

  /**
   * Ends the current connection and tries another certificate: resolves when the broker has accepted it. When it is
   * refused, or doesn't get through a few times, the device goes on with the one before, and this rejects.
   */
  async useIdentity(identity: StoredIdentity): Promise<void> {
    if (this.#isClosed) throw new DeviceError('closed');
    const proof = new Promise<void>((resolve, reject) => {
      this.#trial = { previous: this.#identity, failures: 0, resolve, reject };
    });
    proof.catch(() => {}); // it may fail while the old connection ends, before anybody listens
    await this.replaceIdentity(identity);
    return proof;
  }

  /** As {@link useIdentity}, without a way back to the previous identity. Resolves when the next attempt has started. */
  async replaceIdentity(identity: StoredIdentity): Promise<void> {
    this.#identity = identity;
    await this.#disconnect();
    if (this.#isClosed) return;
    this.#failedTries = 0;
    this.#connect();
  }

  /** Applies the roots from the next connection on; the current server is already verified. */
  setTrustedRoots(trusted: Required<TrustedRoots>): void {
    this.#identity = { ...this.#identity, ...trusted };
  }

  /** Disconnects and does not reconnect until the identity is replaced. Messages stay queued. */
  pause(): Promise<void> {
    return this.#disconnect();
  }

  /** Idempotent. What is not acknowledged by now fails with `closed`. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#endTrial(new DeviceError('closed'));
    const closed = this.#outbox.close();
    await this.#disconnect();
    await closed;
  }

  async #disconnect(): Promise<void> {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    this.#connectedAt = undefined;
    this.#outbox.connectionLost();
    await connection?.close();
  }

  #connect(): void {
    this.#cancelRetry = undefined;
    this.#packetIds.keepOnly(this.#outbox.reservedIds());
    const { keys, dates, clean, sessionExpiry, keepalive } = this.#options;
    const mqttUrl = this.#url();
    const version = this.#versions.versionFor(mqttUrl);
    this.#connection = new MqttConnection(
      {
        ...{ identity: this.#identity, keys, mqttUrl, version, dates: dates(), packetIds: this.#packetIds },
        ...{ clean, sessionExpiry, keepalive, connectTimeout: CONNECT_TIMEOUT_MS, ackTimeout: ACK_TIMEOUT_MS },
      },
      {
        connected: (limits) => {
          this.#versions.accepted(mqttUrl, version);
          this.#connected(version, limits);
        },
        message: (topic, payload, properties) => this.#listener.message(topic, payload, properties),
        ended: (end) => {
          if (end.isUnanswered) this.#versions.closedBeforeConnack(mqttUrl, version);
          if (end.kind === 'version' && this.#versions.isAutomatic) this.#speakOlder(mqttUrl);
          else this.#ended(end);
        },
      },
    );
    this.#listener.changed('connecting', undefined, this.#failedTries === 0 ? 'first try' : 'next try');
  }

  /** The broker answered, so the next attempt need not wait. */
  #speakOlder(mqttUrl: string): void {
    this.#versions.refused(mqttUrl);
    this.#options.log.info({ device: this.#identity.deviceId, broker: mqttUrl }, 'the broker does not know MQTT 5');
    this.#connection = undefined;
    this.#connect();
  }

  #connected(version: MqttVersion, limits: ServerLimits): void {
    this.#connectedAt = this.#options.now();
    this.#version = version;
    this.#endTrial(undefined);
    const mqtt = version === 5 ? '5' : '3.1.1';
    this.#options.log.info({ device: this.#identity.deviceId, mqtt }, 'connected');
    this.#outbox.connectionOpened(limits.receiveMaximum);
    this.#listener.changed('connected', undefined, 'accepted');
    this.#sendWaiting();
    this.#subscribe([...this.#filters]);
  }

  #ended(end: ConnectionEnd): void {
    const { log, now, random, schedule } = this.#options;
    if (this.#connectedAt === undefined) this.#urlIndex += 1; // continue with the next broker URL
    const lasted = this.#connectedAt === undefined ? 0 : now() - this.#connectedAt;
    if (lasted >= LASTING_MS) this.#failedTries = 0;
    this.#connection = undefined;
    this.#connectedAt = undefined;
    this.#outbox.connectionLost();
    if (this.#failedTrial(end)) {
      this.#connect();
      return;
    }
    const wait = backoffDelay({ kind: end.waitsLong ? 'refused' : 'lost', earlier: this.#failedTries }, random);
    this.#failedTries += 1;
    this.#cancelRetry = schedule(wait, () => this.#connect());
    if (end.kind === 'invalid dates') this.#correctClock();
    const { code, message, serverReason } = end.error;
    const fields = { device: this.#identity.deviceId, code, serverReason, reason: message, wait };
    const reason = end.kind === 'lost' ? 'connection lost' : 'connection refused';
    log.warn(fields, reason);
    this.#listener.changed('recovering', end.error, reason);
  }

  /** Returns to the previous certificate when the new one was not accepted. */
  #failedTrial(end: ConnectionEnd): boolean {
    const trial = this.#trial;
    if (trial === undefined) return false;
    trial.failures += 1;
    if (end.kind === 'lost' && trial.failures < TRIAL_FAILURES_MAX) return false;
    this.#identity = trial.previous;
    this.#endTrial(end.error);
    return true;
  }

  #endTrial(error: DeviceError | undefined): void {
    const trial = this.#trial;
    this.#trial = undefined;
    if (error === undefined) trial?.resolve();
    else trial?.reject(error);
  }

  #sendWaiting(): void {
    const connection = this.#connection;
    if (connection === undefined || this.#connectedAt === undefined) return;
    for (let message = this.#outbox.next(); message !== undefined; message = this.#outbox.next()) {
      const sent = message;
      const refusal = connection.refusalOf(sent);
      if (refusal !== undefined) {
        this.#refused(sent, refusal);
        continue;
      }
      connection.send(sent, (refused) => {
        if (this.#connection !== connection) return;
        const isSettled = refused === undefined ? this.#outbox.settle(sent) : this.#refused(sent, refused);
        if (isSettled) this.#sendWaiting();
      });
    }
  }

  #refused(message: OutboxMessage, error: DeviceError): boolean {
    if (!this.#outbox.refuse(message, error)) return false;
    const { device, topic } = { device: this.#identity.deviceId, topic: message.topic };
    const { code, serverReason, message: reason } = error;
    this.#options.log.warn({ device, topic, code, serverReason, reason }, 'message refused');
    this.#listener.refused(topic, error);
    return true;
  }

  /** Reconnects at once when the corrected time may make the broker's certificate valid. */
  #correctClock(): void {
    const cancel = this.#cancelRetry;
    this.#options.learnTime().then(
      () => {
        if (this.#isClosed || this.#cancelRetry !== cancel || this.#options.dates() === 'system') return;
        cancel?.();
        this.#connect();
      },
      (error: DeviceError) => {
        this.#options.log.warn({ code: error.code, reason: error.message }, 'the time of the server could not be read');
      },
    );
  }

  #url(): string {
    const urls = this.#options.mqttUrls ?? [this.#identity.mqttUrl];
    return urls[this.#urlIndex % urls.length] as string;
  }

  #subscribe(filters: readonly string[]): void {
    if (filters.length === 0) return;
    this.#connection?.subscribe(filters, (filter, reason) => {
      this.#options.log.warn({ device: this.#identity.deviceId, filter, reason }, 'subscription refused');
    });
  }
}
