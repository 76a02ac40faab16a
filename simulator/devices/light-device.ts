import { backoffDelay } from '@rollcall/device-sdk/building-blocks';
import type { MqttVersion } from '@rollcall/device-sdk/mqtt-codec';
import { seededRandom } from '../seeded-random.ts';
import type { EstClient, EstResponse, newKey } from './est-client.ts';
import { errorCause, requestFirstCertificate } from './first-certificate.ts';
import { LightConnection, type LightConnectionEvents } from './light-connection.ts';
import type { AcceptedSession } from './outgoing-messages.ts';
import { PublisherState } from './publisher-state.ts';
import { createPublishers, deviceClock } from './publishers.ts';
import type { DeviceOutcome, GroupContext, ShardContext, SimulatedDevice } from './shard-context.ts';
import type { TlsIdentity } from './tls-connections.ts';

export interface LightDeviceOptions {
  readonly index: number;
  /** In its group. */
  readonly position: number;
  readonly id: string;
  readonly group: GroupContext;
  readonly version: MqttVersion;
  readonly seed: number;
  readonly identity: TlsIdentity | undefined;
  /** Local address to connect from; each has its own ports. */
  readonly sourceAddress: string | undefined;
  /** Asks for a certificate when it is this device's turn. */
  readonly enroll: (act: (estClient: EstClient) => Promise<EstResponse>) => Promise<EstResponse>;
  /** Key for a request; shared ones come from a pool. */
  readonly makeKey: () => ReturnType<typeof newKey>;
}

type State = 'waiting' | 'enrolling' | 'away' | 'connecting' | 'connected' | 'silenced' | 'gone';

const RECONNECT = { base: 1_000, cap: 30_000, refusalFloor: 5_000 };
/** After so many refusals in a row a device gives up. */
const REFUSALS_MAX = 3;

export class LightDevice implements SimulatedDevice {
  readonly index: number;
  readonly id: string;
  readonly #order: LightDeviceOptions;
  readonly #context: ShardContext;
  readonly #random: () => number;
  readonly #publisherState: PublisherState;
  readonly #events: LightConnectionEvents;
  #identity: TlsIdentity | undefined;
  #session: Buffer | undefined;
  #state: State = 'waiting';
  #outcome: DeviceOutcome = 'waiting';
  #line: LightConnection | undefined;
  /** Grows with each connection: timers of earlier ones no longer apply. */
  #generation = 0;
  #failures = 0;
  #refusals = 0;
  #lostAt = 0;
  #revokedAt: number | undefined;

