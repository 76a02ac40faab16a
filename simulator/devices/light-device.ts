import { backoffDelay } from '@rollcall/device-sdk/building-blocks';
import { seededRandom } from '../random-times.ts';
import type { EstAnswer, EstDoor, newKey } from './est-client.ts';
import { causeOf, firstCertificate } from './first-certificate.ts';
import { SwarmLine, type SwarmLineEvents } from './light-connection.ts';
import { Speech } from './publisher-state.ts';
import { clockOf, publishersOf } from './publishers.ts';
import type { Crew, Fate, GroupOfDevices, LiveDevice } from './shard-context.ts';
import type { LineIdentity } from './tls-connections.ts';

export interface SwarmOrder {
  readonly index: number;
  /** In its group. */
  readonly position: number;
  readonly id: string;
  readonly group: GroupOfDevices;
  readonly seed: number;
  readonly identity: LineIdentity | undefined;
  /** Own address to come from; each has its own ports. */
  readonly sourceAddress: string | undefined;
  /** Asks for a certificate when it is this device's turn. */
  readonly enroll: (act: (door: EstDoor) => Promise<EstAnswer>) => Promise<EstAnswer>;
  /** Key for a request; shared ones come from a pool. */
  readonly makeKey: () => ReturnType<typeof newKey>;
}

type State = 'waiting' | 'enrolling' | 'away' | 'connecting' | 'connected' | 'silenced' | 'gone';

const RECONNECT = { base: 1_000, cap: 30_000, refusalFloor: 5_000 };
/** Refusals in a row that an honest device takes for its last word. */
const REFUSALS_MAX = 3;

export class SwarmDevice implements LiveDevice {
  readonly index: number;
  readonly id: string;
  readonly #order: SwarmOrder;
  readonly #crew: Crew;
  readonly #random: () => number;
  readonly #speech: Speech;
  readonly #events: SwarmLineEvents;
  #identity: LineIdentity | undefined;
  #session: Buffer | undefined;
  #state: State = 'waiting';
  #fate: Fate = 'waiting';
  #line: SwarmLine | undefined;
  /** Grows with each connection: what was entered for an earlier one is not wanted any more. */
  #generation = 0;
  #failures = 0;
  #refusals = 0;
  #lostAt = 0;
  #revokedAt: number | undefined;

