/** An MQTT client that sends any bytes, says what comes back, and never answers by itself. */

import { once } from 'node:events';
import tls from 'node:tls';
import mqttPacket, { type Packet } from 'mqtt-packet';

export interface RawClientOptions {
  readonly port: number;
  readonly ca: string;
  readonly chain?: string | undefined;
  readonly key?: string | undefined;
  readonly tls?: tls.ConnectionOptions;
}

export interface ConnectOptions {
  readonly clientId: string;
  readonly clean?: boolean;
  readonly keepalive?: number;
  readonly will?: { topic: string; payload: string; qos?: 0 | 1 | 2; retain?: boolean };
  readonly username?: string;
}

const SETTLED = 65_535;

export class RawClient {
  readonly socket: tls.TLSSocket;
  /** Everything received, in order. */
  readonly packets: Packet[] = [];
  readonly closed: Promise<void>;
  #taken = 0;
  #waiting: (() => void)[] = [];

  private constructor(socket: tls.TLSSocket) {
    this.socket = socket;
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    parser.on('packet', (packet) => {
      this.packets.push(packet);
      this.#wake();
    });
    socket.on('data', (chunk: Buffer) => parser.parse(chunk));
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        resolve();
        this.#wake();
      });
    });
  }

  /** Resolves when the handshake is finished on this side; the server may still say no. */
  static async open({ port, ca, chain, key, tls: options }: RawClientOptions): Promise<RawClient> {
    const socket = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca, cert: chain, key, ...options });
    const client = new RawClient(socket);
    await Promise.race([once(socket, 'secureConnect'), client.closed]);
    return client;
  }

  send(packet: Packet | Buffer): void {
    this.socket.write(Buffer.isBuffer(packet) ? packet : mqttPacket.generate(packet));
  }

  /** Sends CONNECT and resolves with the return code; undefined when the connection was closed without one. */
  async connect(options: ConnectOptions): Promise<number | undefined> {
    this.send(connectPacket(options));
    const connack = await this.next();
    return connack?.cmd === 'connack' ? connack.returnCode : undefined;
  }

  /** The next packet that was not taken yet; undefined when none comes any more. */
  async next(): Promise<Packet | undefined> {
    while (this.#taken >= this.packets.length) {
      if (this.socket.closed) return undefined;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#taken += 1;
    return this.packets[this.#taken - 1];
  }

  /** Resolves when the server has processed everything sent so far, with what it sent meanwhile; or when it closed. */
  async settled(): Promise<readonly Packet[]> {
    // UNSUBSCRIBE, since its answer waits for all that came before it, and PINGRESP does not.
    this.send({ cmd: 'unsubscribe', messageId: SETTLED, unsubscriptions: ['settled'] });
    const seen: Packet[] = [];
    for (;;) {
      const packet = await this.next();
      if (packet === undefined || (packet.cmd === 'unsuback' && packet.messageId === SETTLED)) return seen;
      seen.push(packet);
    }
  }

  async publish(
    topic: string,
    payload: string | Buffer = 'x',
    options: { qos?: 0 | 1 | 2; retain?: boolean; messageId?: number } = {},
  ): Promise<void> {
    const { qos = 0, retain = false, messageId = 1 } = options;
    this.send({ cmd: 'publish', topic, payload, qos, retain, dup: false, ...(qos > 0 ? { messageId } : {}) });
  }

  /** Resolves with the granted codes. */
  async subscribe(
    ...filters: readonly (string | { topic: string; qos: 0 | 1 | 2 })[]
  ): Promise<readonly number[] | undefined> {
    const subscriptions = filters.map((filter) =>
      typeof filter === 'string' ? { topic: filter, qos: 0 as const } : filter,
    );
    this.send({ cmd: 'subscribe', messageId: 7, subscriptions });
    for (;;) {
      const packet = await this.next();
      if (packet === undefined) return undefined;
      if (packet.cmd === 'suback') return packet.granted as number[];
    }
  }

  destroy(): void {
    this.socket.destroy();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

export function connectPacket({ clientId, clean = true, keepalive = 60, will, username }: ConnectOptions): Packet {
  return {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean,
    clientId,
    keepalive,
    ...(username === undefined ? {} : { username }),
    ...(will === undefined
      ? {}
      : {
          will: {
            topic: will.topic,
            payload: Buffer.from(will.payload),
            qos: will.qos ?? 0,
            retain: will.retain ?? false,
          },
        }),
  };
}
