/**
 * One MQTT connection over mutual TLS, with MQTT 5 or 3.1.1. It never reconnects and reports once why it ended. A dead connection
 * and a broker that stops acknowledging end it as well.
 */

import type { TLSSocket } from 'node:tls';
import { ReasonCode, SDK_VERSION_PROPERTY } from '@rollcall/protocol';
import { leafOf } from './certificate-chain.ts';
import { type ConnectionEnd, connectionEnd } from './connection-end.ts';
import { ConnectionPulse } from './connection-pulse.ts';
import { DeviceError } from './device-error.ts';
import type { StoredIdentity } from './identity-store.ts';
import type { KeyProvider } from './key-provider.ts';
import {
  encodeConnect,
  encodeDisconnect,
  encodePuback,
  encodePublish,
  encodeSubscribe,
  MalformedPacket,
  type MqttVersion,
  type PacketProperties,
  PacketReader,
  type ReceivedPacket,
  type ReceivedPublish,
} from './mqtt-codec/index.ts';
import type { OutboxMessage } from './outbox.ts';
import type { PacketIds } from './packet-ids.ts';
import { PacketWriter } from './packet-writer.ts';
import { SDK_VERSION } from './sdk-version.ts';
import { type ServerLimits, serverLimits } from './server-limits.ts';
import { isFinalForMessage, type ServerReason, serverReason } from './server-reason.ts';
import { openTls, serverTrustError, type ValidityTime } from './server-verification.ts';

export interface MqttConnectionOptions {
  readonly identity: StoredIdentity;
  readonly keys?: KeyProvider | undefined;
  readonly mqttUrl: string;
  readonly version: MqttVersion;
  /** The time for the validity check of the broker's certificate. */
  readonly dates: ValidityTime;
  readonly packetIds: PacketIds;
  /** False keeps subscriptions and queued commands at the broker while the device is away [MQTT-3.1.2-4]. */
  readonly clean: boolean;
  /** Seconds for which a broker of MQTT 5 keeps them; 0xffffffff: for ever. With 3.1.1 there is no end. */
  readonly sessionExpiry: number;
  /** Seconds of silence, in either direction, before PINGREQ; half as long for PINGRESP. */
  readonly keepalive: number;
  /** Milliseconds for TCP, TLS and CONNACK together. */
  readonly connectTimeout: number;
  /** Milliseconds without any acknowledgement, while messages are unanswered, after which the broker is given up. */
  readonly ackTimeout: number;
}

export interface MqttConnectionListener {
  connected(limits: ServerLimits): void;
  /** What is acknowledged when the promise resolves; if it rejects, the broker will send it again another time. */
  message(topic: string, payload: Buffer, properties: PacketProperties | undefined): Promise<void> | undefined;
  ended(end: ConnectionEnd): void;
}

const REFUSED_FILTER = 0x80;
/** Bytes of the longest packet read. */
const PACKET_MAX = 1024 * 1024;
/** Messages that the broker may send before the first of them is acknowledged. */
const RECEIVE_MAX = 64;
/** Milliseconds that the other side has to close after DISCONNECT. */
const FAREWELL_MS = 1_000;

interface Subscription {
  readonly filters: readonly string[];
  readonly refused: (filter: string, reason: string) => void;
}

/** `refusal`: why the broker took the message and refused it for good. */
type Settled = (refusal?: DeviceError) => void;

export class MqttConnection {
  readonly #options: MqttConnectionOptions;
  readonly #listener: MqttConnectionListener;
  readonly #socket: TLSSocket;
  readonly #reader: PacketReader;
  readonly #unanswered = new Map<number, Settled>();
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #writer: PacketWriter;
  #failure: Error | undefined;
  #connack: ServerReason | undefined;
  #disconnect: ServerReason | undefined;
  #limits: ServerLimits = serverLimits({});
  #hasAsked = false;
  #isOver = false;
  /** PUBACKs go out in the order in which the messages came [MQTT-4.6.0-2]. */
  #answers: Promise<void> = Promise.resolve();
  #impatience: NodeJS.Timeout | undefined;
  readonly #pulse: ConnectionPulse;

