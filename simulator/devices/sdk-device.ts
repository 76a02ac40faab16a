import { Device } from '@rollcall/device-sdk';
import { asDeviceError } from '@rollcall/device-sdk/building-blocks';
import { seededRandom } from '../random-times.ts';
import { Gateway } from './gateway.ts';
import type { Message, Publisher } from './publisher.ts';
import { clockOf, publishersOf } from './publishers.ts';
import type { Crew, Fate, GroupOfDevices, LiveDevice } from './shard-context.ts';

export interface TrueOrder {
  readonly index: number;
  readonly position: number;
  readonly id: string;
  readonly group: GroupOfDevices;
  readonly seed: number;
  /** In place of what the enroll server announces, where a proxy stands in between. */
  readonly mqttUrl: string | undefined;
  /** Waits for its turn: thousands that enroll at once measure only themselves. */
  readonly turn: <T>(act: () => Promise<T>) => Promise<T>;
}

/** Answers after which a device asks again. */
const PASSING: ReadonlySet<string> = new Set(['rate_limited', 'unavailable', 'server_unreachable']);
const RETRY_S = 1;

export class TrueDevice implements LiveDevice {
  readonly index: number;
  readonly id: string;
  readonly #order: TrueOrder;
  readonly #crew: Crew;
  readonly #publishers: readonly Publisher[];
  readonly #clock: (now: number) => number;
  readonly #random: () => number;
  #gateway: Gateway | undefined;
  #device: Device | undefined;
  /** Instances that lost their power, until they have found out. */
  readonly #dead = new Set<Promise<void>>();
  #fate: Fate = 'waiting';
  #isConnected = false;
  #isSpeaking = false;
  /** Grows each time that it begins to speak. */
  #turn = 0;
  #isLeaving = false;
  #lostAt = 0;
  #revokedAt: number | undefined;
  /** Handed to the instance that runs, and not acknowledged yet. */
  #underway = new Set<Message>();
  /** Of them, those that it has not promised to keep. */
  #unsafe = new Set<Message>();

  constructor(order: TrueOrder, crew: Crew) {
    this.index = order.index;
    this.id = order.id;
    this.#order = order;
    this.#crew = crew;
    this.#random = seededRandom(order.seed + 2);
    this.#clock = clockOf(order.group, crew.now());
    this.#publishers = publishersOf(order.group, order, this.#clock);
  }

  get group(): string {
    return this.#order.group.name;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  get fate(): Fate {
    return this.#fate;
  }

  get waiting(): number {
    if (this.#fate !== 'in') return 0; // nobody will acknowledge them any more
    return Math.max(this.#underway.size, this.#device?.queue.messages ?? 0);
  }

  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.#publishers.map(({ stream, acknowledged }) => [stream, acknowledged.ranges]));
  }

  arrive(): void {
    void this.#order.turn(() => this.#open('first'));
  }

  expectRevocation(at: number): void {
    this.#revokedAt = at;
    this.#crew.tally.count('revoked');
  }

  cutLine(milliseconds: number): void {
    const line = this.#gateway?.line;
    if (line === undefined || this.#fate !== 'in') return;
    line.cut();
    this.#crew.agenda.at(this.#crew.now() + milliseconds, () => {
      this.#lostAt = this.#crew.now();
      line.mend();
    });
  }

