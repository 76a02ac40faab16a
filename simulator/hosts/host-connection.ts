import { Problem } from '@rollcall/protocol';
import type { FromShard } from '../devices/shard-messages.ts';
import { preciseNow } from '../devices/timer-wheel.ts';
import type { ShardEvents, ShardPort } from '../run/shard-placement.ts';
import { ClockOffset, type ClockReading } from './clock-offset.ts';
import { type FrameConnection, FrameRefused, readMessage } from './frames.ts';
import { type FromHost, fromHost, type JoinRequest, type ToHost } from './host-messages.ts';

const PING_EVERY_MS = 1_000;
/** A host that sends nothing for so long is lost. */
const SILENCE_MS = 10_000;
/** Exchanges before a run; the shortest gives the smallest error. */
const FIRST_PINGS = 12;

export class HostConnection {
  readonly joinRequest: JoinRequest;
  readonly address: string;
  readonly #line: FrameConnection;
  readonly #clock = new ClockOffset();
  readonly #asked = new Map<number, number>();
  readonly #shards = new Map<number, ShardEvents>();
  /** Ids of the devices that each shard was given. */
  readonly #given = new Map<number, ReadonlySet<string>>();
  readonly #pulse: NodeJS.Timeout;
  #pings = 0;
  #answered: () => void = () => {};
  #memory: number;
  #devices = 0;
  #loss: Problem | undefined;
  #isOver = false;

  constructor(hello: JoinRequest, address: string, line: FrameConnection) {
    this.joinRequest = hello;
    this.address = address;
    this.#line = line;
    this.#memory = hello.memory;
    this.#pulse = setInterval(() => {
      if (performance.now() - line.lastReceivedAt > SILENCE_MS)
        line.destroy(`it said nothing for ${SILENCE_MS / 1_000} s`);
      else this.#ping();
    }, PING_EVERY_MS);
  }

  get name(): string {
    return this.joinRequest.name;
  }

  get memory(): number {
    return this.#memory;
  }

  get clock(): ClockReading {
    return this.#clock.reading;
  }

  get lostBecause(): Problem | undefined {
    return this.#loss;
  }

  /** How many devices run there. */
  get devices(): number {
    return this.#devices;
  }

  /** Learns its clock; resolves also when it is lost meanwhile. */
  async measureClock(): Promise<void> {
    for (let time = 0; time < FIRST_PINGS && this.#loss === undefined; time += 1) {
      await new Promise<void>((resolve) => {
        this.#answered = resolve;
        this.#ping();
      });
    }
    this.#clock.fix();
  }

  open(shard: number, events: ShardEvents): ShardPort {
    this.#shards.set(shard, events);
    if (this.#loss !== undefined) queueMicrotask(() => this.#tellLoss());
    return {
      post: (message) => {
        if (message.kind === 'prepare') {
          this.#devices += message.config.devices.length;
          this.#given.set(shard, new Set(message.config.devices.map(({ id }) => id)));
        }
        this.#send({ kind: 'shard', shard, message });
      },
      close: async () => {
        this.#shards.delete(shard); // the host ends its threads when the run is over
      },
    };
  }

  handleText(text: string): void {
    let message: FromHost;
    try {
      message = readMessage(fromHost, text);
    } catch (error) {
      if (!(error instanceof FrameRefused)) throw error;
      this.#line.destroy(error.message);
      return;
    }
    if (message.kind === 'pong') this.#pong(message);
    else this.#told(message.shard, message.message);
  }

  /** A host may report identities of its own devices only. */
  #told(shard: number, message: FromShard): void {
    if (message.kind === 'ended') {
      const given = this.#given.get(shard);
      if (Object.keys(message.identities).some((id) => given?.has(id) !== true)) {
        this.#line.destroy('it reported the identity of a device that it was not given');
        return;
      }
    }
    this.#shards.get(shard)?.message(this.#named(message));
  }

  /** Its connection is gone. */
  closed(reason: string): void {
    clearInterval(this.#pulse);
    if (this.#isOver || this.#loss !== undefined) return;
    const held = this.#devices === 0 ? '' : `, with its ${this.#devices} devices`;
    this.#loss = new Problem('host_lost', { reason: `"${this.name}" (${this.address})${held}: ${reason}` });
    this.#answered();
    this.#tellLoss();
  }

  end(verdict: 'passed' | 'failed' | 'none'): void {
    this.#isOver = true;
    clearInterval(this.#pulse);
    this.#line.sendAndClose({ kind: 'over', verdict } satisfies ToHost);
  }

  /** A run on several hosts wants to know where something failed. */
  #named(message: FromShard): FromShard {
    return message.kind === 'failed' ? { ...message, error: `host "${this.name}": ${message.error}` } : message;
  }

  #tellLoss(): void {
    for (const shard of this.#shards.values()) shard.lost(this.#loss as Problem);
  }

  #ping(): void {
    this.#pings += 1;
    this.#asked.set(this.#pings, preciseNow());
    this.#send({ kind: 'ping', id: this.#pings });
  }

  #pong({ id, at, memory }: Extract<FromHost, { kind: 'pong' }>): void {
    const sent = this.#asked.get(id);
    if (sent === undefined) return;
    this.#asked.delete(id);
    this.#memory = memory;
    this.#clock.add({ sent, received: preciseNow(), there: at });
    this.#answered();
  }

  #send(message: ToHost): void {
    this.#line.send(message);
  }
}
