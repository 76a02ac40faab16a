import { Device } from '@rollcall/device-sdk';
import { asDeviceError } from '@rollcall/device-sdk/building-blocks';
import { seededRandom } from '../random-times.ts';
import { DeviceEnvironment } from './device-environment.ts';
import type { Message, Publisher } from './publisher.ts';
import { createPublishers, deviceClock } from './publishers.ts';
import type { DeviceOutcome, GroupContext, ShardContext, SimulatedDevice } from './shard-context.ts';

export interface SdkDeviceOptions {
  readonly index: number;
  readonly position: number;
  readonly id: string;
  readonly group: GroupContext;
  readonly seed: number;
  /** In place of what the enroll server announces, where a proxy stands in between. */
  readonly mqttUrl: string | undefined;
  /** Waits for its turn: thousands that enroll at once measure only themselves. */
  readonly turn: <T>(act: () => Promise<T>) => Promise<T>;
}

/** Answers after which a device asks again. */
const PASSING: ReadonlySet<string> = new Set(['rate_limited', 'unavailable', 'server_unreachable']);
const RETRY_S = 1;

export class SdkDevice implements SimulatedDevice {
  readonly index: number;
  readonly id: string;
  readonly #order: SdkDeviceOptions;
  readonly #context: ShardContext;
  readonly #publishers: readonly Publisher[];
  readonly #clock: (now: number) => number;
  readonly #random: () => number;
  #gateway: DeviceEnvironment | undefined;
  #device: Device | undefined;
  /** Instances that lost their power, until they have found out. */
  readonly #dead = new Set<Promise<void>>();
  #outcome: DeviceOutcome = 'waiting';
  #isConnected = false;
  #isPublishing = false;
  /** Grows each time that it begins to speak. */
  #turn = 0;
  #isLeaving = false;
  #lostAt = 0;
  #revokedAt: number | undefined;
  /** Handed to the instance that runs, and not acknowledged yet. */
  #inProgress = new Set<Message>();
  /** Of them, those that it has not promised to keep. */
  #unsafe = new Set<Message>();

  constructor(order: SdkDeviceOptions, context: ShardContext) {
    this.index = order.index;
    this.id = order.id;
    this.#order = order;
    this.#context = context;
    this.#random = seededRandom(order.seed + 2);
    this.#clock = deviceClock(order.group, context.now());
    this.#publishers = createPublishers(order.group, order, this.#clock);
  }

  get group(): string {
    return this.#order.group.name;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  get outcome(): DeviceOutcome {
    return this.#outcome;
  }

  get unacknowledged(): number {
    if (this.#outcome !== 'in') return 0; // nobody will acknowledge them any more
    return Math.max(this.#inProgress.size, this.#device?.queue.messages ?? 0);
  }

  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.#publishers.map(({ stream, acknowledged }) => [stream, acknowledged.ranges]));
  }

  start(): void {
    void this.#order.turn(() => this.#open('first'));
  }

  expectRevocation(at: number): void {
    this.#revokedAt = at;
    this.#context.counters.count('revoked');
  }

  cutConnection(milliseconds: number): void {
    const line = this.#gateway?.proxy;
    if (line === undefined || this.#outcome !== 'in') return;
    line.cut();
    this.#context.timers.at(this.#context.now() + milliseconds, () => {
      this.#lostAt = this.#context.now();
      line.restore();
    });
  }