  constructor(options: MqttConnectionOptions, listener: MqttConnectionListener) {
    this.#options = options;
    this.#listener = listener;
    const { identity, keys, mqttUrl, version, dates, connectTimeout } = options;
    this.#reader = new PacketReader({ version, maxBytes: PACKET_MAX });
    this.#socket = openTls({
      url: mqttUrl,
      defaultPort: 8883,
      trust: { rootsPem: identity.rootPem, rootCrlPem: identity.rootCrlPem, dates },
      credential: { certificatePem: leafOf(identity.certificatePem), keyPem: identity.keyPem, keys },
    });
    this.#writer = new PacketWriter(this.#socket);
    this.#pulse = new ConnectionPulse({
      ...{ writer: this.#writer, ackTimeout: options.ackTimeout },
      awaitsAck: () => this.#unanswered.size > 0,
      dead: (error) => this.#fail(error),
    });
    this.#impatience = setTimeout(
      () => this.#fail(new Error(`no CONNACK within ${connectTimeout} ms`)),
      connectTimeout,
    );
    this.#watch();
  }

  /** Why the broker can't be sent this message; undefined if it can [MQTT-3.2.2-15]. */
  refusalOf({ topic, payload, properties, packetId, qos }: OutboxMessage): DeviceError | undefined {
    const { maximumPacketSize } = this.#limits;
    if (properties === undefined && 3 * topic.length + payload.length + 16 <= maximumPacketSize) return undefined;
    const bytes = encodePublish(this.#options.version, { topic, payload, properties, packetId, qos }).length;
    if (bytes <= maximumPacketSize) return undefined;
    const serverReason = 'packet_too_large';
    const reason = `${serverReason}: the broker takes packets of ${maximumPacketSize} bytes, and this has ${bytes}`;
    return new DeviceError('message_refused', { reason, serverReason });
  }

  /** `settled` once: at PUBACK for QoS 1, when written for QoS 0. It isn't called if the connection ends before. */
  send(message: OutboxMessage, settled: Settled): void {
    const { topic, payload, qos, properties } = message;
    const dup = message.packetId !== 0;
    const retain = message.retain === true && this.#limits.acceptsRetain; // [MQTT-3.2.2-14]
    if (qos === 1 && !dup) message.packetId = this.#options.packetIds.take();
    const { packetId } = message;
    const packet = encodePublish(this.#options.version, { topic, payload, qos, packetId, dup, retain, properties });
    if (qos === 0) {
      this.#writer.write(packet, () => {
        if (!this.#isOver) settled();
      });
      return;
    }
    if (this.#unanswered.size === 0) this.#pulse.restartAckTimeout();
    this.#unanswered.set(packetId, settled);
    this.#writer.write(packet);
  }

  /** Asks for QoS 1. A filter that the broker refuses is told, and leaves the connection as it is. */
  subscribe(filters: readonly string[], refused: (filter: string, reason: string) => void): void {
    const packetId = this.#options.packetIds.take();
    this.#subscriptions.set(packetId, { filters, refused });
    const subscriptions = filters.map((filter) => ({ filter, qos: 1 as const }));
    this.#writer.write(encodeSubscribe(this.#options.version, packetId, subscriptions));
  }

  /** Says goodbye if there is somebody to say it to; resolves when the socket is closed. `ended` isn't called any more. */
  async close(): Promise<void> {
    this.#over();
    if (this.#socket.closed) return;
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    if (this.#connack?.code === 0 && !this.#socket.destroyed) {
      this.#writer.write(encodeDisconnect(this.#options.version));
      this.#writer.flush();
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
      const { version, mqttUrl } = this.#options;
      const [hasAsked, failure] = [this.#hasAsked, this.#failure];
      this.#listener.ended(
        connectionEnd({ version, hasAsked, connack: this.#connack, disconnect: this.#disconnect, failure, mqttUrl }),
      );
    });
  }

  #greet(): void {
    if (this.#isOver) return;
    const { identity, mqttUrl, version, dates, clean, keepalive, sessionExpiry } = this.#options;
    const { rootPem: rootsPem, rootCrlPem } = identity;
    const doubt = serverTrustError(this.#socket, { url: mqttUrl, trust: { rootsPem, rootCrlPem, dates } });
    if (doubt !== undefined) {
      this.#fail(doubt);
      return;
    }
    this.#hasAsked = true;
    const properties: PacketProperties = {
      ...(!clean && sessionExpiry > 0 && { sessionExpiryInterval: sessionExpiry }),
      ...{ receiveMaximum: RECEIVE_MAX, maximumPacketSize: PACKET_MAX },
      userProperties: [[SDK_VERSION_PROPERTY, SDK_VERSION]],
    };
    const keepAlive = Math.ceil(keepalive);
    this.#writer.write(
      encodeConnect({ version, clientId: identity.deviceId, cleanStart: clean, keepAlive, properties }),
    );
  }

  #heard(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#pulse.heard();
    try {
      this.#reader.read(bytes, (packet) => this.#received(packet));
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #received(packet: ReceivedPacket): void {
    if (this.#connack === undefined) {
      if (packet.kind !== 'connack') throw unexpected(packet, 'CONNACK'); // [MQTT-3.2.0-1]
      this.#connack = serverReason(packet.reasonCode, packet.properties);
      clearTimeout(this.#impatience);
      if (packet.reasonCode === 0) this.#accepted(serverLimits(packet));
      else this.#end();
    } else if (packet.kind === 'puback') {
      this.#settle(packet.packetId, packet.reasonCode, packet.properties);
    } else if (packet.kind === 'publish') {
      this.#receivedMessage(packet);
    } else if (packet.kind === 'suback') {
      this.#subscribed(packet.packetId, packet.reasonCodes, serverReason(0, packet.properties).text);
    } else if (packet.kind === 'disconnect' && this.#options.version === 5) {
      this.#disconnect = serverReason(packet.reasonCode, packet.properties);
      this.#end();
    } else if (packet.kind !== 'pingresp') {
      throw unexpected(packet, 'a packet that brokers send');
    }
  }

  #settle(packetId: number, reasonCode: number, properties: PacketProperties | undefined): void {
    const settled = this.#unanswered.get(packetId);
    if (settled === undefined) return; // answered before: it was sent twice
    const refusal = reasonCode < 0x80 ? undefined : serverReason(reasonCode, properties);
    if (refusal !== undefined && !isFinalForMessage(reasonCode)) {
      this.#fail(new Error(`PUBACK ${refusal.text}`)); // it is sent again, as after a connection that broke
      return;
    }
    this.#unanswered.delete(packetId);
    this.#options.packetIds.free(packetId);
    this.#pulse.restartAckTimeout();
    if (refusal === undefined) settled();
    else settled(new DeviceError('message_refused', { reason: refusal.text, serverReason: refusal.word, reasonCode }));
  }

  #receivedMessage({ topic, payload, properties, qos, packetId }: ReceivedPublish): void {
    if (qos === 2) throw new MalformedPacket('expected QoS 0 or 1, found 2', ReasonCode.qosNotSupported);
    if (properties?.topicAlias !== undefined) {
      throw new MalformedPacket('expected no topic alias', ReasonCode.topicAliasInvalid);
    }
    const safe = this.#listener.message(topic, Buffer.from(payload), properties); // a copy: applications keep it
    if (qos === 1) this.#acknowledge(packetId, safe);
    else safe?.catch(() => {});
  }

  #subscribed(packetId: number, reasonCodes: readonly number[], text: string): void {
    const asked = this.#subscriptions.get(packetId);
    if (asked === undefined) return;
    this.#subscriptions.delete(packetId);
    this.#options.packetIds.free(packetId);
    for (const [index, filter] of asked.filters.entries()) {
      const code = reasonCodes[index] ?? REFUSED_FILTER;
      if (code >= REFUSED_FILTER) asked.refused(filter, text === 'success' ? serverReason(code, undefined).word : text);
    }
  }

  #accepted(limits: ServerLimits): void {
    if (!limits.acceptsQos1) {
      this.#fail(new DeviceError('connection_refused', { reason: 'expected a broker with QoS 1' }));
      return;
    }
    this.#limits = limits;
    this.#pulse.start(limits.keepAlive ?? this.#options.keepalive); // [MQTT-3.1.2-21]
    this.#listener.connected(limits);
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
      if (!this.#isOver) this.#writer.write(encodePuback(this.#options.version, packetId));
    })();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    const { version } = this.#options;
    if (version === 5 && this.#connack?.code === 0 && error instanceof MalformedPacket) {
      this.#reader.stop();
      this.#writer.write(encodeDisconnect(version, error.reasonCode)); // [MQTT-4.13.1-1]
      this.#writer.flush();
      setTimeout(() => this.#socket.destroy(), FAREWELL_MS).unref();
      this.#socket.destroySoon();
    } else {
      this.#end();
    }
  }

  #end(): void {
    this.#reader.stop();
    this.#socket.destroy();
  }

  #over(): void {
    this.#isOver = true;
    clearTimeout(this.#impatience);
    this.#pulse.stop();
  }
}

function unexpected({ kind }: ReceivedPacket, expected: string): MalformedPacket {
  return new MalformedPacket(`expected ${expected}, found ${kind}`, ReasonCode.protocolError);
}