  constructor(order: SwarmOrder, crew: Crew) {
    this.index = order.index;
    this.id = order.id;
    this.#order = order;
    this.#crew = crew;
    this.#identity = order.identity;
    this.#random = seededRandom(order.seed);
    this.#speech = new Speech(crew, publishersOf(order.group, order, clockOf(order.group, crew.now())), {
      isOpen: () => this.#state === 'connected',
      isWanted: () => this.#fate === 'in',
      write: (packet) => this.#line?.write(packet),
    });
    this.#events = {
      connected: (took) => this.#connected(took),
      refused: (cause) => this.#refused(cause),
      acknowledged: (packetId) => this.#speech.acknowledge(packetId),
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

  get fate(): Fate {
    return this.#fate;
  }

  get identity(): LineIdentity | undefined {
    return this.#identity;
  }

  get waiting(): number {
    if (this.#fate !== 'in') return 0; // nobody will acknowledge them any more
    return this.#speech.waiting;
  }

  acknowledged(): Readonly<Record<string, readonly number[]>> {
    return this.#speech.acknowledged();
  }

  arrive(): void {
    if (this.#identity === undefined) void this.#enroll();
    else {
      this.#fate = 'in';
      this.#connect();
    }
  }

  expectRevocation(at: number): void {
    this.#revokedAt = at;
    this.#crew.tally.count('revoked');
  }

  /** Nothing gets through, and nobody is told: the connection stays open on the other side. */
  cutLine(milliseconds: number): void {
    if (this.#state !== 'connected' && this.#state !== 'connecting' && this.#state !== 'away') return;
    this.#silence();
    this.#line?.hang();
    this.#in(milliseconds, () => {
      this.#line?.reset();
      this.#connectAfterLoss();
    });
  }

  losePower(milliseconds: number): void {
    if (this.#state === 'waiting' || this.#state === 'enrolling' || this.#state === 'gone') return;
    this.#speech.forget();
    this.#session = undefined;
    this.#silence();
    this.#line?.reset();
    this.#in(milliseconds, () => this.#connectAfterLoss());
  }

  /** Gets the next certificate with a new key and comes back with it. */
  async renew(): Promise<void> {
    const current = this.#identity;
    const { door } = this.#order.group;
    if (current === undefined || door === undefined) return;
    try {
      const answer = await this.#order.enroll((est) => est.renew(current, this.#order.makeKey()));
      if ('refused' in answer) {
        this.#crew.tally.error(answer.refused);
        if (this.#revokedAt === undefined) this.#crew.tally.count('wronglyRefused');
        return;
      }
      this.#identity = answer.identity;
    } catch (error) {
      this.#crew.tally.error(causeOf(error));
      return;
    }
    this.#crew.tally.count('renewed');
    this.#session = undefined; // it would resume under the old certificate
    if (this.#state !== 'connected') return;
    this.#silence();
    this.#line?.end();
    this.#connect();
  }

  fallSilent(): void {
    this.#speech.fallSilent();
    this.#generation += this.#state === 'waiting' ? 1 : 0;
    if (this.#state === 'waiting') this.#state = 'gone';
  }

  leave(): Promise<void> {
    this.#generation += 1;
    this.#state = 'gone';
    return this.#line?.leave() ?? Promise.resolve();
  }

  async #enroll(): Promise<void> {
    this.#state = 'enrolling';
    const { makeKey, enroll, group } = this.#order;
    const answer = await firstCertificate(
      {
        id: this.id,
        token: group.token ?? '',
        key: makeKey(),
        random: this.#random,
        ask: enroll,
        isWanted: () => this.#state === 'enrolling' && !this.#crew.isOver,
      },
      this.#crew,
    );
    if (answer === undefined) return;
    if (answer === 'refused') {
      this.#fate = 'refused';
      this.#state = 'gone';
      return;
    }
    this.#identity = answer;
    this.#fate = 'in';
    this.#connect();
  }

  #connectAfterLoss(): void {
    this.#lostAt = this.#crew.now();
    this.#connect();
  }

  #connect(): void {
    if (this.#state === 'gone' || this.#fate !== 'in') return;
    const { group, sourceAddress } = this.#order;
    this.#state = 'connecting';
    this.#generation += 1;
    this.#line = new SwarmLine(
      { id: this.id, group, identity: this.#identity, session: this.#session, sourceAddress },
      this.#events,
      this.#crew,
    );
  }

  #connected(took: number): void {
    const { tally, now } = this.#crew;
    const { sleep } = this.#order.group.settings;
    const time = now();
    this.#state = 'connected';
    this.#failures = 0;
    this.#refusals = 0;
    tally.count('connects');
    tally.record('connect', took);
    if (this.#revokedAt !== undefined) tally.count('wronglyAllowed');
    if (this.#lostAt !== 0) tally.record('recovery', time - Math.max(this.#lostAt, this.#crew.returnedAt));
    this.#lostAt = 0;
    this.#speech.resume(time);
    if (sleep !== undefined) this.#goToSleepLater(sleep);
  }

  #goToSleepLater({ awake, asleep }: { readonly awake: number; readonly asleep: number }): void {
    const about = (time: number) => time * (0.9 + this.#random() * 0.2);
    this.#in(about(awake), () => {
      if (this.#state !== 'connected' || this.#crew.isOver) return;
      if (this.#speech.waiting > 0) return this.#goToSleepLater({ awake: 200, asleep });
      this.#speech.fallSilent();
      this.#silence();
      this.#line?.end();
      this.#in(about(asleep), () => this.#connect());
    });
  }

  /** From here on nothing that the connection says is heard. */
  #silence(): void {
    if (this.#state === 'connected') this.#crew.tally.count('disconnects');
    this.#state = 'silenced';
    this.#line?.silence();
    this.#generation += 1;
  }

  #refused(cause: string): void {
    const { tally } = this.#crew;
    tally.error(cause);
    this.#refusals += 1;
    if (this.#revokedAt === undefined) tally.count('wronglyRefused');
    if (this.#revokedAt !== undefined || this.#refusals >= REFUSALS_MAX) {
      this.#fate = 'cut off';
      this.#speech.fallSilent();
      tally.count('cutOff');
    }
    this.#line?.reset();
  }

  #lost(cause: string | undefined): void {
    const { tally, now } = this.#crew;
    const wasConnected = this.#state === 'connected';
    this.#line = undefined;
    this.#generation += 1;
    if (wasConnected) {
      tally.count('disconnects');
      this.#lostAt = now();
      if (this.#revokedAt !== undefined) tally.record('revocation', now() - this.#revokedAt);
    }
    if (this.#fate === 'cut off') {
      this.#state = 'gone';
      return;
    }
    if (cause !== undefined || !wasConnected) tally.error(cause ?? 'closed_before_connack');
    else if (this.#revokedAt === undefined) tally.error('closed_by_server');
    this.#state = 'away';
    const wait = backoffDelay({ kind: 'lost', earlier: this.#failures }, this.#random, RECONNECT);
    this.#failures += 1;
    this.#in(wait, () => this.#connect());
  }

  /** Unless something else has happened to the connection until then. */
  #in(milliseconds: number, run: () => void): void {
    const generation = this.#generation;
    this.#crew.agenda.at(this.#crew.now() + milliseconds, () => {
      if (generation === this.#generation && this.#state !== 'gone') run();
    });
  }
}
