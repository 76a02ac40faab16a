/**
 * A device of the fleet, as its application sees it: open it, publish, answer commands, close it. How it is enrolled,
 * connected and queued is told in enrollment.ts, uplink.ts and outbox.ts.
 */

import type { DeviceId } from '../contract/identity.ts';
import { commandFilter, eventTopic, parseDeviceTopic, responseTopic, telemetryTopic } from '../contract/topics.ts';
import { CommandDesk, type CommandHandler } from './commands.ts';
import { asDeviceError, DeviceError } from './device-error.ts';
import { type DeviceLog, type DeviceState, SILENT_LOG } from './device-state.ts';
import { checkedMqttUrl, type EnrollmentOrder, enrollOnce, renew } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import type { IdentityStore, StoredIdentity } from './identity-store.ts';
import { DEFAULT_OUTBOX_LIMITS, type OutboxLimits } from './outbox.ts';
import { encodePayload, type Payload } from './payload.ts';
import { Uplink } from './uplink.ts';

interface DeviceSettings extends EnrollmentOrder {
  /** Handlers that must be in place before the first command can arrive; more can come with `onCommand`. */
  readonly commands?: Readonly<Record<string, CommandHandler>>;
  /** True starts without the commands that were queued while the device was away. Default false. */
  readonly clean?: boolean;
  /** Seconds of silence before the line is probed, 15 to 1200. Default 60. */
  readonly keepalive?: number;
  /** Bounds of what waits in memory while there is no connection. Default 1,000 messages, 1 MiB. */
  readonly outbox?: Partial<OutboxLimits>;
  /** Clock, in milliseconds since 1970. */
  readonly now?: () => number;
  /** Numbers from 0 up to but not including 1, for jitter. */
  readonly random?: () => number;
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
  /** 1 (default): resolves when the broker has stored the message. 0: resolves when it was written to the connection. */
  readonly qos?: 0 | 1;
}

const KEEPALIVE_S = 60;

export type StateListener = (state: DeviceState, error: DeviceError | undefined) => void;

export class Device {
  readonly id: DeviceId;
  readonly #store: IdentityStore;
  readonly #uplink: Uplink;
  readonly #commands: CommandDesk;
  readonly #listeners = new Set<StateListener>();
  readonly #ending = new AbortController();
  #identity: StoredIdentity;
  #state: DeviceState = 'connecting';
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
    return new Device(options, store, await enrollOnce(store, options));
  }

  private constructor(options: DeviceSettings, store: IdentityStore, identity: StoredIdentity) {
    const log = options.log ?? SILENT_LOG;
    this.id = identity.deviceId;
    this.#store = store;
    this.#identity = identity;
    this.#commands = new CommandDesk((requestId, payload) => this.#respond(requestId, payload), log);
    this.#uplink = new Uplink(
      {
        identity,
        mqttUrl: checkedMqttUrl(options.mqttUrl),
        clean: options.clean ?? false,
        keepalive: options.keepalive ?? KEEPALIVE_S,
        limits: { ...DEFAULT_OUTBOX_LIMITS, ...options.outbox },
        log,
        now: options.now ?? Date.now,
        random: options.random ?? Math.random,
      },
      {
        changed: (state, error) => this.#changed(state, error),
        message: (topic, payload) => this.#received(topic, payload),
      },
    );
    for (const [name, handler] of Object.entries(options.commands ?? {})) this.onCommand(name, handler);
    this.#uplink.start();
  }

  get state(): DeviceState {
    return this.#state;
  }

  /** Why the device is `waiting`, `refused` or `closed`. */
  get lastError(): DeviceError | undefined {
    return this.#lastError;
  }

  /** Calls back at each change of state, until the returned function is called. */
  onState(listener: StateListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when the device is connected; rejects when it is refused or closed. A lost connection is waited out. */
  connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (this.#state === 'connected') resolve();
        else if (this.#state === 'refused') reject(this.#lastError);
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

  /**
   * Publishes on `devices/{id}/telemetry/{stream}`. While there is no connection the message waits in memory, within
   * the bounds of the outbox; over them it is rejected with `outbox_full`.
   */
  publish(stream: string, payload: Payload, options: PublishOptions = {}): Promise<void> {
    return this.#publish(() => telemetryTopic(this.id, stream), payload, options);
  }

  /** Publishes on `devices/{id}/events/{type}`, as {@link publish} does. */
  publishEvent(type: string, payload: Payload, options: PublishOptions = {}): Promise<void> {
    return this.#publish(() => eventTopic(this.id, type), payload, options);
  }

  /** Handles commands of one name, or with `*` all that have no handler of their own. The answer is published. */
  onCommand(name: string, handler: CommandHandler): void {
    this.#commands.register(name, handler);
    this.#uplink.listenOn(commandFilter(this.id));
  }

  /** Gets the next certificate, with a new key, and reconnects with it. Two calls at one time are one renewal. */
  renew(): Promise<void> {
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  /** Disconnects and leaves no timer behind. What the broker has not acknowledged is rejected with `closed`. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#ending.abort();
    await Promise.allSettled([this.#uplink.close(), this.#renewal]);
    this.#changed('closed', undefined);
    this.#listeners.clear();
  }

  async #renew(): Promise<void> {
    if (this.#closing !== undefined) throw new DeviceError('closed');
    this.#identity = await renew(this.#store, this.#identity, this.#ending.signal);
    await this.#uplink.useIdentity(this.#identity);
  }

  async #publish(topic: () => string, payload: Payload, options: PublishOptions): Promise<void> {
    let message: { readonly topic: string; readonly payload: Buffer };
    try {
      message = { topic: topic(), payload: encodePayload(payload) };
    } catch (error) {
      throw asDeviceError(error, 'request_invalid');
    }
    await this.#uplink.publish({ ...message, qos: options.qos ?? 1 });
  }

  #respond(requestId: string, payload: Payload): Promise<void> {
    return this.#publish(() => responseTopic(this.id, requestId), payload, {});
  }

  #received(topic: string, payload: Buffer): void {
    const parsed = parseDeviceTopic(topic);
    if (parsed?.kind === 'command' && parsed.device === this.id) {
      this.#commands.deliver(parsed.name, parsed.requestId, payload);
    }
  }

  #changed(state: DeviceState, error: DeviceError | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = state;
    if (error !== undefined || state === 'connected') this.#lastError = error;
    for (const listener of [...this.#listeners]) listener(state, error);
  }
}

function checkSettings({ mqttUrl, keepalive = KEEPALIVE_S }: DeviceSettings): void {
  checkedMqttUrl(mqttUrl);
  if (!Number.isInteger(keepalive) || keepalive < 15 || keepalive > 1_200) {
    throw new DeviceError('request_invalid', { reason: 'expected a keepalive of 15 to 1200 seconds' });
  }
}
