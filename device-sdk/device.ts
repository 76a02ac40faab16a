/**
 * A device of the fleet, as its application sees it: open it, publish, answer commands, close it. How it is enrolled,
 * connected and queued is told in enrollment.ts, uplink.ts and outbox.ts.
 */

import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { DeviceId } from '../contract/identity.ts';
import { commandFilter, eventTopic, parseDeviceTopic, responseTopic, telemetryTopic } from '../contract/topics.ts';
import { CommandDesk, type CommandHandler } from './commands.ts';
import { type ClockStatus, DeviceClock, fileClockStore, memoryClockStore } from './device-clock.ts';
import { asDeviceError, DeviceError } from './device-error.ts';
import {
  type DeviceLog,
  type DeviceState,
  type LinkState,
  SILENT_LOG,
  type StateListener,
  type StateReason,
} from './device-state.ts';
import { checkedMqttUrl, type EnrollmentOrder, enroll, loadIdentity, requestRenewal } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import type { IdentityStore, StoredIdentity } from './identity-store.ts';
import { checkOutboxOrder, openOutbox, type QueueOptions } from './open-outbox.ts';
import type { Outbox, OutboxLimits, OutboxStatus } from './outbox.ts';
import { encodePayload, type Payload } from './payload.ts';
import type { Receipt } from './receipt.ts';
import { Renewer, validityOf } from './renewer.ts';
import { realTimers, type Schedule } from './schedule.ts';
import { Uplink } from './uplink.ts';

interface DeviceSettings extends EnrollmentOrder {
  /** Handlers that must be in place before the first command can arrive; more can come with `onCommand`. */
  readonly commands?: Readonly<Record<string, CommandHandler>>;
  /** True starts without the commands that were queued while the device was away. Default false. */
  readonly clean?: boolean;
  /** Seconds of silence before the line is probed, 15 to 1200. Default 60. */
  readonly keepalive?: number;
  /** The queue on disk, which every device with a `dataDir` has. `memory`: none, messages go with the process. */
  readonly queue?: QueueOptions | 'memory';
  /** Bounds of what waits in memory: QoS 0, and all of it without a queue on disk. Default 1,000 messages, 1 MiB. */
  readonly outbox?: Partial<OutboxLimits>;
  /** `manual`: certificates are renewed only by {@link Device.renew}. Default `automatic`, from two thirds of the life on. */
  readonly renewal?: 'automatic' | 'manual';
  /** As {@link Device.onState}, from the first moment on: `unenrolled` and `enrolling` come before there is a device. */
  readonly onState?: StateListener;
  /** Clock, in milliseconds since 1970. */
  readonly now?: () => number;
  /** Numbers from 0 up to but not including 1, for jitter. */
  readonly random?: () => number;
  /** Timers of everything that takes long: reconnects, replay, renewal. */
  readonly schedule?: Schedule;
  /** A pino logger, or anything with its `debug`, `info` and `warn`. Default: silence. */
  readonly log?: DeviceLog;
}

/** Either a directory of the device's own (created with mode 0700), or a store. */
export type DeviceOptions = DeviceSettings &
  (
    | { readonly dataDir: string; readonly store?: undefined }
    | { readonly store: IdentityStore; readonly dataDir?: undefined }
  );

export interface PublishOptions {
  /** 1 (default): resolves when the message is safe. 0: resolves when it was written to the connection. */
  readonly qos?: 0 | 1;
}

type CompleteSettings = DeviceSettings & Required<Pick<DeviceSettings, 'random' | 'schedule' | 'log'>>;

const KEEPALIVE_S = 60;
/** More than a slow answer and whole seconds can explain. */
const SKEW_TOLERATED_MS = 60_000;

