/** A simulated device that is the device SDK itself. The run decides when it starts, publishes, loses its network or its power, and stops. */

import { Device, type DeviceError, type DeviceErrorCode } from '@rollcall/device-sdk';
import { seededRandom } from '../seeded-random.ts';
import { FLEET_NAMES } from './broker-names.ts';
import { DeviceEnvironment } from './device-environment.ts';
import type { DeviceReport } from './device-report.ts';
import { DeviceStatus } from './device-status.ts';
import { enrollRetryDelay } from './enroll-retry.ts';
import { isClosedEarly } from './first-certificate.ts';
import { firstConnection } from './first-connection.ts';
import { PublishSchedule } from './publish-schedule.ts';
import type { Message } from './publisher.ts';
import { createPublishers, deviceClock } from './publishers.ts';
import { deviceOptions, type SdkDeviceOptions } from './sdk-device-options.ts';
import type { DeviceOutcome, ShardContext, SimulatedDevice } from './shard-context.ts';

/** A device asks again after these. */
const TRANSIENT: ReadonlySet<DeviceErrorCode> = new Set([
  'rate_limited',
  'unavailable',
  'server_unreachable',
  'internal',
]);

/** Answers about the token itself: every other device would get the same one. */
const ABOUT_THE_TOKEN: ReadonlySet<DeviceErrorCode> = new Set([
  'token_rejected',
  'token_required',
  'token_malformed',
  'server_untrusted',
]);

export class SdkDevice implements SimulatedDevice {
  readonly index: number;
  readonly #options: SdkDeviceOptions;
  readonly #context: ShardContext;
  readonly #status: DeviceStatus;
  readonly #clock: (now: number) => number;
  readonly #random: () => number;
  readonly #closing = new AbortController();
  #schedule: PublishSchedule | undefined;
  #environment: DeviceEnvironment | undefined;
  #device: Device | undefined;
  /** Instances that lost their power, until they are closed. */
  readonly #unpowered = new Set<Promise<void>>();
  #failedEnrollments = 0;
  #lostAt = 0;
  #revokedAt: number | undefined;
  /** The last error whose reason code was counted. */
  #counted: DeviceError | undefined;
  /** Handed to the running instance, and not acknowledged yet. */
  #inProgress = new Set<Message>();
  /** Of them, those that are not in its queue yet. */
  #unqueued = new Set<Message>();

  constructor(options: SdkDeviceOptions, context: ShardContext) {
    this.index = options.index;
    this.#options = options;
    this.#context = context;
    this.#status = new DeviceStatus(options.index, context, () => this.unacknowledged);
    this.#random = seededRandom(options.seed + 2);
    this.#clock = deviceClock(options.group, context.now());
    if (context.sdk.names === 'scenario') this.#setId(options.id);
  }

  /** The name of the scenario until the server has chosen another. */
  get id(): string {
    return this.#status.id ?? this.#options.id;
  }

  get group(): string {
    return this.#options.group.name;
  }

  get isConnected(): boolean {
    return this.#status.isConnected;
  }

  get outcome(): DeviceOutcome {
    return this.#status.outcome;
  }

  get unacknowledged(): number {
    if (this.outcome !== 'in') return 0; // the broker will not acknowledge them any more
    return Math.max(this.#inProgress.size, this.#device?.queue.messages ?? 0);
  }

  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return this.#schedule?.acknowledged() ?? {};
  }

  report(): DeviceReport {
    return this.#status.report();
  }

  start(): void {
    void this.#options.turn(() => this.#enroll());
  }

  expectRevocation(at: number): void {
    this.#revokedAt = at;
    this.#context.counters.count('revoked');
  }

