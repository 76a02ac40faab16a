/**
 * A device of the fleet, as its application sees it: open it, publish, answer commands, close it. How it is enrolled,
 * connected and queued is told in enrollment.ts, uplink.ts and outbox.ts.
 */

import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { DeviceId } from '../contract/identity.ts';
import { commandFilter, eventTopic, parseDeviceTopic, responseTopic, telemetryTopic } from '../contract/topics.ts';
import { CommandDesk, type CommandHandler } from './commands.ts';
import { type ClockStatus, DeviceClock, fileClockStore, memoryClockStore, SKEW_TOLERATED_MS } from './device-clock.ts';
import { asDeviceError, type DeviceError } from './device-error.ts';
import {
  checkSettings,
  type DeviceOptions,
  type DeviceSettings,
  KEEPALIVE_S,
  type PublishOptions,
} from './device-options.ts';
import { type DeviceState, SILENT_LOG, type StateListener } from './device-state.ts';
import { checkedMqttUrls, enroll, loadIdentity } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import { learnTime } from './https-exchange.ts';
import { IdentityKeeper } from './identity-keeper.ts';
import type { IdentityStore, StoredIdentity } from './identity-store.ts';
import { openOutbox } from './open-outbox.ts';
import type { Outbox, OutboxStatus } from './outbox.ts';
import { encodePayload, type Payload } from './payload.ts';
import type { Receipt } from './receipt.ts';
import { realTimers } from './schedule.ts';
import { Standing } from './standing.ts';
import { Uplink } from './uplink.ts';

type CompleteSettings = DeviceSettings & Required<Pick<DeviceSettings, 'random' | 'schedule' | 'log'>>;

export class Device {
  readonly id: DeviceId;
  readonly #clock: DeviceClock;
  readonly #outbox: Outbox;
  readonly #uplink: Uplink;
  readonly #keeper: IdentityKeeper;
  readonly #commands: CommandDesk;
  readonly #standing = new Standing();
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
    const settings = { ...options, random, schedule, log, clock };
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
    this.#outbox = outbox;
    this.id = identity.deviceId;
    if (options.onState !== undefined) this.#standing.onState(options.onState);
    this.#commands = new CommandDesk((requestId, payload) => this.#respond(requestId, payload), log);
    this.#uplink = new Uplink(
      {
        identity,
        mqttUrls: checkedMqttUrls(options.mqttUrl),
        clean: options.clean ?? false,
        keepalive: options.keepalive ?? KEEPALIVE_S,
        dates: () => clock.dates(),
        learnTime: () => learnTime({ url: identity.enrollUrl, root: identity.rootPem }, clock),
        ...{ outbox, log, now, schedule, random },
      },
      {
        changed: (link, error, reason) => this.#keeper.linked(link, error, reason),
        message: (topic, payload) => this.#received(topic, payload),
      },
    );
    const { uplink, standing } = { uplink: this.#uplink, standing: this.#standing };
    this.#keeper = new IdentityKeeper({
      ...{ store, identity, order: options, clock, standing, uplink, random, schedule, log },
    });
    for (const [name, handler] of Object.entries(options.commands ?? {})) this.onCommand(name, handler);
    this.#uplink.start();
    this.#keeper.start();
  }

  get state(): DeviceState {
    return this.#standing.state;
  }

  /** Why the device is `recovering` or `revoked`, or could not renew. Undefined after a connection was made. */
  get lastError(): DeviceError | undefined {
    return this.#standing.lastError;
  }

  /** Calls back at each change of state, until the returned function is called. */
  onState(listener: StateListener): () => void {
    return this.#standing.onState(listener);
  }

  /** Resolves when the device is connected; rejects when it is refused, revoked or closed. A lost connection is waited out. */
  connected(): Promise<void> {
    return this.#standing.connected();
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
    return this.#keeper.renew();
  }

  /**
   * Enrolls this device again, under its own name, with a new bootstrap token: the way back from `revoked`. What waits in
   * the queue goes out then. Rejects as {@link Device.open} does, and leaves everything as it was.
   */
  enroll(token: string): Promise<void> {
    return this.#keeper.enroll(token);
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
    await Promise.allSettled([this.#uplink.close(), this.#keeper.close(), this.#clock.keep()]);
    this.#standing.become('closed', undefined, 'closed');
  }

  async #publish(topic: () => string, payload: Payload, options: PublishOptions): Promise<Receipt> {
    if (this.state === 'revoked') throw this.lastError;
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

  #received(topic: string, payload: Buffer): Promise<void> | undefined {
    const parsed = parseDeviceTopic(topic);
    if (parsed?.kind === 'command' && parsed.device === this.id) {
      this.#commands.deliver(parsed.name, parsed.requestId, payload);
    }
    return undefined;
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

async function openClock({ dataDir, now = Date.now, log = SILENT_LOG }: DeviceOptions): Promise<DeviceClock> {
  const store = dataDir === undefined ? memoryClockStore() : fileClockStore(join(dataDir, 'clock.json'));
  const learnt = (skew: number) => {
    if (Math.abs(skew) > SKEW_TOLERATED_MS) log.warn({ skew }, 'the clock of this device is wrong');
  };
  return DeviceClock.open({ store, now, uptime: () => performance.now(), learnt });
}