  constructor(order: LightDeviceOptions, context: ShardContext) {
    this.index = order.index;
    this.id = order.id;
    this.#order = order;
    this.#context = context;
    this.#identity = order.identity;
    this.#random = seededRandom(order.seed);
    this.#publisherState = new PublisherState(
      context,
      createPublishers(order.group, order, deviceClock(order.group, context.now()), context.names),
      {
        version: order.version,
        isOpen: () => this.#state === 'connected',
        write: (packet) => this.#line?.write(packet),
      },
    );
    this.#events = {
      connected: (took, session) => this.#connected(took, session),
      refused: (cause) => this.#refused(cause),
      acknowledged: (packetId, reasonCode) => this.#publisherState.acknowledge(packetId, reasonCode),
      session: (session) => {
        this.#session = session;
      },
      lost: (cause) => this.#lost(cause),
    };
  }

  get group(): string {
    return this.#order.group.name;
  }

  get isConnected(): boolean {
    return this.#state === 'connected';
  }

  get outcome(): DeviceOutcome {
    return this.#outcome;
  }

  get identity(): TlsIdentity | undefined {
    return this.#identity;
  }

  get unacknowledged(): number {
    if (this.#outcome !== 'in') return 0; // the broker will not acknowledge them any more
    return this.#publisherState.unacknowledged;
  }

  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return this.#publisherState.acknowledged();
  }

  start(): void {
    if (this.#identity === undefined) void this.#enroll();
    else {
      this.#outcome = 'in';
      this.#connect();
    }
  }

  expectRevocation(at: number): void {
    this.#revokedAt = at;
    this.#context.counters.count('revoked');
  }

  /** Sends and reads nothing more; the connection stays open on the broker's side. */
  cutConnection(milliseconds: number): void {
    if (this.#state !== 'connected' && this.#state !== 'connecting' && this.#state !== 'away') return;
    this.#silence();
    this.#line?.pause();
    this.#in(milliseconds, () => {
      this.#line?.reset();
      this.#connectAfterLoss();
    });
  }

  losePower(milliseconds: number): void {
    if (this.#state === 'waiting' || this.#state === 'enrolling' || this.#state === 'gone') return;
    this.#publisherState.dropAll();
    this.#session = undefined;
    this.#silence();
    this.#line?.reset();
    this.#in(milliseconds, () => this.#connectAfterLoss());
  }

  /** Gets the next certificate with a new key and reconnects with it. */
  async renew(): Promise<void> {
    const current = this.#identity;
    const { estClient } = this.#order.group;
    if (current === undefined || estClient === undefined) return;
    try {
      const answer = await this.#order.enroll((est) => est.renew(current, this.#order.makeKey()));
      if ('refused' in answer) {
        this.#context.counters.error(answer.refused);
        if (this.#revokedAt === undefined) this.#context.counters.count('wronglyRefused');
        return;
      }
      this.#identity = answer.identity;
    } catch (error) {
      this.#context.counters.error(errorCause(error));
      return;
    }
    this.#context.counters.count('renewed');
    this.#session = undefined; // it would resume under the old certificate
    if (this.#state !== 'connected') return;
    this.#silence();
    this.#line?.end();
    this.#connect();
  }

  stopPublishing(): void {
    this.#publisherState.pause();
    this.#generation += this.#state === 'waiting' ? 1 : 0;
    if (this.#state === 'waiting') this.#state = 'gone';
  }

  close(): Promise<void> {
    this.#generation += 1;
    this.#state = 'gone';
    return this.#line?.close() ?? Promise.resolve();
  }

  async #enroll(): Promise<void> {
    this.#state = 'enrolling';
    const { makeKey, enroll, group } = this.#order;
    const answer = await requestFirstCertificate(
      {
        id: this.id,
        token: group.token ?? '',
        key: makeKey(),
        random: this.#random,
        ask: enroll,
        isWanted: () => this.#state === 'enrolling' && !this.#context.isRunOver,
      },
      this.#context,
    );
    if (answer === undefined) return;
    if (answer === 'refused') {
      this.#outcome = 'refused';
      this.#state = 'gone';
      return;
    }
    this.#identity = answer;
    this.#outcome = 'in';
    this.#connect();
  }

  #connectAfterLoss(): void {
    this.#lostAt = this.#context.now();
    this.#connect();
  }

  #connect(): void {
    if (this.#state === 'gone' || this.#outcome !== 'in') return;
    const { group, version, sourceAddress } = this.#order;
    this.#state = 'connecting';
    this.#generation += 1;
    this.#line = new LightConnection(
      { id: this.id, group, version, identity: this.#identity, session: this.#session, sourceAddress },
      this.#events,
      this.#context,
    );
  }

  #connected(took: number, session: AcceptedSession): void {
    const { counters, now } = this.#context;
    const { sleep } = this.#order.group.settings;
    const time = now();
    this.#state = 'connected';
    this.#failures = 0;
    this.#refusals = 0;
    counters.count('connects');
    counters.count(this.#order.version === 5 ? 'connectsMqtt5' : 'connectsMqtt311');
    counters.record('connect', took);
    if (this.#revokedAt !== undefined) counters.count('wronglyAllowed');
    if (this.#lostAt !== 0) counters.record('recovery', time - Math.max(this.#lostAt, this.#context.serverReturnedAt));
    this.#lostAt = 0;
    this.#publisherState.resume(time, session);
    if (sleep !== undefined) this.#goToSleepLater(sleep);
  }

  #goToSleepLater({ awake, asleep }: { readonly awake: number; readonly asleep: number }): void {
    const about = (time: number) => time * (0.9 + this.#random() * 0.2);
    this.#in(about(awake), () => {
      if (this.#state !== 'connected' || this.#context.isRunOver) return;
      if (this.#publisherState.unacknowledged > 0) return this.#goToSleepLater({ awake: 200, asleep });
      this.#publisherState.pause();
      this.#silence();
      this.#line?.end();
      this.#in(about(asleep), () => this.#connect());
    });
  }

  /** Ignores every later event of the connection. */
  #silence(): void {
    if (this.#state === 'connected') this.#context.counters.count('disconnects');
    this.#state = 'silenced';
    this.#line?.ignoreEvents();
    this.#generation += 1;
  }

  #refused(cause: string): void {
    const { counters } = this.#context;
    counters.error(cause);
    this.#refusals += 1;
    if (this.#revokedAt === undefined) counters.count('wronglyRefused');
    if (this.#revokedAt !== undefined || this.#refusals >= REFUSALS_MAX) {
      this.#outcome = 'connection refused';
      this.#publisherState.pause();
      counters.count('connectionRefused');
    }
    this.#line?.reset();
  }

  #lost(cause: string | undefined): void {
    const { counters, now } = this.#context;
    const wasConnected = this.#state === 'connected';
    this.#line = undefined;
    this.#generation += 1;
    if (wasConnected) {
      counters.count('disconnects');
      this.#lostAt = now();
      if (this.#revokedAt !== undefined) counters.record('revocation', now() - this.#revokedAt);
    }
    if (this.#outcome === 'connection refused') {
      this.#state = 'gone';
      return;
    }
    if (cause !== undefined || !wasConnected) counters.error(cause ?? 'closed_before_connack');
    else if (this.#revokedAt === undefined) counters.error('closed_by_server');
    this.#state = 'away';
    const wait = backoffDelay({ kind: 'lost', earlier: this.#failures }, this.#random, RECONNECT);
    this.#failures += 1;
    this.#in(wait, () => this.#connect());
  }

  /** Unless something else has happened to the connection until then. */
  #in(milliseconds: number, run: () => void): void {
    const generation = this.#generation;
    this.#context.timers.at(this.#context.now() + milliseconds, () => {
      if (generation === this.#generation && this.#state !== 'gone') run();
    });
  }
}