  losePower(milliseconds: number): void {
    const device = this.#device;
    if (device === undefined || this.#gateway === undefined || this.#fate !== 'in') return;
    this.#device = undefined;
    this.#gateway.losePower();
    this.#loseConnection();
    this.#isSpeaking = false;
    this.#crew.tally.count('dropped', (this.#gateway.hasDisk ? this.#unsafe : this.#underway).size);
    this.#underway = new Set();
    this.#unsafe = new Set();
    const end = device.close().catch(() => {}); // for its timers and files; its farewell goes nowhere
    this.#dead.add(end);
    void end.then(() => this.#dead.delete(end));
    this.#crew.agenda.at(this.#crew.now() + milliseconds, () => {
      if (this.#isLeaving || this.#crew.isOver) return;
      this.#lostAt = this.#crew.now();
      void this.#open('again');
    });
  }

  async renew(): Promise<void> {
    try {
      await this.#device?.renew();
      this.#crew.tally.count('renewed');
    } catch (error) {
      this.#crew.tally.error(asDeviceError(error, 'internal').code);
    }
  }

  fallSilent(): void {
    this.#isSpeaking = false;
  }

  async leave(): Promise<void> {
    this.#isLeaving = true;
    await Promise.all([this.#device?.close(), ...this.#dead]);
    this.#gateway?.takeDown();
  }

  async #open(time: 'first' | 'again'): Promise<void> {
    const { tally, now } = this.#crew;
    const { group, id, seed } = this.#order;
    const began = now();
    try {
      this.#gateway ??= await Gateway.setUp(group);
      const { line, place } = this.#gateway;
      const mqttUrl = line === undefined ? this.#order.mqttUrl : `mqtts://localhost:${line.port}`;
      const device = await Device.open({
        ...place,
        ...(group.token !== undefined && { token: group.token }),
        deviceId: id,
        ...(mqttUrl !== undefined && { mqttUrl }),
        clean: true,
        renewal: 'manual',
        keepalive: Math.max(15, Math.round(group.settings.keepalive / 1_000)),
        random: seededRandom(seed + 1),
        now: () => Math.round(this.#clock(this.#crew.now())),
        commands: this.#commands(),
      });
      if (this.#isLeaving) return void (await device.close());
      this.#device = device;
      if (time === 'first') {
        this.#fate = 'in';
        tally.count('enrolled');
        tally.record('enroll', now() - began);
      }
      const opened = now();
      device.onState(() => this.#follow(device, opened));
      this.#follow(device, opened);
    } catch (error) {
      const { code, retryAfter } = asDeviceError(error, 'internal');
      tally.error(code);
      if (time === 'again' || this.#isLeaving) return;
      if (PASSING.has(code) && !this.#crew.isOver) {
        const wait = (retryAfter ?? RETRY_S) * 1_000 * (1 + this.#random());
        this.#crew.agenda.at(now() + wait, () => this.arrive());
        return;
      }
      this.#fate = 'refused';
      tally.count('refused');
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
                    this.#crew.agenda.at(this.#crew.now() + after, () => resolve(answer)),
                  ),
              ],
            ],
      ),
    );
  }

  #follow(device: Device, opened: number): void {
    const { tally, now } = this.#crew;
    if (device !== this.#device || this.#fate !== 'in') return;
    const { state, lastError } = device;
    if (state === 'connected') {
      if (this.#isConnected) return;
      this.#isConnected = true;
      tally.count('connects');
      if (this.#revokedAt !== undefined) tally.count('wronglyAllowed');
      if (this.#lostAt === 0) tally.record('connect', now() - opened);
      else tally.record('recovery', now() - Math.max(this.#lostAt, this.#crew.returnedAt));
      this.#lostAt = 0;
      if (!this.#isSpeaking && !this.#crew.isOver) this.#beginToSpeak();
      return;
    }
    if (state === 'renewing') return;
    if (lastError !== undefined) tally.error(lastError.code);
    if (this.#isConnected) {
      this.#loseConnection();
      this.#lostAt = now();
      if (this.#revokedAt !== undefined) tally.record('revocation', now() - this.#revokedAt);
    }
    if (state !== 'revoked' && !(state === 'recovering' && lastError?.code === 'connection_refused')) return;
    if (this.#revokedAt === undefined) tally.count('wronglyRefused');
    this.#fate = 'cut off';
    this.#isSpeaking = false;
    tally.count('cutOff');
    void device.close();
  }

  #loseConnection(): void {
    if (this.#isConnected) this.#crew.tally.count('disconnects');
    this.#isConnected = false;
  }

  #beginToSpeak(): void {
    this.#isSpeaking = true;
    this.#turn += 1;
    for (const publisher of this.#publishers) this.#waitFor(publisher, publisher.begin(this.#crew.now()));
  }

  #waitFor(publisher: Publisher, due: number | undefined): void {
    if (due === undefined) return;
    const turn = this.#turn;
    const slot = this.#crew.agenda.at(due, () => {
      if (turn !== this.#turn || !this.#isSpeaking || this.#crew.isOver) return;
      void this.#send(publisher.next(slot));
      this.#waitFor(publisher, publisher.following());
    });
  }

  async #send(message: Message): Promise<void> {
    const { tally, now } = this.#crew;
    const { publisher } = message;
    const device = this.#device;
    if (device === undefined) return tally.count('dropped');
    tally.count('sent');
    const [underway, unsafe] = [this.#underway, this.#unsafe];
    underway.add(message);
    unsafe.add(message);
    try {
      const receipt = await device.publish(publisher.stream, message.payload, { qos: publisher.qos });
      unsafe.delete(message);
      if (publisher.qos === 0) return;
      await receipt.acknowledged;
      publisher.acknowledged.add(message.sequence);
      tally.count('acknowledged');
      tally.record('puback', now() - message.due);
    } catch (error) {
      const { code } = asDeviceError(error, 'internal');
      if (code !== 'closed') tally.error(code);
    } finally {
      underway.delete(message);
      unsafe.delete(message);
    }
  }
}
