/**
 * One connection of a light device, from the TLS handshake to its end: CONNECT, pings, received packets and the answers to them.
 * The device decides what its end means and whether it reconnects.
 */

import type { TLSSocket } from 'node:tls';
import {
  encodeConnect,
  encodeDisconnect,
  encodePuback,
  encodePublish,
  encodeSubscribe,
  type MqttVersion,
  type PacketProperties,
  type PacketReader,
  PINGREQ,
  type ReceivedPacket,
  type ReceivedPublish,
  type Will,
} from '@rollcall/device-sdk/mqtt-codec';
import { commandFilter, type DeviceId, parseDeviceTopic, responseTopic } from '@rollcall/protocol';
import { type BrokerNames, clientIdOf, topicOf } from './broker-names.ts';
import { brokerPackets } from './broker-packets.ts';
import type { AcceptedSession } from './outgoing-messages.ts';
import { connackReason, FIRST_ERROR, reasonKey } from './reason-codes.ts';
import type { GroupContext, ShardContext } from './shard-context.ts';
import type { TlsIdentity } from './tls-connections.ts';

export interface LightConnectionOptions {
  readonly id: string;
  readonly group: GroupContext;
  readonly version: MqttVersion;
  readonly identity: TlsIdentity | undefined;
  /** TLS session to resume. */
  readonly session: Buffer | undefined;
  readonly sourceAddress: string | undefined;
}

/** Handlers of a device for all of its connections, of which one is open at a time. */
export interface LightConnectionEvents {
  /** `took`: milliseconds from TCP connect to CONNACK. */
  connected(took: number, session: AcceptedSession): void;
  refused(cause: string): void;
  /** By PUBACK; the reason code is 0 with MQTT 3.1.1. */
  acknowledged(packetId: number, reasonCode: number): void;
  session(session: Buffer): void;
  /** The connection ended without a request of the device. */
  lost(cause: string | undefined): void;
}

const CONNECT_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 2_000;
const SUBSCRIBE_ID = 0xffff;
/** Of a broker that announces none (MQTT 5, section 3.2.2.3.3). */
const RECEIVE_MAXIMUM = 0xffff;

export class LightConnection {
  readonly #id: string;
  readonly #group: GroupContext;
  readonly #version: MqttVersion;
  readonly #context: ShardContext;
  readonly #events: LightConnectionEvents;
  readonly #socket: TLSSocket;
  readonly #reader: PacketReader;
  readonly #began: number;
  #state: 'opening' | 'open' | 'ignored' = 'opening';
  #lastSent = 0;
  #keepAliveMs: number;
  /** The reason of a DISCONNECT that came. */
  #disconnectReason: string | undefined;

