/**
 * Plain MQTT 3.1.1 on loopback, for applications that have an MQTT client and nothing else: what they publish is published
 * as this device, on its own topics and no others; what they subscribe to is its commands. No broker: applications don't
 * hear each other, and nothing is retained.
 */

import { createServer, type Server, type Socket } from 'node:net';
import { type DeviceId, deviceTopicPrefix, filterCovers, parseDeviceTopic } from '@rollcall/protocol';
import { generate, type IConnackPacket, type Packet, type Parser, parser } from 'mqtt-packet';
import type { Command } from '../commands.ts';
import { asDeviceError } from '../device-error.ts';
import type { DeviceLog } from '../device-state.ts';
import { PAYLOAD_MAX } from '../payload.ts';
import type { Receipt } from '../receipt.ts';
import type { AgentDevice } from './agent-device.ts';
import type { CommandQueue } from './command-queue.ts';
import type { LocalServer } from './http-server.ts';
import { MqttFrames } from './mqtt-frames.ts';
import type { LoopbackAddress } from './settings.ts';

export interface MqttListenerOptions {
  readonly address: LoopbackAddress;
  readonly device: AgentDevice;
  readonly commandQueue: CommandQueue;
  readonly log: DeviceLog;
}

export interface MqttListener extends LocalServer {
  readonly port: number;
}

const CONNECTIONS_MAX = 64;
/** Of one application. */
const FILTERS_MAX = 50;
const CONNECT_WITHIN_MS = 10_000;
const PACKET_MAX = PAYLOAD_MAX + 1_024;
/** Messages of one application that are on their way to disk, before its socket isn't read any more. */
const PENDING_MAX = 64;
/** Bytes of commands that one application has not read yet, before it gets no more of them. */
const UNREAD_MAX = 1024 * 1024;

const ACCEPTED = 0;
const PROTOCOL_REFUSED = 1;
const SERVER_UNAVAILABLE = 3;
const SUBSCRIPTION_REFUSED = 0x80;

/** Rejects with the system's error. */
export async function startMqttListener(options: MqttListenerOptions): Promise<MqttListener> {
  const open = new Set<Application>();
  const server = createServer({ noDelay: true }, (socket) => {
    const application = new Application(socket, options);
    open.add(application);
    socket.once('close', () => open.delete(application));
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listening(server, options.address);
  const { port } = server.address() as { readonly port: number };
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const application of open) application.end('agent ends');
      }),
  };
}

class Application {
  readonly #socket: Socket;
  readonly #options: MqttListenerOptions;
  readonly #frames = new MqttFrames(PACKET_MAX);
  readonly #parser: Parser = parser({ protocolVersion: 4 });
  readonly #filters = new Map<string, string>();
  #isConnected = false;
  #pending = 0;
  /** Acknowledgements go out in the order in which their messages came [MQTT-4.6.0-2]. */
  #order: Promise<void> = Promise.resolve();
  #leave: (() => void) | undefined;

  constructor(socket: Socket, options: MqttListenerOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#parser.on('packet', (packet) => this.#handle(packet));
    this.#parser.on('error', (error) => this.end(error.message));
    socket.setTimeout(CONNECT_WITHIN_MS, () => this.end('silence'));
    socket.on('data', (chunk) => this.#read(chunk as Buffer));
    socket.on('error', () => {}); // `close` follows
    socket.once('close', () => this.#leave?.());
  }

  end(why: string): void {
    if (this.#socket.destroyed) return;
    this.#options.log.info({ reason: why }, 'application disconnected');
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    try {
      for (const frame of this.#frames.push(chunk)) {
        if (this.#socket.destroyed) return;
        this.#parser.parse(frame);
      }
    } catch (error) {
      this.end(error instanceof Error ? error.message : 'malformed packet');
    }
  }

  #handle(packet: Packet): void {
    const why = this.#isConnected ? this.#handlePacket(packet) : this.#handleConnect(packet);
    if (why !== undefined) this.end(why);
  }

  /** What is wrong with the first packet, if anything is. */
  #handleConnect(packet: Packet): string | undefined {
    if (packet.cmd !== 'connect') return `expected CONNECT, found ${packet.cmd}`; // [MQTT-3.1.0-1]
    const { protocolId, protocolVersion, will, keepalive = 0 } = packet;
    if (protocolId !== 'MQTT' || protocolVersion !== 4) {
      this.#refuse(PROTOCOL_REFUSED, 'another protocol');
    } else if (will !== undefined && will !== null) {
      this.#refuse(SERVER_UNAVAILABLE, 'a will');
    } else if (this.#options.device.id === undefined) {
      this.#refuse(SERVER_UNAVAILABLE, 'a device that is not enrolled yet');
    } else {
      this.#isConnected = true;
      this.#socket.setTimeout(keepalive * 1_500); // [MQTT-3.1.2-24]
      this.#connack(ACCEPTED);
    }
    return undefined;
  }

  /** Why the connection has to end, if it has to. */
  #handlePacket(packet: Packet): string | undefined {
    switch (packet.cmd) {
      case 'publish':
        return this.#publish(packet.topic, packet.payload, packet.qos, packet.messageId ?? 0);
      case 'subscribe':
        this.#send({
          cmd: 'suback',
          messageId: packet.messageId as number,
          granted: packet.subscriptions.map(({ topic }) => this.#subscribe(topic)),
        });
        return undefined;
      case 'unsubscribe':
        for (const topic of packet.unsubscriptions) this.#filters.delete(topic);
        this.#send({ cmd: 'unsuback', messageId: packet.messageId as number, granted: [] });
        return undefined;
      case 'pingreq':
        this.#send({ cmd: 'pingresp' });
        return undefined;
      case 'disconnect':
        this.#socket.end();
        return undefined;
      default:
        return `expected no ${packet.cmd}`;
    }
  }

