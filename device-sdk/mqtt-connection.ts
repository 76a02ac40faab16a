/**
 * One MQTT connection over mutual TLS. It never reconnects and reports once why it ended. A dead connection and a broker
 * that stops acknowledging end it as well.
 */

import type { TLSSocket } from 'node:tls';
import { DeviceError } from './device-error.ts';
import { isNetworkError, networkReason } from './https-exchange.ts';
import type { StoredIdentity } from './identity-store.ts';
import type { KeyProvider } from './key-provider.ts';
import {
  DISCONNECT,
  encodeConnect,
  encodePuback,
  encodePublish,
  encodeSubscribe,
  PacketReader,
  PINGREQ,
  type ReceivedPacket,
} from './mqtt-packets.ts';
import type { OutboxMessage } from './outbox.ts';
import type { PacketIds } from './packet-ids.ts';
import { uptime } from './schedule.ts';
import { isDateError, openTls, serverTrustError, type ValidityTime } from './server-verification.ts';

export interface MqttConnectionOptions {
  readonly identity: StoredIdentity;
  readonly keys?: KeyProvider | undefined;
  readonly mqttUrl: string;
  /** The time for the validity check of the broker's certificate. */
  readonly dates: ValidityTime;
  readonly packetIds: PacketIds;
  /** False keeps subscriptions and queued commands at the broker while the device is away [MQTT-3.1.2-4]. */
  readonly clean: boolean;
  /** Seconds of silence, in either direction, before PINGREQ; half as long for PINGRESP. */
  readonly keepalive: number;
  /** Milliseconds for TCP, TLS and CONNACK together. */
  readonly connectTimeout: number;
  /** Milliseconds without any acknowledgement, while messages are unanswered, after which the broker is given up. */
  readonly ackTimeout: number;
}

/**
 * `refused`: TLS, certificate or identity were not accepted by one of both sides. `invalid dates`: the broker's certificate is
 * not valid now, by the system's clock. `lost`: everything else.
 */
export interface ConnectionEnd {
  readonly kind: 'lost' | 'refused' | 'invalid dates';
  readonly error: DeviceError;
}

export interface MqttConnectionListener {
  connected(): void;
  /** What is acknowledged when the promise resolves; if it rejects, the broker will send it again another time. */
  message(topic: string, payload: Buffer): Promise<void> | undefined;
  ended(end: ConnectionEnd): void;
}

/** Return codes of CONNACK that speak about this device, not about the moment (MQTT 3.1.1, section 3.2.2.3). */
const REFUSALS: ReadonlySet<number> = new Set([1, 2, 4, 5]);
const REFUSED_FILTER = 0x80;
/** Bytes of the longest packet read. */
const PACKET_MAX = 1024 * 1024;
/** Milliseconds that the other side has to close after DISCONNECT. */
const FAREWELL_MS = 1_000;

interface Subscription {
  readonly filters: readonly string[];
  readonly refused: (filter: string) => void;
}

export class MqttConnection {
  readonly #options: MqttConnectionOptions;
  readonly #listener: MqttConnectionListener;
  readonly #socket: TLSSocket;
  readonly #reader = new PacketReader(PACKET_MAX);
  readonly #unanswered = new Map<number, () => void>();
  readonly #subscriptions = new Map<number, Subscription>();
  #outgoing: Buffer[] = [];
  #written: (() => void)[] = [];
  #failure: Error | undefined;
  #returnCode: number | undefined;
  #secured = false;
  #isOver = false;
  /** PUBACKs go out in the order in which the messages came [MQTT-4.6.0-2]. */
  #answers: Promise<void> = Promise.resolve();
  #impatience: NodeJS.Timeout | undefined;
  #pulse: NodeJS.Timeout | undefined;
  #hasHeard = true;
  #hasSpoken = true;
  #isProbing = false;
  /** Uptime of the last PUBACK, or of the first message that waits for one. */
  #answeredAt = 0;

