/**
 * Keeps one device connected: connects, sends what waits, and after each loss waits with jitter and connects again.
 * The outbox outlives connections; the only timer is the one until the next try.
 */

import { backoffDelay } from './backoff.ts';
import { Connection, type ConnectionEnd } from './connection.ts';
import { DeviceError } from './device-error.ts';
import type { DeviceLog, LinkState, StateReason } from './device-state.ts';
import type { StoredIdentity } from './identity-store.ts';
import type { NewMessage, Outbox } from './outbox.ts';
import { PacketIds } from './packet-ids.ts';
import type { Receipt } from './receipt.ts';
import type { Schedule } from './schedule.ts';

export interface UplinkOptions {
  readonly identity: StoredIdentity;
  /** In place of the identity's own. */
  readonly mqttUrl: string | undefined;
  readonly clean: boolean;
  readonly keepalive: number;
  readonly outbox: Outbox;
  readonly log: DeviceLog;
  readonly now: () => number;
  readonly random: () => number;
  readonly schedule: Schedule;
}

export interface UplinkListener {
  changed(state: LinkState, error: DeviceError | undefined, reason: StateReason): void;
  message(topic: string, payload: Buffer): void;
}

/** A new certificate that has to prove itself. */
interface Trial {
  readonly previous: StoredIdentity;
  failures: number;
  readonly resolve: () => void;
  readonly reject: (error: DeviceError) => void;
}

/** Tries without an answer after which a new certificate is put aside. */
const TRIAL_FAILURES_MAX = 3;

/** A connection that held this long was a good one: the next loss starts counting from zero. Milliseconds. */
const LASTING_MS = 30_000;
const CONNECT_TIMEOUT_MS = 20_000;

export class Uplink {
  readonly #options: UplinkOptions;
  readonly #listener: UplinkListener;
  readonly #outbox: Outbox;
  readonly #packetIds = new PacketIds();
  #identity: StoredIdentity;
  #connection: Connection | undefined;
  #filter: string | undefined;
  #cancelRetry: (() => void) | undefined;
  #failedTries = 0;
  #connectedAt: number | undefined;
  #trial: Trial | undefined;
  #isClosed = false;

  constructor(options: UplinkOptions, listener: UplinkListener) {
    this.#options = options;
    this.#listener = listener;
    this.#outbox = options.outbox;
    this.#outbox.watch(() => this.#pump());
    this.#identity = options.identity;
  }

  start(): void {
    this.#connect();
  }

  /** As {@link Outbox.add}; sent at once if there is a connection. */
  publish(message: NewMessage): Promise<Receipt> {
    const safe = this.#outbox.add(message);
    this.#pump();
    return safe;
  }

  /** Subscribes now if there is a connection, and at the start of each later one. */
  listenOn(filter: string): void {
    if (this.#filter === filter) return;
    this.#filter = filter;
    if (this.#connectedAt !== undefined) this.#subscribe();
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

  /** As {@link useIdentity}, with no way back: the one before is worth nothing. Resolves when the next try is under way. */
  async replaceIdentity(identity: StoredIdentity): Promise<void> {
    this.#identity = identity;
    await this.#hangUp();
    if (this.#isClosed) return;
    this.#failedTries = 0;
    this.#connect();
  }

  /** Ends the connection and makes no other, until there is another identity. What waits goes on waiting. */
  rest(): Promise<void> {
    return this.#hangUp();
  }

  /** Idempotent. What is not acknowledged by now fails with `closed`. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#endTrial(new DeviceError('closed'));
    const closed = this.#outbox.close();
    await this.#hangUp();
    await closed;
  }

  async #hangUp(): Promise<void> {
    this.#cancelRetry?.();
    const connection = this.#connection;
    this.#connection = undefined;
    this.#connectedAt = undefined;
    this.#outbox.takeBack();
    await connection?.close();
  }

  #connect(): void {
    this.#packetIds.keepOnly(this.#outbox.reservedIds());
    this.#connection = new Connection(
      {
        identity: this.#identity,
        mqttUrl: this.#options.mqttUrl ?? this.#identity.mqttUrl,
        packetIds: this.#packetIds,
        clean: this.#options.clean,
        keepalive: this.#options.keepalive,
        connectTimeout: CONNECT_TIMEOUT_MS,
      },
      {
        connected: () => this.#connected(),
        message: (topic, payload) => this.#listener.message(topic, payload),
        ended: (end) => this.#ended(end),
      },
    );
    this.#listener.changed('connecting', undefined, this.#failedTries === 0 ? 'first try' : 'next try');
  }

  #connected(): void {
    this.#connectedAt = this.#options.now();
    this.#endTrial(undefined);
    this.#options.log.info({ device: this.#identity.deviceId }, 'connected');
    this.#outbox.begin();
    this.#listener.changed('connected', undefined, 'accepted');
    this.#pump();
    this.#subscribe();
  }

  #ended(end: ConnectionEnd): void {
    const { log, now, random, schedule } = this.#options;
    const lasted = this.#connectedAt === undefined ? 0 : now() - this.#connectedAt;
    if (lasted >= LASTING_MS) this.#failedTries = 0;
    this.#connection = undefined;
    this.#connectedAt = undefined;
    this.#outbox.takeBack();
    if (this.#failedTrial(end)) {
      this.#connect();
      return;
    }
    const wait = backoffDelay({ kind: end.kind, earlier: this.#failedTries }, random);
    this.#failedTries += 1;
    this.#cancelRetry = schedule(wait, () => this.#connect());
    const fields = { device: this.#identity.deviceId, code: end.error.code, reason: end.error.message, wait };
    const reason = end.kind === 'refused' ? 'connection refused' : 'connection lost';
    log.warn(fields, reason);
    this.#listener.changed('recovering', end.error, reason);
  }

  /** The new certificate did not work: the one before takes its place again. */
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

  #pump(): void {
    const connection = this.#connection;
    if (connection === undefined || this.#connectedAt === undefined) return;
    for (let message = this.#outbox.next(); message !== undefined; message = this.#outbox.next()) {
      const sent = message;
      connection.send(sent, () => {
        if (this.#connection === connection && this.#outbox.settle(sent)) this.#pump();
      });
    }
  }

  #subscribe(): void {
    if (this.#filter === undefined) return;
    this.#connection?.subscribe(this.#filter, (error) => {
      if (error === undefined) return;
      this.#options.log.warn({ device: this.#identity.deviceId, filter: this.#filter }, 'subscription refused');
    });
  }
}