  #publish(topic: string, payload: string | Buffer, qos: number, messageId: number): string | undefined {
    const own = parseDeviceTopic(`${this.#prefix}${this.#short(topic)}`);
    if (own?.kind !== 'telemetry' && own?.kind !== 'event' && own?.kind !== 'response') {
      return 'expected telemetry/STREAM, with or without /KEY, events/TYPE or responses/REQUEST';
    }
    if (qos === 2) return 'expected QoS 0 or 1';
    const bytes = Buffer.from(payload as Buffer);
    const acknowledges = qos === 1 ? messageId : undefined;
    if (own.kind === 'response') {
      this.#options.commandQueue.answer(own.requestId, bytes);
      this.#acknowledgeInOrder(Promise.resolve(), acknowledges);
      return undefined;
    }
    const { device } = this.#options;
    const options = { qos: qos as 0 | 1 };
    const receipt: Promise<Receipt> =
      own.kind === 'telemetry'
        ? device.publish(own.stream, bytes, own.key === undefined ? options : { ...options, key: own.key })
        : device.publishEvent(own.type, bytes, options);
    this.#countPending();
    this.#acknowledgeInOrder(
      receipt.finally(() => this.#countStored()),
      acknowledges,
    );
    return undefined;
  }

  /** Acknowledges when the message is on disk. One that isn't ends the connection: MQTT 3.1.1 has no negative acknowledgement. */
  #acknowledgeInOrder(stored: Promise<unknown>, messageId: number | undefined): void {
    const before = this.#order;
    this.#order = (async () => {
      try {
        await stored;
      } catch (error) {
        if (messageId === undefined) return;
        await before;
        this.end(asDeviceError(error, 'internal').code);
        return;
      }
      await before;
      if (messageId !== undefined) this.#send({ cmd: 'puback', messageId });
    })();
  }

  #countPending(): void {
    this.#pending += 1;
    if (this.#pending >= PENDING_MAX) this.#socket.pause();
  }

  #countStored(): void {
    this.#pending -= 1;
    if (this.#pending < PENDING_MAX && this.#socket.isPaused()) this.#socket.resume();
  }

  /** Only what lies within the device's own commands. */
  #subscribe(filter: string): number {
    if (!filterCovers('commands/#', this.#short(filter))) return SUBSCRIPTION_REFUSED;
    if (this.#filters.size >= FILTERS_MAX && !this.#filters.has(filter)) return SUBSCRIPTION_REFUSED;
    this.#filters.set(filter, this.#short(filter));
    this.#leave ??= this.#options.commandQueue.join((command) => this.#take(command));
    return 0;
  }

  #take({ name, requestId, payload }: Command): boolean {
    const short = `commands/${name}/${requestId}`;
    const matching = [...this.#filters].find(([, filter]) => filterCovers(filter, short));
    if (matching === undefined || this.#socket.writableLength > UNREAD_MAX) return false;
    const [written, filter] = matching;
    const topic = `${written.slice(0, written.length - filter.length)}${short}`;
    this.#send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false });
    return true;
  }

  /** An application may write its device's prefix, or leave it out. */
  #short(topic: string): string {
    return topic.startsWith(this.#prefix) ? topic.slice(this.#prefix.length) : topic;
  }

  get #prefix(): string {
    return deviceTopicPrefix(this.#options.device.id as DeviceId);
  }

  #refuse(returnCode: number, found: string): void {
    this.#connack(returnCode);
    this.#options.log.info(
      { reason: `expected MQTT 3.1.1 without a will on an enrolled device, found ${found}` },
      'application refused',
    );
    this.#socket.end();
  }

  #connack(returnCode: number): void {
    this.#send({ cmd: 'connack', returnCode, sessionPresent: false } as IConnackPacket);
  }

  #send(packet: Packet): void {
    if (!this.#socket.destroyed) this.#socket.write(generate(packet));
  }
}

function listening(server: Server, { host, port }: LoopbackAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