  cutConnection(milliseconds: number): void {
    const proxy = this.#environment?.proxy;
    if (proxy === undefined || this.outcome !== 'in') return;
    proxy.cut();
    this.#in(milliseconds, () => {
      this.#lostAt = this.#context.now();
      proxy.restore();
    });
  }

  losePower(milliseconds: number): void {
    const device = this.#device;
    if (device === undefined || this.#environment === undefined || this.outcome !== 'in') return;
    this.#device = undefined;
    this.#environment.losePower();
    this.#status.disconnected();
    this.#schedule?.pause();
    this.#context.counters.count('dropped', (this.#environment.hasDisk ? this.#unqueued : this.#inProgress).size);
    this.#inProgress = new Set();
    this.#unqueued = new Set();
    const closed = device.close().catch(() => {}); // frees timers and files; its DISCONNECT reaches no broker
    this.#unpowered.add(closed);
    void closed.then(() => this.#unpowered.delete(closed));
    this.#in(milliseconds, () => {
      if (this.#isClosing || this.#context.isRunOver) return;
      this.#lostAt = this.#context.now();
      this.#open().catch((error) => this.#status.failed(error, 'connection'));
    });
  }

  async renew(): Promise<void> {
    try {
      await this.#device?.renew();
      this.#context.counters.count('renewed');
    } catch (error) {
      this.#status.failed(error, 'connection');
    }
  }

  stopPublishing(): void {
    this.#schedule?.pause();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#status.closed();
    await Promise.all([this.#device?.close(), ...this.#unpowered]);
    this.#environment?.remove();
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  async #enroll(): Promise<void> {
    const { counters, now, sdk, pacer } = this.#context;
    const { group } = this.#options;
    if (this.#isClosing) return;
    if (group.tokenRefusal !== undefined) return this.#status.refused(group.tokenRefusal);
    this.#status.enrolling();
    const began = now();
    try {
      await this.#open();
      counters.record('enroll', now() - began);
      pacer.succeeded();
      const device = this.#device;
      if (sdk.turnEnds === 'connected' && device !== undefined) await firstConnection(device, this.#closing.signal);
    } catch (thrown) {
      const error = this.#status.failed(thrown, 'enrollment');
      if (this.#isClosing) return;
      if (TRANSIENT.has(error.code)) return this.#enrollLater(error);
      if (ABOUT_THE_TOKEN.has(error.code)) {
        sdk.log?.warn({ code: error.code }, 'no more devices are enrolled');
        group.tokenRefusal = error;
      }
      this.#status.refused(error);
    }
  }

  #enrollLater({ code, retryAfter, cause }: DeviceError): void {
    if (retryAfter !== undefined || isClosedEarly((cause as NodeJS.ErrnoException | undefined)?.code)) {
      this.#context.pacer.throttled(retryAfter);
      this.#context.counters.count('throttled');
    }
    if (this.#context.isRunOver) return;
    const wait = enrollRetryDelay({ retryAfter, earlier: this.#failedEnrollments }, this.#random);
    this.#failedEnrollments += 1;
    this.#context.sdk.log?.info({ index: this.index, code, wait }, 'enrollment postponed');
    this.#in(wait, () => this.start());
  }

  /** Opens an instance, which enrolls when its store holds no identity. */
  async #open(): Promise<void> {
    this.#environment ??= await DeviceEnvironment.create(this.#options.group);
    const device = await Device.open(
      deviceOptions(this.#options, this.#context, {
        environment: this.#environment,
        clock: this.#clock,
        signal: this.#closing.signal,
      }),
    );
    if (this.#isClosing) return device.close();
    this.#device = device;
    this.#setId(device.id);
    this.#status.enrolled();
    const opened = this.#context.now();
    device.onState((_, error) => this.#follow(device, opened, error));
    this.#follow(device, opened, device.lastError);
  }

  #setId(id: string): void {
    if (this.#status.id === id) return;
    const { group, position, seed } = this.#options;
    this.#status.id = id;
    const publishers = createPublishers(group, { id, position, seed }, this.#clock, FLEET_NAMES);
    this.#schedule = new PublishSchedule(this.#context, publishers, (message) => void this.#send(message));
  }

  #follow(device: Device, opened: number, error: DeviceError | undefined): void {
    if (device !== this.#device || this.outcome !== 'in') return;
    const { state, lastError } = device;
    if (state === 'connected') this.#connected(device.mqttVersion, opened);
    else if (state !== 'renewing') {
      if (lastError !== undefined) this.#context.counters.error(lastError.code);
      if (error !== undefined) this.#status.remember(error, 'connection');
      this.#disconnected(state, lastError);
    }
  }

  #connected(version: Device['mqttVersion'], opened: number): void {
    const { counters, now, serverReturnedAt } = this.#context;
    if (this.isConnected) return;
    this.#status.connected(version);
    if (this.#revokedAt !== undefined) counters.count('wronglyAllowed');
    if (this.#lostAt === 0) counters.record('connect', now() - opened);
    else counters.record('recovery', now() - Math.max(this.#lostAt, serverReturnedAt));
    this.#lostAt = 0;
    this.#schedule?.resume(now());
  }

  #disconnected(state: Device['state'], error: DeviceError | undefined): void {
    const { counters, now } = this.#context;
    this.#countReason(error);
    if (this.isConnected) {
      this.#status.disconnected();
      this.#lostAt = now();
      if (this.#revokedAt !== undefined) counters.record('revocation', now() - this.#revokedAt);
    }
    if (state !== 'revoked' && !(state === 'recovering' && error?.code === 'connection_refused')) return;
    if (this.#revokedAt === undefined) counters.count('wronglyRefused');
    this.#schedule?.pause();
    this.#status.connectionRefused();
    void this.#device?.close();
  }

  /** Once for each error: the SDK has it as its last one until it is connected again. */
  #countReason(error: DeviceError | undefined): void {
    if (error?.reasonCode === undefined || error === this.#counted) return;
    this.#counted = error;
    this.#context.counters.reason(this.isConnected ? 'disconnect' : 'connack', error.reasonCode);
  }

  async #send(message: Message): Promise<void> {
    const { counters, now } = this.#context;
    const { publisher } = message;
    const device = this.#device;
    if (device === undefined) return counters.count('dropped');
    this.#status.messageSent(message.value);
    const [inProgress, unqueued] = [this.#inProgress, this.#unqueued];
    inProgress.add(message);
    unqueued.add(message);
    try {
      const { stream, qos, userProperties } = publisher;
      const options = { qos, ...(userProperties !== undefined && { userProperties }) };
      const receipt = await device.publish(stream, message.payload, options);
      unqueued.delete(message);
      if (publisher.qos === 0) return;
      await receipt.acknowledged;
      publisher.acknowledged.add(message.sequence);
      this.#status.messageAcknowledged(now() - message.due);
    } catch (error) {
      const { reasonCode } = this.#status.failed(error, 'message');
      if (reasonCode !== undefined) this.#status.messageRejected(reasonCode);
    } finally {
      inProgress.delete(message);
      unqueued.delete(message);
    }
  }

  #in(milliseconds: number, run: () => void): void {
    this.#context.timers.at(this.#context.now() + milliseconds, run);
  }
}
