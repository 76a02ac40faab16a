/**
 * One MQTT connection over mutual TLS, from the first SYN to the last FIN. It never reconnects: mqtt.js would do so at a
 * fixed pace and without bounds. It says once why it ended.
 */

import { isIP } from 'node:net';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { ErrorWithReasonCode, MqttClient } from 'mqtt';
import { DeviceError } from './device-error.ts';
import { isNetworkError } from './https-exchange.ts';
import type { StoredIdentity } from './identity-store.ts';
import type { OutboxMessage } from './outbox.ts';
import type { PacketIds } from './packet-ids.ts';

export interface ConnectionOptions {
  readonly identity: StoredIdentity;
  readonly mqttUrl: string;
  readonly packetIds: PacketIds;
  /** False keeps subscriptions and queued commands at the broker while the device is away [MQTT-3.1.2-4]. */
  readonly clean: boolean;
  /** Seconds of silence after which the line is probed. */
  readonly keepalive: number;
  /** Milliseconds for TCP, TLS and CONNACK together. */
  readonly connectTimeout: number;
}

/** `refused`: TLS, certificate or identity were not accepted by one of both sides. `lost`: everything else. */
export interface ConnectionEnd {
  readonly kind: 'lost' | 'refused';
  readonly error: DeviceError;
}

export interface ConnectionListener {
  connected(): void;
  message(topic: string, payload: Buffer): void;
  ended(end: ConnectionEnd): void;
}

/** Return codes of CONNACK that speak about this device, not about the moment (MQTT 3.1.1, section 3.2.2.3). */
const REFUSALS: ReadonlySet<number> = new Set([1, 2, 4, 5]);

/** Milliseconds that the other side has to close after DISCONNECT. */
const FAREWELL_MS = 1_000;

const DISCONNECT = Buffer.from([0xe0, 0x00]);

export class Connection {
  readonly #client: MqttClient;
  readonly #socket: TLSSocket;
  readonly #packetIds: PacketIds;
  readonly #listener: ConnectionListener;
  #failure: Error | undefined;
  #secured = false;
  #accepted = false;
  #isOver = false;

  constructor(options: ConnectionOptions, listener: ConnectionListener) {
    this.#listener = listener;
    this.#packetIds = options.packetIds;
    this.#socket = openSocket(options);
    this.#client = new MqttClient(() => this.#socket, {
      protocolVersion: 4,
      clientId: options.identity.deviceId,
      clean: options.clean,
      keepalive: options.keepalive,
      connectTimeout: options.connectTimeout,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      timerVariant: 'native',
      messageIdProvider: options.packetIds,
    });
    this.#watch();
  }

  /** `done` once: at PUBACK for QoS 1, when written for QoS 0. It isn't called if the connection ends before. */
  send(message: OutboxMessage, done: () => void): void {
    const isAgain = message.packetId !== 0;
    if (isAgain) this.#packetIds.reuse(message.packetId);
    this.#client.publish(message.topic, message.payload, { qos: message.qos, dup: isAgain }, (error) => {
      if (!this.#isOver && error == null) done();
    });
    if (message.qos === 1) message.packetId = this.#packetIds.getLastAllocated() ?? 0;
  }

  /** Asks for QoS 1. A refusal by the broker is an error for `done`, and leaves the connection as it is. */
  subscribe(filter: string, done: (error: DeviceError | undefined) => void): void {
    this.#client.subscribe(filter, { qos: 1 }, (error) => {
      if (this.#isOver) return;
      done(error == null ? undefined : new DeviceError('connection_refused', { reason: 'subscription', cause: error }));
    });
  }

  /** Says goodbye if there is somebody to say it to; resolves when the socket is closed. `ended` isn't called any more. */
  async close(): Promise<void> {
    this.#isOver = true;
    if (this.#socket.closed) return;
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    if (this.#accepted && !this.#socket.destroyed) this.#socket.end(DISCONNECT);
    else this.#socket.destroy();
    const impatience = setTimeout(() => this.#socket.destroy(), FAREWELL_MS);
    await closed;
    clearTimeout(impatience);
  }

  #watch(): void {
    this.#socket.once('secureConnect', () => {
      this.#secured = true;
    });
    this.#socket.on('error', (error) => this.#fail(error));
    this.#client.on('error', (error) => {
      this.#fail(error);
      this.#socket.destroy();
    });
    this.#client.on('connect', () => {
      this.#accepted = true;
      if (!this.#isOver) this.#listener.connected();
    });
    this.#client.on('message', (topic, payload) => {
      if (!this.#isOver) this.#listener.message(topic, payload);
    });
    this.#socket.once('close', () => {
      if (this.#isOver) return;
      this.#isOver = true;
      this.#listener.ended(this.#reason());
    });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
  }

  #reason(): ConnectionEnd {
    const error = this.#failure as NodeJS.ErrnoException | undefined;
    if (error instanceof ErrorWithReasonCode && !this.#accepted) {
      const kind = REFUSALS.has(error.code) ? 'refused' : 'lost';
      const code = kind === 'refused' ? 'connection_refused' : 'unavailable';
      return { kind, error: new DeviceError(code, { reason: `CONNACK ${error.code}`, cause: error }) };
    }
    if (error === undefined || error.code === undefined || isNetworkError(error)) {
      const reason = error?.code ?? error?.message ?? 'closed by the broker';
      return { kind: 'lost', error: new DeviceError('connection_lost', { reason, cause: error }) };
    }
    // In TLS 1.3 the broker judges our certificate after our side of the handshake is done, so its alert comes late.
    const isTheirs = this.#secured || /_ALERT_/.test(error.code);
    const code = isTheirs ? 'connection_refused' : 'server_untrusted';
    return { kind: 'refused', error: new DeviceError(code, { reason: error.code, cause: error }) };
  }
}

function openSocket(options: ConnectionOptions): TLSSocket {
  const url = new URL(options.mqttUrl);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const socket = tlsConnect({
    host,
    port: Number(url.port),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    minVersion: 'TLSv1.2',
    ca: options.identity.rootPem,
    cert: leafOf(options.identity.certificatePem),
    key: options.identity.keyPem,
    rejectUnauthorized: true,
  });
  socket.setNoDelay(true);
  return socket;
}

/**
 * The first certificate of a chain. The fleet's broker holds its issuing CA itself; one that every device sends along
 * costs it a copy at each connect.
 */
function leafOf(chainPem: string): string {
  const end = '-----END CERTIFICATE-----';
  return `${chainPem.slice(0, chainPem.indexOf(end) + end.length)}\n`;
}
