/**
 * One connection to the broker over MQTT 5, by the npm library mqtt: it connects again by itself, with the identity of that
 * moment. A message of QoS 1 is acknowledged after its handler has ended; messages are handled one after the other.
 */

import {
  backoffDelay,
  type DeviceLog,
  nextAttemptAfter,
  openTls,
  serverReason,
  serverTrustError,
  type TlsConnectOptions,
} from '@rollcall/device-sdk/building-blocks';
import mqtt, { type IClientPublishOptions, type IPublishPacket, type MqttClient, type Packet } from 'mqtt';
import { brokerError, ServiceError } from './service-error.ts';
import type { ServiceIdentity } from './service-identity.ts';

export interface BrokerConnectionOptions {
  readonly clientId: string;
  /** Whether the session that the broker stores for this client id is resumed at the first connection. */
  readonly resume: boolean;
  /** Seconds for which the broker stores the session of a client that is away. */
  readonly sessionExpiry: number;
  readonly identity: () => ServiceIdentity;
  readonly handle: (packet: IPublishPacket) => Promise<void>;
  /** After each CONNACK. False: the broker has no subscriptions of this client. */
  readonly onConnected: (isResumed: boolean) => void;
  readonly onLost: (error: ServiceError) => void;
  readonly random: () => number;
  readonly log: DeviceLog;
}

/** A service has one service to offer: shorter waits than a device of a fleet. Milliseconds. */
const RECONNECT = { base: 500, cap: 30_000, refusalFloor: 5_000 };
const RECONNECT_MIN_MS = 50;
/** MQTT 5, section 3.14: DISCONNECT without a will message, of a session that stays. */
const DISCONNECT = Buffer.from([0xe0, 0]);
/** Messages of QoS 1 and 2 that the broker sends before one is acknowledged. */
const RECEIVE_MAXIMUM = 100;

export class BrokerConnection {
  readonly #options: BrokerConnectionOptions;
  readonly #client: MqttClient;
  /** Reason of the last refusal or DISCONNECT of the broker. */
  #error: ServiceError | undefined;
  #attempts = 0;
  /** Called at the next change of the connection. */
  readonly #waiting = new Set<() => void>();
  /** Publications and subscriptions without an answer. */
  readonly #open = new Set<(error: ServiceError) => void>();
  /** Packet identifiers of messages that nobody had subscribed to. The library does not tell this code of PUBACK. */
  readonly #unheard = new Set<number>();
  #isHandling = false;
  /** Set while the connection ends to begin again with another identity. */
  #isRenewing = false;
  #isClosed = false;