export class Device {
  readonly id: DeviceId;
  readonly #store: IdentityStore;
  readonly #clock: DeviceClock;
  readonly #outbox: Outbox;
  readonly #uplink: Uplink;
  readonly #renewer: Renewer;
  readonly #commands: CommandDesk;
  readonly #listeners = new Set<StateListener>();
  readonly #ending = new AbortController();
  #identity: StoredIdentity;
  readonly #order: DeviceSettings;
  #state: DeviceState = 'unenrolled';
  /** What {@link state} is apart from renewal. */
  #link: LinkState = 'connecting';
  #wasRefused = false;
  #lastError: DeviceError | undefined;
  #renewal: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /**
   * Enrolls if the device has no identity yet, then connects in the background: an enrolled device opens without a
   * network. Rejects with a {@link DeviceError} when there is no identity and none can be had; it doesn't try again by
   * itself (`retryAfter` says when the server would like to be asked again).
   */
  static async open(options: DeviceOptions): Promise<Device> {
    checkSettings(options);
    const store = options.store ?? fileIdentityStore(options.dataDir);
    const { random = Math.random, schedule = realTimers, log = SILENT_LOG } = options;
    const clock = await openClock(options);
    const settings = {
      ...options,
      random,
      schedule,
      log,
      onServerTime: (time: number) => tellTime(clock, time, options),
    };
    let identity: StoredIdentity;
    try {
      identity = (await loadIdentity(store, settings)) ?? (await enrollFirst(store, settings));
    } catch (error) {
      await clock.keep(); // a refusal tells the time as well
      throw error;
    }
    const outbox = openOutbox(options, { deviceId: identity.deviceId, now: clock.now, schedule, log });
    return new Device(settings, store, identity, outbox, clock);
  }

