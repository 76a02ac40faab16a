import {
  encodeConnect,
  encodePuback,
  encodePublish,
  encodeSubscribe,
  PINGREQ,
  type ReceivedPublish,
} from '@rollcall/device-sdk/mqtt-codec';
import { ALL_RESPONSES_FILTER, commandTopic, type DeviceId, parseDeviceTopic } from '@rollcall/protocol';
import { type BrokerNames, FLEET_NAMES, readTelemetryTopic, telemetryFilter } from '../devices/broker-names.ts';
import { brokerPackets } from '../devices/broker-packets.ts';
import type { Counters } from '../devices/counters.ts';
import { SequenceSet } from '../devices/sequence-set.ts';
import { preciseNow } from '../devices/timer-wheel.ts';
import type { TlsConnector, TlsIdentity, TlsTarget } from '../devices/tls-connections.ts';

export interface ObserverOptions {
  readonly clientId: string;
  readonly identity: TlsIdentity;
  readonly target: TlsTarget;
  readonly connector: TlsConnector;
  readonly counters: Counters;
  readonly names: BrokerNames;
  /** Streams on which devices have wills. */
  readonly willStreams: ReadonlySet<string>;
}

/** Of the service: MQTT 3.1.1, which every broker speaks. */
const VERSION = 4;
const KEEPALIVE_S = 60;
const RETRY_MS = 500;

export class Observer {
  /** By `device stream`. */
  readonly seen = new Map<string, SequenceSet>();
  readonly #options: ObserverOptions;
  readonly #asked = new Map<string, number>();
  #write: (packet: Buffer) => void = () => {};
  #isClosed = false;
  #end: () => void = () => {};
  #retry: NodeJS.Timeout | undefined;
  #requests = 0;

  constructor(options: ObserverOptions) {
    this.#options = options;
  }

  /** Resolves when it is subscribed for the first time; later it reconnects by itself. */
  open(): Promise<void> {
    return new Promise((resolve) => this.#connect(resolve));
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    this.#end();
  }

  /** Sends a command to each of these devices. */
  command(name: string, devices: readonly string[]): void {
    for (const device of devices) {
      this.#requests += 1;
      const requestId = `sim-${this.#requests}`;
      this.#asked.set(requestId, preciseNow());
      this.#options.counters.count('commandsSent');
      const topic = commandTopic(device as DeviceId, name, requestId);
      const packetId = (this.#requests % 0x7fff) + 1;
      this.#write(encodePublish(VERSION, { topic, payload: '{}', qos: 1, packetId }));
    }
  }

  #connect(subscribed: () => void): void {
    const { connector, target, identity, clientId, names } = this.#options;
    const reader = brokerPackets(VERSION);
    const socket = connector.open(
      { target, identity },
      {
        secure: () =>
          socket.write(encodeConnect({ version: VERSION, clientId, cleanStart: true, keepAlive: KEEPALIVE_S })),
        data: (bytes) =>
          reader.read(bytes, (packet) => {
            if (packet.kind === 'publish') this.#received(packet);
            else if (packet.kind === 'suback') subscribed();
            else if (packet.kind === 'connack' && packet.reasonCode === 0) {
              this.#write(encodeSubscribe(VERSION, 1, subscriptionsOf(names)));
            }
          }),
        closed: () => {
          clearInterval(pings);
          if (!this.#isClosed) this.#retry = setTimeout(() => this.#connect(subscribed), RETRY_MS);
        },
      },
    );
    const pings = setInterval(() => socket.write(PINGREQ), (KEEPALIVE_S * 1_000) / 2);
    this.#write = (packet) => socket.write(packet);
    this.#end = () => {
      clearInterval(pings);
      socket.destroy();
    };
  }

  #received({ topic, qos, packetId, payload }: ReceivedPublish): void {
    const { counters, willStreams, names } = this.#options;
    if (qos === 1) this.#write(encodePuback(VERSION, packetId));
    const parsed = parseDeviceTopic(topic);
    if (parsed?.kind === 'response') {
      const asked = this.#asked.get(parsed.requestId);
      if (asked === undefined) return;
      this.#asked.delete(parsed.requestId);
      counters.count('commandsAnswered');
      counters.record('command', preciseNow() - asked);
      return;
    }
    const telemetry = readTelemetryTopic(names, topic);
    if (telemetry === undefined) return;
    if (willStreams.has(telemetry.stream)) {
      counters.count('wills');
      return;
    }
    const message = readPayload(payload);
    if (message === undefined) return;
    if (message.device !== telemetry.device) {
      counters.count('forged');
      return;
    }
    counters.count('received');
    const key = `${telemetry.device} ${telemetry.stream}`;
    let set = this.seen.get(key);
    if (set === undefined) {
      set = new SequenceSet();
      this.seen.set(key, set);
    }
    const { last } = set;
    if (!set.add(message.seq)) {
      counters.count('duplicates');
      return;
    }
    if (last !== undefined && message.seq < last) counters.count('reordered');
    counters.record('service', preciseNow() - message.due);
  }
}

/** A broker with topics of its own knows no command responses, and may end the session of a client that subscribes to them. */
function subscriptionsOf(names: BrokerNames): readonly { readonly filter: string; readonly qos: 1 }[] {
  const filters =
    names.topic === FLEET_NAMES.topic ? [telemetryFilter(names), ALL_RESPONSES_FILTER] : [telemetryFilter(names)];
  return filters.map((filter) => ({ filter, qos: 1 }));
}

/** The fields that every simulated device sends; undefined for other payloads. */
export function readPayload(
  payload: Buffer | string,
): { readonly device: string; readonly seq: number; readonly due: number } | undefined {
  try {
    const value = JSON.parse(payload.toString()) as { device?: unknown; seq?: unknown; due?: unknown };
    const { device, seq, due } = value;
    if (typeof device !== 'string' || !Number.isInteger(seq)) return undefined;
    return { device, seq: seq as number, due: typeof due === 'number' ? due : Number.NaN };
  } catch {
    return undefined;
  }
}