  constructor(options: BrokerConnectionOptions) {
    this.#options = options;
    const { clientId, resume, sessionExpiry } = options;
    this.#client = new mqtt.MqttClient(() => this.#openStream(), {
      protocolVersion: 5,
      clientId,
      clean: !resume,
      resubscribe: false,
      reconnectPeriod: RECONNECT.base,
      reconnectOnConnackError: true,
      manualConnect: true,
      properties: { sessionExpiryInterval: sessionExpiry, receiveMaximum: RECEIVE_MAXIMUM },
    });
    this.#client.handleMessage = (packet, callback) => this.#receive(packet, callback);
    this.#client.on('packetreceive', (packet) => this.#readPacket(packet));
    this.#client.on('connect', ({ sessionPresent }) => this.#connected(sessionPresent));
    // Before the listener of the library, which starts the timer of the next attempt.
    this.#client.prependListener('close', () => this.#lost());
    this.#client.on('error', () => {}); // 'close' follows
  }

  start(): void {
    this.#client.connect();
  }

  get isConnected(): boolean {
    return this.#client.connected;
  }

  /** Resolves at CONNACK; rejects with `connection_refused` when the broker refuses, with `closed`. A lost connection is waited out. */
  async connected(): Promise<void> {
    while (!this.isConnected) {
      if (this.#isClosed) throw new ServiceError('closed');
      if (this.#error?.code === 'connection_refused') throw this.#error;
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** With QoS 1 resolves at PUBACK. Rejects with `message_refused`, `no_receiver` if `mustReach`, or `closed`. */
  publish(
    topic: string,
    payload: Buffer,
    { mustReach = false, ...options }: IClientPublishOptions & { readonly mustReach?: boolean },
  ): Promise<void> {
    return this.#request((resolve, reject) => {
      this.#client.publish(topic, payload, options, (error, packet) => {
        // After an error `packet` is the answer of the broker, else the message that was sent.
        const { messageId, properties } = (packet ?? {}) as Partial<IPublishPacket>;
        const wasUnheard = messageId !== undefined && this.#unheard.delete(messageId);
        const { code } = (error ?? {}) as { readonly code?: unknown };
        if (typeof code === 'number') reject(brokerError('message_refused', code, properties as ReasonProperties));
        else if (error) reject(new ServiceError(this.#isClosed ? 'closed' : 'connection_lost', { cause: error }));
        else if (mustReach && wasUnheard) reject(new ServiceError('no_receiver', { detail: topic }));
        else resolve();
      });
    });
  }

  /** Resolves at SUBACK; rejects with `subscription_refused`, or `connection_lost` when the connection ended before. */
  subscribe(filter: string, qos: 0 | 1 = 1): Promise<void> {
    return this.#request((resolve, reject) => {
      this.#client.subscribe(filter, { qos, rap: true }, (error) => {
        // The library gives the SUBACK with its error, or none when the connection ended before.
        const { granted, properties } = (error as { readonly packet?: SubackPacket } | null)?.packet ?? {};
        const code = granted?.[0];
        if (typeof code === 'number') reject(brokerError('subscription_refused', code, properties));
        else if (error) reject(new ServiceError(this.#isClosed ? 'closed' : 'connection_lost', { cause: error }));
        else resolve();
      });
    });
  }

  /** Best effort: a broker that is not there has nothing to deliver either. */
  async unsubscribe(filter: string): Promise<void> {
    await this.#client.unsubscribeAsync(filter).catch(() => {});
  }

  /** Connects again with the current identity, after the message that is being handled. What was not acknowledged is sent again. */
  renew(): void {
    if (!this.isConnected || this.#isClosed) return;
    this.#isRenewing = true;
    if (!this.#isHandling) this.#endStream();
  }

  /** Waits for acknowledgements of what was published. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    const { isConnected } = this;
    this.#isClosed = true;
    this.#changed();
    await this.#client.endAsync(!isConnected);
    for (const reject of this.#open) reject(new ServiceError('closed'));
  }

  /** A promise that {@link close} rejects if nothing else has settled it: the library forgets what waits for a connection. */
  #request(send: (resolve: () => void, reject: (error: ServiceError) => void) => void): Promise<void> {
    if (this.#isClosed) return Promise.reject(new ServiceError('closed'));
    return new Promise<void>((resolve, reject) => {
      const end = (error: ServiceError) => {
        this.#open.delete(end);
        reject(error);
      };
      this.#open.add(end);
      send(() => {
        this.#open.delete(end);
        resolve();
      }, end);
    });
  }

  #changed(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }

  #openStream() {
    const { certificatePem, keyPem, rootPem, rootCrlPem, mqttUrl } = this.#options.identity();
    const tls: TlsConnectOptions = {
      url: mqttUrl,
      defaultPort: 8883,
      trust: { rootsPem: rootPem, rootCrlPem, dates: 'system' },
      credential: { certificatePem, keyPem },
    };
    const socket = openTls(tls);
    socket.on('secureConnect', () => {
      const doubt = serverTrustError(socket, tls);
      if (doubt !== undefined) socket.destroy(doubt);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const isTrust = TRUST_ERROR.test(error.code ?? '');
      this.#error = new ServiceError(isTrust ? 'server_untrusted' : 'connection_lost', {
        detail: error.code ?? error.message,
        cause: error,
      });
    });
    return socket as never; // its types are of Node, those of mqtt of readable-stream
  }

  #readPacket(packet: Packet): void {
    if (packet.cmd === 'connack' && packet.reasonCode !== undefined && packet.reasonCode >= 0x80) {
      this.#error = brokerError('connection_refused', packet.reasonCode, packet.properties);
      this.#planNextAttempt(); // the library starts the timer at this packet
    }
    if (packet.cmd === 'puback' && packet.reasonCode === NO_SUBSCRIBERS && packet.messageId !== undefined)
      this.#unheard.add(packet.messageId);
    if (packet.cmd === 'disconnect' && packet.reasonCode !== undefined) {
      const { reasonString } = (packet.properties ?? {}) as { readonly reasonString?: string };
      const next = nextAttemptAfter(
        serverReason(packet.reasonCode, reasonString === undefined ? undefined : { reasonString }),
      );
      const code = next === 'refused' ? 'connection_refused' : 'connection_lost';
      this.#error = brokerError(code, packet.reasonCode, { reasonString });
    }
  }

  #connected(sessionPresent: boolean): void {
    this.#attempts = 0;
    this.#error = undefined;
    this.#isRenewing = false;
    this.#client.options.clean = false; // from now on the session is this process's own
    this.#options.onConnected(sessionPresent);
    this.#changed();
  }

  #lost(): void {
    if (this.#isClosed) return;
    const isPlanned = this.#isRenewing;
    this.#isRenewing = false;
    if (isPlanned) {
      this.#client.options.reconnectPeriod = 1;
      return;
    }
    this.#planNextAttempt();
    this.#attempts += 1;
    this.#options.onLost(this.#error ?? new ServiceError('connection_lost'));
    this.#changed();
  }

  #planNextAttempt(): void {
    const kind = this.#error === undefined || this.#error.code === 'connection_lost' ? 'lost' : 'refused';
    const wait = backoffDelay({ earlier: this.#attempts, kind }, this.#options.random, RECONNECT);
    this.#client.options.reconnectPeriod = Math.max(wait, RECONNECT_MIN_MS);
  }

  #endStream(): void {
    this.#client.stream.end(DISCONNECT);
  }

  #receive(packet: IPublishPacket, callback: (error?: Error) => void): void {
    const { stream } = this.#client;
    // The broker sends it again on the next connection.
    if (this.#isRenewing) {
      callback(new Error('the connection ends'));
      return;
    }
    this.#isHandling = true;
    void this.#options.handle(packet).finally(() => {
      this.#isHandling = false;
      // An acknowledgement on another connection could be taken for one of another message.
      callback(this.#client.stream === stream && this.isConnected ? undefined : new Error('the connection ended'));
      if (this.#isRenewing) this.#endStream();
    });
  }
}

interface SubackPacket {
  readonly granted?: readonly unknown[];
  readonly properties?: ReasonProperties;
}

interface ReasonProperties {
  readonly reasonString?: string;
}

const NO_SUBSCRIBERS = 0x10;
const TRUST_ERROR = /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_CERT_|server_untrusted)/;