  private constructor(
    options: CompleteSettings,
    store: IdentityStore,
    identity: StoredIdentity,
    outbox: Outbox,
    clock: DeviceClock,
  ) {
    const { random, schedule, log } = options;
    const { now } = clock;
    this.#clock = clock;
    clock.raise(validityOf(identity.certificatePem).notBefore);
    this.#outbox = outbox;
    this.id = identity.deviceId;
    this.#store = store;
    this.#identity = identity;
    this.#order = options;
    if (options.onState !== undefined) this.#listeners.add(options.onState);
    this.#commands = new CommandDesk((requestId, payload) => this.#respond(requestId, payload), log);
    this.#uplink = new Uplink(
      {
        identity,
        mqttUrl: checkedMqttUrl(options.mqttUrl),
        clean: options.clean ?? false,
        keepalive: options.keepalive ?? KEEPALIVE_S,
        outbox,
        log,
        now,
        schedule,
        random,
      },
      {
        changed: (link, error, reason) => this.#linked(link, error, reason),
        message: (topic, payload) => this.#received(topic, payload),
      },
    );
    for (const [name, handler] of Object.entries(options.commands ?? {})) this.onCommand(name, handler);
    this.#renewer = new Renewer(identity.certificatePem, {
      renew: () => this.renew(),
      ...{ now, random, schedule, log },
    });
    this.#uplink.start();
    if (options.renewal !== 'manual') this.#renewer.start();
  }

  get state(): DeviceState {
    return this.#state;
  }

  /** Why the device is `recovering` or `revoked`, or could not renew. Undefined after a connection was made. */
  get lastError(): DeviceError | undefined {
    return this.#lastError;
  }

  /** Calls back at each change of state, until the returned function is called. */
  onState(listener: StateListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when the device is connected; rejects when it is refused, revoked or closed. A lost connection is waited out. */
  connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (this.#state === 'connected') resolve();
        else if (this.#state === 'revoked' || this.#isRefused) reject(this.#lastError);
        else if (this.#state === 'closed') reject(new DeviceError('closed'));
        else return false;
        return true;
      };
      if (check()) return;
      const forget = this.onState(() => {
        if (check()) forget();
      });
    });
  }

  /** What time it is, and how wrong the system's clock. */
  get clock(): ClockStatus {
    return this.#clock.status;
  }

  /** What waits for the broker. */
  get queue(): OutboxStatus {
    return this.#outbox.status;
  }

  /**
   * Publishes on `devices/{id}/telemetry/{stream}`. With QoS 1 it resolves as soon as a power cut can't take the message
   * any more: it is in the queue on disk, or, for a device without one, acknowledged by the broker. The receipt's
   * `acknowledged` resolves at the acknowledgement in either case. Rejects with `outbox_full`, or `queue_unwritable`.
   */
  publish(stream: string, payload: Payload, options: PublishOptions = {}): Promise<Receipt> {
    return this.#publish(() => telemetryTopic(this.id, stream), payload, options);
  }

  /** Publishes on `devices/{id}/events/{type}`, as {@link publish} does. */
  publishEvent(type: string, payload: Payload, options: PublishOptions = {}): Promise<Receipt> {
    return this.#publish(() => eventTopic(this.id, type), payload, options);
  }

  /** Resolves when nothing waits any more; rejects with `closed`. */
  drained(): Promise<void> {
    return this.#outbox.drained();
  }

  /** Handles commands of one name, or with `*` all that have no handler of their own. The answer is published. */
  onCommand(name: string, handler: CommandHandler): void {
    this.#commands.register(name, handler);
    this.#uplink.listenOn(commandFilter(this.id));
  }

  /**
   * Gets the next certificate, with a new key, reconnects with it, and keeps it if the broker accepts it; otherwise the
   * device goes on with the one it has. Two calls at one time are one renewal.
   */
  renew(): Promise<void> {
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  /**
   * Enrolls this device again, under its own name, with a new bootstrap token: the way back from `revoked`. What waits in
   * the queue goes out then. Rejects as {@link Device.open} does, and leaves everything as it was.
   */
  async enroll(token: string): Promise<void> {
    if (this.#closing !== undefined) throw new DeviceError('closed');
    await this.#renewal?.catch(() => {});
    const { enrollUrl, rootSha256, mqttUrl } = this.#order;
    const order = {
      ...given({ enrollUrl, rootSha256, mqttUrl }),
      token,
      deviceId: this.id,
      signal: this.#ending.signal,
    };
    const before = this.#state;
    this.#become('enrolling', undefined, 'token given');
    let identity: StoredIdentity;
    try {
      identity = await enroll(this.#store, order);
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      this.#become(before === 'revoked' ? before : this.#link, error, 'not enrolled');
      throw error;
    }
    this.#become('connecting', undefined, 'first try');
    this.#wasRefused = false;
    this.#adopt(identity);
    if (this.#order.renewal !== 'manual') this.#renewer.start();
    await this.#uplink.replaceIdentity(identity);
  }

  /**
   * Disconnects and leaves no timer behind. Idempotent. What the broker has not acknowledged is rejected with `closed`;
   * in a queue on disk it stays, and goes out when the device is opened again.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#ending.abort();
    this.#renewer.stop();
    await Promise.allSettled([this.#uplink.close(), this.#renewal, this.#clock.keep()]);
    this.#become('closed', undefined, 'closed');
    this.#listeners.clear();
  }

  async #renew(): Promise<void> {
    if (this.#closing !== undefined) throw new DeviceError('closed');
    if (this.#state === 'revoked') throw this.#lastError;
    this.#become('renewing', undefined, 'renewal began');
    try {
      // 1. The next pair, with a key that is on disk before it is certified.
      const next = await requestRenewal(this.#store, this.#identity, {
        ...given({ onServerTime: this.#order.onServerTime }),
        signal: this.#ending.signal,
      });

      // 2. It proves itself by connecting; until then the old pair is the one on disk.
      await this.#prove(next);

      // 3. Only now the old one goes.
      await this.#store.commit(next);
      this.#adopt(next);
      this.#become(this.#link, undefined, 'renewed');
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      if (error.status === 401 || error.status === 403) await this.#retire(error);
      else if (error.code !== 'closed') this.#become(this.#link, error, 'renewal failed');
      throw error;
    }
  }

  async #prove(next: StoredIdentity): Promise<void> {
    try {
      await this.#uplink.useIdentity(next);
    } catch (error) {
      // Asked again with the same key, the server would give the same certificate again.
      if (asDeviceError(error, 'internal').code === 'connection_refused') await this.#store.dropPending();
      throw error;
    }
  }

  #adopt(identity: StoredIdentity): void {
    this.#identity = identity;
    this.#clock.raise(validityOf(identity.certificatePem).notBefore);
    this.#renewer.adopt(identity.certificatePem);
  }

  /** Nobody is asked anything any more. */
  async #retire(error: DeviceError): Promise<void> {
    this.#renewer.stop();
    this.#become('revoked', error, 'refused for good');
    await this.#uplink.rest();
  }

  async #publish(topic: () => string, payload: Payload, options: PublishOptions): Promise<Receipt> {
    if (this.#state === 'revoked') throw this.#lastError;
    let message: { readonly topic: string; readonly payload: Buffer };
    try {
      message = { topic: topic(), payload: encodePayload(payload) };
    } catch (error) {
      throw asDeviceError(error, 'request_invalid');
    }
    return this.#uplink.publish({ ...message, qos: options.qos ?? 1 });
  }

  async #respond(requestId: string, payload: Payload): Promise<void> {
    await this.#publish(() => responseTopic(this.id, requestId), payload, {});
  }

  #received(topic: string, payload: Buffer): void {
    const parsed = parseDeviceTopic(topic);
    if (parsed?.kind === 'command' && parsed.device === this.id) {
      this.#commands.deliver(parsed.name, parsed.requestId, payload);
    }
  }

  get #isRefused(): boolean {
    const code = this.#lastError?.code;
    return this.#state === 'recovering' && (code === 'connection_refused' || code === 'server_untrusted');
  }

  #linked(link: LinkState, error: DeviceError | undefined, reason: StateReason): void {
    this.#link = link;
    // Once, not at each refusal: a certificate that was renewed and is refused as well has its own pace.
    if (link === 'connected') {
      this.#wasRefused = false;
      void this.#clock.keep();
    }
    if (error?.code === 'connection_refused' && !this.#wasRefused && this.#state !== 'renewing') {
      this.#wasRefused = true;
      this.#renewer.hasten();
    }
    if (this.#state === 'renewing' || this.#state === 'enrolling' || this.#state === 'revoked') return;
    this.#become(link, error, reason);
  }

  #become(state: DeviceState, error: DeviceError | undefined, reason: StateReason): void {
    if (this.#state === 'closed' || (this.#state === state && error === undefined)) return;
    this.#state = state;
    if (error !== undefined || state === 'connected') this.#lastError = error;
    for (const listener of [...this.#listeners]) listener(state, error, reason);
  }
}

/** Tells whoever wants to know how the first identity comes about; there is no device to ask yet. */
async function enrollFirst(store: IdentityStore, options: DeviceSettings): Promise<StoredIdentity> {
  options.onState?.('unenrolled', undefined, 'no identity');
  if (options.token !== undefined) options.onState?.('enrolling', undefined, 'token given');
  try {
    return await enroll(store, options);
  } catch (thrown) {
    const error = asDeviceError(thrown, 'internal');
    options.onState?.('unenrolled', error, 'not enrolled');
    throw error;
  }
}

async function openClock({ dataDir, now = Date.now }: DeviceOptions): Promise<DeviceClock> {
  const store = dataDir === undefined ? memoryClockStore() : fileClockStore(join(dataDir, 'clock.json'));
  return DeviceClock.open({ store, now, uptime: () => performance.now() });
}

function tellTime(clock: DeviceClock, time: number, { log = SILENT_LOG, onServerTime }: DeviceSettings): void {
  clock.learn(time);
  const { skew = 0 } = clock.status;
  if (Math.abs(skew) > SKEW_TOLERATED_MS) log.warn({ skew }, 'the clock of this device is wrong');
  onServerTime?.(time);
}

/** Without what is undefined: an option that is there has a value. */
function given<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}

function checkSettings(options: DeviceOptions): void {
  const { mqttUrl, keepalive = KEEPALIVE_S } = options;
  checkedMqttUrl(mqttUrl);
  checkOutboxOrder(options);
  if (!Number.isInteger(keepalive) || keepalive < 15 || keepalive > 1_200) {
    throw new DeviceError('request_invalid', { reason: 'expected a keepalive of 15 to 1200 seconds' });
  }
}