  losePower(milliseconds: number): void {
    const device = this.#device;
    if (device === undefined || this.#gateway === undefined || this.#outcome !== 'in') return;
    this.#device = undefined;
    this.#gateway.losePower();
    this.#loseConnection();
    this.#isPublishing = false;
    this.#context.counters.count('dropped', (this.#gateway.hasDisk ? this.#unsafe : this.#inProgress).size);
    this.#inProgress = new Set();
    this.#unsafe = new Set();
    const end = device.close().catch(() => {}); // for its timers and files; its farewell goes nowhere
    this.#dead.add(end);
    void end.then(() => this.#dead.delete(end));
    this.#context.timers.at(this.#context.now() + milliseconds, () => {
      if (this.#isLeaving || this.#context.isRunOver) return;
      this.#lostAt = this.#context.now();
      void this.#open('again');
    });
  }

  async renew(): Promise<void> {
    try {
      await this.#device?.renew();
      this.#context.counters.count('renewed');
    } catch (error) {
      this.#context.counters.error(asDeviceError(error, 'internal').code);
    }
  }

  stopPublishing(): void {
    this.#isPublishing = false;
  }

  async close(): Promise<void> {
    this.#isLeaving = true;
    await Promise.all([this.#device?.close(), ...this.#dead]);
    this.#gateway?.remove();
  }

  async #open(time: 'first' | 'again'): Promise<void> {
    const { counters, now } = this.#context;
    const { group, id, seed } = this.#order;
    const began = now();
    try {
      this.#gateway ??= await DeviceEnvironment.create(group);
      const { proxy, sdkOptions } = this.#gateway;
      const mqttUrl = proxy === undefined ? this.#order.mqttUrl : `mqtts://localhost:${proxy.port}`;
      const device = await Device.open({
        ...sdkOptions,
        ...(group.token !== undefined && { token: group.token }),
        deviceId: id,
        ...(mqttUrl !== undefined && { mqttUrl }),
        clean: true,
        renewal: 'manual',
        keepalive: Math.max(15, Math.round(group.settings.keepalive / 1_000)),
        random: seededRandom(seed + 1),
        now: () => Math.round(this.#clock(this.#context.now())),
        commands: this.#commands(),
      });
      if (this.#isLeaving) return void (await device.close());
      this.#device = device;
      if (time === 'first') {
        this.#outcome = 'in';
        counters.count('enrolled');
        counters.record('enroll', now() - began);
      }
      const opened = now();
      device.onState(() => this.#follow(device, opened));
      this.#follow(device, opened);
    } catch (error) {
      const { code, retryAfter } = asDeviceError(error, 'internal');
      counters.error(code);
      if (time === 'again' || this.#isLeaving) return;
      if (PASSING.has(code) && !this.#context.isRunOver) {
        const wait = (retryAfter ?? RETRY_S) * 1_000 * (1 + this.#random());
        this.#context.timers.at(now() + wait, () => this.start());
        return;
      }
      this.#outcome = 'refused';
      counters.count('refused');
    }
  }

  #commands() {
    return Object.fromEntries(
      Object.entries(this.#order.group.settings.commands).flatMap(([name, { answer, after }]) =>
        answer === false
          ? []
          : [
              [
                name,
                () =>
                  new Promise<string>((resolve) =>
                    this.#context.timers.at(this.#context.now() + after, () => resolve(answer)),
                  ),
              ],
            ],
      ),
    );
  }

  #follow(device: Device, opened: number): void {
    const { counters, now } = this.#context;
    if (device !== this.#device || this.#outcome !== 'in') return;
    const { state, lastError } = device;
    if (state === 'connected') {
      if (this.#isConnected) return;
      this.#isConnected = true;
      counters.count('connects');
      if (this.#revokedAt !== undefined) counters.count('wronglyAllowed');
      if (this.#lostAt === 0) counters.record('connect', now() - opened);
      else counters.record('recovery', now() - Math.max(this.#lostAt, this.#context.serverReturnedAt));
      this.#lostAt = 0;
      if (!this.#isPublishing && !this.#context.isRunOver) this.#startPublishing();
      return;
    }
    if (state === 'renewing') return;
    if (lastError !== undefined) counters.error(lastError.code);
    if (this.#isConnected) {
      this.#loseConnection();
      this.#lostAt = now();
      if (this.#revokedAt !== undefined) counters.record('revocation', now() - this.#revokedAt);
    }
    if (state !== 'revoked' && !(state === 'recovering' && lastError?.code === 'connection_refused')) return;
    if (this.#revokedAt === undefined) counters.count('wronglyRefused');
    this.#outcome = 'cut off';
    this.#isPublishing = false;
    counters.count('cutOff');
    void device.close();
  }

  #loseConnection(): void {
    if (this.#isConnected) this.#context.counters.count('disconnects');
    this.#isConnected = false;
  }

  #startPublishing(): void {
    this.#isPublishing = true;
    this.#turn += 1;
    for (const publisher of this.#publishers) this.#waitFor(publisher, publisher.start(this.#context.now()));
  }

  #waitFor(publisher: Publisher, due: number | undefined): void {
    if (due === undefined) return;
    const turn = this.#turn;
    const slot = this.#context.timers.at(due, () => {
      if (turn !== this.#turn || !this.#isPublishing || this.#context.isRunOver) return;
      void this.#send(publisher.next(slot));
      this.#waitFor(publisher, publisher.nextDue());
    });
  }

  async #send(message: Message): Promise<void> {
    const { counters, now } = this.#context;
    const { publisher } = message;
    const device = this.#device;
    if (device === undefined) return counters.count('dropped');
    counters.count('sent');
    const [inProgress, unsafe] = [this.#inProgress, this.#unsafe];
    inProgress.add(message);
    unsafe.add(message);
    try {
      const receipt = await device.publish(publisher.stream, message.payload, { qos: publisher.qos });
      unsafe.delete(message);
      if (publisher.qos === 0) return;
      await receipt.acknowledged;
      publisher.acknowledged.add(message.sequence);
      counters.count('acknowledged');
      counters.record('puback', now() - message.due);
    } catch (error) {
      const { code } = asDeviceError(error, 'internal');
      if (code !== 'closed') counters.error(code);
    } finally {
      inProgress.delete(message);
      unsafe.delete(message);
    }
  }
}