  constructor(
    { id, group, version, identity, session, sourceAddress }: LightConnectionOptions,
    events: LightConnectionEvents,
    context: ShardContext,
  ) {
    this.#id = id;
    this.#group = group;
    this.#version = version;
    this.#reader = brokerPackets(version);
    this.#context = context;
    this.#events = events;
    this.#began = context.now();
    const { settings } = group;
    this.#keepAliveMs = settings.keepalive;
    this.#socket = context.connector.open(
      { target: group.target(), identity, session, sourceAddress },
      {
        secure: () => {
          if (this.#socket.isSessionReused()) context.counters.count('resumed');
          this.write(connectOf(id, group, version, context.names));
        },
        data: (bytes) => this.#read(bytes),
        closed: (cause) => {
          if (this.#state === 'ignored') return;
          this.#state = 'ignored';
          events.lost(this.#disconnectReason ?? cause);
        },
        ...(settings.resume && {
          session: (next: Buffer) => {
            if (this.#state !== 'ignored') events.session(next);
          },
        }),
      },
    );
    context.timers.at(context.now() + CONNECT_TIMEOUT_MS, () => {
      if (this.#state !== 'opening') return;
      context.counters.error('connect_timeout');
      this.reset();
    });
  }

  write(packet: Buffer): void {
    this.#lastSent = this.#context.now();
    this.#socket.write(packet);
  }

  /** Ignores every later event, even its end. */
  ignoreEvents(): void {
    this.#state = 'ignored';
  }

  /** Stops reading; the connection stays open. */
  pause(): void {
    this.#socket.pause();
  }

  reset(): void {
    this.#socket.destroy();
  }

  /** `properties`: of DISCONNECT, with MQTT 5. */
  end(properties?: PacketProperties): void {
    if (this.#socket.destroyed) return;
    this.#socket.end(encodeDisconnect(this.#version, 0, properties));
    this.#socket.resume();
  }

  /** Ends it and, with MQTT 5, its session; resolves when it has ended. */
  close(): Promise<void> {
    this.ignoreEvents();
    if (this.#socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.reset(), CLOSE_TIMEOUT_MS);
      this.#socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      this.end(this.#group.settings.sessionExpiry === 0 ? undefined : { sessionExpiryInterval: 0 });
    });
  }

  #read(bytes: Buffer): void {
    if (this.#state === 'ignored') return;
    try {
      this.#reader.read(bytes, (packet) => this.#handle(packet));
    } catch {
      this.#context.counters.error('malformed_packet');
      this.reset();
    }
  }

  #handle(packet: ReceivedPacket): void {
    switch (packet.kind) {
      case 'puback':
        this.#events.acknowledged(packet.packetId, packet.reasonCode);
        return;
      case 'connack':
        if (packet.reasonCode === 0) this.#connected(packet.sessionPresent, packet.properties);
        else this.#refused(connackReason(this.#version, packet.reasonCode));
        return;
      case 'publish':
        this.#deliver(packet);
        return;
      case 'suback':
        for (const code of packet.reasonCodes) {
          if (code >= FIRST_ERROR) this.#context.counters.reason('suback', code);
        }
        if (this.#group.settings.reads === 'never') this.pause();
        return;
      case 'disconnect':
        this.#context.counters.reason('disconnect', packet.reasonCode);
        this.#disconnectReason = reasonKey('disconnect', packet.reasonCode);
    }
  }

  #refused(reason: number): void {
    this.#context.counters.reason('connack', reason);
    this.#events.refused(reasonKey('connack', reason));
  }

  #connected(isResumed: boolean, properties: PacketProperties | undefined): void {
    const { commands, reads, acknowledges, sessionExpiry } = this.#group.settings;
    this.#state = 'open';
    const took = this.#context.now() - this.#began;
    const { serverKeepAlive, receiveMaximum = RECEIVE_MAXIMUM } = properties ?? {};
    if (serverKeepAlive !== undefined) this.#keepAliveMs = serverKeepAlive * 1_000; // [MQTT-3.2.2-21]
    const isSubscriber = Object.keys(commands).length > 0 || sessionExpiry > 0;
    if (isSubscriber || reads === 'never' || acknowledges === 'never') {
      const filter = commandFilter(this.#id as DeviceId);
      this.write(encodeSubscribe(this.#version, SUBSCRIBE_ID, [{ filter, qos: 1 }]));
    }
    this.#keepAlive();
    this.#events.connected(took, { isResumed, receiveMaximum });
  }

  #deliver({ topic, qos, packetId }: ReceivedPublish): void {
    const { commands, acknowledges } = this.#group.settings;
    if (qos === 1 && acknowledges === 'always') this.write(encodePuback(this.#version, packetId));
    const parsed = parseDeviceTopic(topic);
    if (parsed?.kind !== 'command' || parsed.device !== this.#id) return;
    const command = commands[parsed.name];
    if (command === undefined || command.answer === false) return;
    const { answer } = command;
    this.#context.timers.at(this.#context.now() + command.after, () => {
      if (this.#state !== 'open') return;
      const reply = responseTopic(this.#id as DeviceId, parsed.requestId);
      this.write(encodePublish(this.#version, { topic: reply, payload: answer, qos: 0, packetId: 0 }));
    });
  }

  #keepAlive(): void {
    if (this.#keepAliveMs === 0) return; // the broker asks for none
    const period = this.#keepAliveMs * 0.75;
    this.#context.timers.at(this.#context.now() + period, () => {
      if (this.#state !== 'open') return;
      if (this.#context.now() - this.#lastSent >= period * 0.9) this.write(PINGREQ);
      this.#keepAlive();
    });
  }
}

function connectOf(id: string, { settings }: GroupContext, version: MqttVersion, names: BrokerNames): Buffer {
  const { keepalive, sessionExpiry, will } = settings;
  return encodeConnect({
    ...{
      version,
      clientId: clientIdOf(names, id),
      cleanStart: sessionExpiry === 0,
      keepAlive: Math.ceil(keepalive / 1_000),
    },
    properties: sessionExpiry === 0 ? undefined : { sessionExpiryInterval: Math.ceil(sessionExpiry / 1_000) },
    will: will && willOf(id, will, names),
  });
}

function willOf(id: string, will: NonNullable<GroupContext['settings']['will']>, names: BrokerNames): Will {
  const { stream, payload, qos, delay, userProperties } = will;
  return {
    ...{ topic: topicOf(names, id, stream), payload, qos },
    properties: {
      ...(delay > 0 && { willDelayInterval: Math.ceil(delay / 1_000) }),
      ...(userProperties !== undefined && { userProperties: Object.entries(userProperties) }),
    },
  };
}