  constructor(options: MqttConnectionOptions, listener: MqttConnectionListener) {
    this.#options = options;
    this.#listener = listener;
    const { identity, keys, mqttUrl, dates, connectTimeout } = options;
    this.#socket = openTls({
      url: mqttUrl,
      defaultPort: 8883,
      trust: { rootsPem: identity.rootPem, rootCrlPem: identity.rootCrlPem, dates },
      credential: { certificatePem: leafOf(identity.certificatePem), keyPem: identity.keyPem, keys },
    });
    this.#impatience = setTimeout(
      () => this.#fail(new Error(`no CONNACK within ${connectTimeout} ms`)),
      connectTimeout,
    );
    this.#watch();
  }

  /** `done` once: at PUBACK for QoS 1, when written for QoS 0. It isn't called if the connection ends before. */
  send(message: OutboxMessage, done: () => void): void {
    const dup = message.packetId !== 0;
    if (message.qos === 1) {
      if (!dup) message.packetId = this.#options.packetIds.take();
      if (this.#unanswered.size === 0) this.#answeredAt = uptime();
      this.#unanswered.set(message.packetId, done);
    } else {
      this.#written.push(done);
    }
    const { topic, payload, qos, packetId, retain = false } = message;
    this.#write(encodePublish({ topic, payload, qos, dup, retain, packetId }));
  }

  /** Asks for QoS 1. A filter that the broker refuses is told, and leaves the connection as it is. */
  subscribe(filters: readonly string[], refused: (filter: string) => void): void {
    const packetId = this.#options.packetIds.take();
    this.#subscriptions.set(packetId, { filters, refused });
    this.#write(encodeSubscribe(packetId, filters));
  }

  /** Says goodbye if there is somebody to say it to; resolves when the socket is closed. `ended` isn't called any more. */
  async close(): Promise<void> {
    this.#over();
    if (this.#socket.closed) return;
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    if (this.#returnCode === 0 && !this.#socket.destroyed) {
      this.#write(DISCONNECT);
      this.#flush();
      this.#socket.end();
      this.#socket.resume(); // nobody listens any more, and the other side's last words have to go somewhere
    } else {
      this.#socket.destroy();
    }
    const impatience = setTimeout(() => this.#socket.destroy(), FAREWELL_MS);
    await closed;
    clearTimeout(impatience);
  }

  #watch(): void {
    const socket = this.#socket;
    socket.once('secureConnect', () => this.#greet());
    socket.on('data', (bytes: Buffer) => this.#heard(bytes));
    socket.on('error', (error) => {
      this.#failure ??= error;
    });
    socket.once('close', () => {
      if (this.#isOver) return;
      this.#over();
      this.#listener.ended(this.#reason());
    });
  }

  #greet(): void {
    if (this.#isOver) return;
    const { identity, mqttUrl, dates, clean, keepalive } = this.#options;
    const { rootPem: rootsPem, rootCrlPem } = identity;
    const doubt = serverTrustError(this.#socket, { url: mqttUrl, trust: { rootsPem, rootCrlPem, dates } });
    if (doubt !== undefined) {
      this.#fail(doubt);
      return;
    }
    this.#secured = true;
    this.#write(encodeConnect({ clientId: identity.deviceId, clean, keepalive: Math.ceil(keepalive) }));
  }

  #heard(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#hasHeard = true;
    this.#isProbing = false;
    try {
      for (const packet of this.#reader.read(bytes)) {
        if (this.#isOver) return;
        this.#received(packet);
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #received(packet: ReceivedPacket): void {
    const { packetIds } = this.#options;
    if (this.#returnCode === undefined) {
      if (packet.kind !== 'connack') throw new RangeError(`expected CONNACK, found ${packet.kind}`); // [MQTT-3.2.0-1]
      this.#accepted(packet.returnCode);
    } else if (packet.kind === 'puback') {
      const done = this.#unanswered.get(packet.packetId);
      if (done === undefined) return; // answered before: it was sent twice
      this.#unanswered.delete(packet.packetId);
      packetIds.free(packet.packetId);
      this.#answeredAt = uptime();
      done();
    } else if (packet.kind === 'publish') {
      const safe = this.#listener.message(packet.topic, packet.payload);
      if (packet.qos === 1) this.#acknowledge(packet.packetId, safe);
      else safe?.catch(() => {});
    } else if (packet.kind === 'suback') {
      const asked = this.#subscriptions.get(packet.packetId);
      if (asked === undefined) return;
      this.#subscriptions.delete(packet.packetId);
      packetIds.free(packet.packetId);
      for (const [index, filter] of asked.filters.entries()) {
        if ((packet.granted[index] ?? REFUSED_FILTER) >= REFUSED_FILTER) asked.refused(filter);
      }
    }
  }

  #accepted(returnCode: number): void {
    this.#returnCode = returnCode;
    clearTimeout(this.#impatience);
    if (returnCode !== 0) {
      this.#socket.destroy();
      return;
    }
    this.#pulse = setInterval(() => this.#beat(), (this.#options.keepalive * 1_000) / 2);
    this.#listener.connected();
  }

  #acknowledge(packetId: number, safe: Promise<void> | undefined): void {
    const before = this.#answers;
    safe?.catch(() => {}); // it may fail while an earlier one is still awaited
    this.#answers = (async () => {
      await before;
      try {
        await safe;
      } catch {
        return;
      }
      if (!this.#isOver) this.#write(encodePuback(packetId));
    })();
  }

  /** Twice per keepalive: a probe that found no answer until the next beat means that nobody is there. */
  #beat(): void {
    const { ackTimeout } = this.#options;
    if (this.#isProbing) {
      this.#fail(new Error('the line is dead'));
    } else if (this.#unanswered.size > 0 && uptime() - this.#answeredAt > ackTimeout) {
      this.#fail(new Error(`no PUBACK within ${ackTimeout} ms`));
    } else if (!this.#hasHeard || !this.#hasSpoken) {
      this.#isProbing = true;
      this.#write(PINGREQ);
    }
    this.#hasHeard = false;
    this.#hasSpoken = false;
  }

  /** What is written in one turn leaves in one piece: a TLS record for each small message costs more than the message. */
  #write(packet: Buffer): void {
    this.#hasSpoken = true;
    this.#outgoing.push(packet);
    if (this.#outgoing.length === 1) process.nextTick(() => this.#flush());
  }

  #flush(): void {
    const packets = this.#outgoing;
    if (packets.length === 0 || this.#socket.destroyed) return;
    const written = this.#written;
    this.#outgoing = [];
    this.#written = [];
    const bytes = packets.length === 1 ? (packets[0] as Buffer) : Buffer.concat(packets);
    this.#socket.write(bytes, (error) => {
      if (this.#isOver || error != null) return;
      for (const done of written) done();
    });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#socket.destroy();
  }

  #over(): void {
    this.#isOver = true;
    clearTimeout(this.#impatience);
    clearInterval(this.#pulse);
  }

  #reason(): ConnectionEnd {
    const code = this.#returnCode ?? 0;
    if (code !== 0) {
      const kind = REFUSALS.has(code) ? 'refused' : 'lost';
      const name = kind === 'refused' ? 'connection_refused' : 'unavailable';
      return { kind, error: new DeviceError(name, { reason: `CONNACK ${code}` }) };
    }
    const error = this.#failure as NodeJS.ErrnoException | undefined;
    if (error instanceof DeviceError) return { kind: 'refused', error };
    if (error?.code === undefined || error instanceof RangeError || isNetworkError(error)) {
      const reason = error === undefined ? 'closed by the broker' : networkReason(error);
      return { kind: 'lost', error: new DeviceError('connection_lost', { reason, cause: error }) };
    }
    // In TLS 1.3 the broker judges our certificate after our side of the handshake is done, so its alert comes late.
    const isTheirs = this.#secured || /_ALERT_/.test(error.code);
    const name = isTheirs ? 'connection_refused' : 'server_untrusted';
    const kind = !isTheirs && isDateError(error) ? 'invalid dates' : 'refused';
    return { kind, error: new DeviceError(name, { reason: error.code, cause: error }) };
  }
}

/**
 * The first certificate of a chain. The fleet's broker holds its issuing CA itself; one that every device sends along
 * costs it a copy at each connect.
 */
function leafOf(chainPem: string): string {
  const end = '-----END CERTIFICATE-----';
  return `${chainPem.slice(0, chainPem.indexOf(end) + end.length)}\n`;
}
