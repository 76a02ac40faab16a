/** One application on the agent's MQTT listener, from its first packet to its last. */

import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { type DeviceId, deviceTopicPrefix, filterCovers, isShared, ReasonCode } from '@rollcall/protocol';
import type { Command } from '../commands.ts';
import type { DeviceLog } from '../device-state.ts';
import {
  encodeConnack,
  encodeDisconnect,
  encodePuback,
  encodePublish,
  encodeSuback,
  encodeUnsuback,
  type MalformedPacket,
  type PacketProperties,
  PacketReader,
  PINGRESP,
  type ReceivedPacket,
  type ReceivedPublish,
} from '../mqtt-codec/index.ts';
import { PAYLOAD_MAX } from '../payload.ts';
import { type MessageTarget, type PublishOutcome, publishForApplication } from './application-messages.ts';

export interface ApplicationOptions extends MessageTarget {
  readonly log: DeviceLog;
}

/** Of one application. */
const FILTERS_MAX = 50;
const CONNECT_WITHIN_MS = 10_000;
const PACKET_MAX = PAYLOAD_MAX + 1_024;
/** Messages of one application that are on their way to disk, before its socket isn't read any more. */
const PENDING_MAX = 64;
/** Bytes of commands that one application has not read yet, before it gets no more of them. */
const UNREAD_MAX = 1024 * 1024;
/** Milliseconds for the last packet to be read. */
const FAREWELL_MS = 1_000;

/** Return codes of CONNACK, MQTT 3.1.1. */
const PROTOCOL_REFUSED = 1;
const SERVER_UNAVAILABLE = 3;

type Connect = ReceivedPacket & { readonly kind: 'connect' };

export class MqttApplication {
  readonly #socket: Socket;
  readonly #options: ApplicationOptions;
  readonly #reader = new PacketReader({ version: undefined, maxBytes: PACKET_MAX });
  /** As the application wrote them, and without the device's prefix. */
  readonly #filters = new Map<string, string>();
  #isConnected = false;
  /** Bytes of the largest packet that the application takes. */
  #packetMax = Number.POSITIVE_INFINITY;
  #pending = 0;
  #unacknowledged = 0;
  /** Acknowledgements go out in the order in which their messages came [MQTT-4.6.0-2]. */
  #order: Promise<void> = Promise.resolve();
  #leave: (() => void) | undefined;

  constructor(socket: Socket, options: ApplicationOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.setTimeout(CONNECT_WITHIN_MS, () => this.#end('silence', ReasonCode.keepAliveTimeout));
    socket.on('data', (chunk) => this.#read(chunk as Buffer));
    socket.on('error', () => {}); // `close` follows
    socket.once('close', () => this.#leave?.());
  }

  /** The agent ends. */
  shutDown(): void {
    this.#end('agent ends', ReasonCode.serverShuttingDown);
    this.#socket.destroy();
  }

  get #version(): 4 | 5 {
    return this.#reader.version ?? 4;
  }

  /** With MQTT 5 the application is told why; 3.1.1 has no DISCONNECT of a server. */
  #end(reason: string, reasonCode: number): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    this.#options.log.info({ reason }, 'application disconnected');
    this.#reader.stop();
    if (this.#version === 5 && this.#isConnected) {
      this.#close(encodeDisconnect(5, reasonCode, { reasonString: reason }));
    } else {
      this.#socket.destroy();
    }
  }

  /** Sends the last packet. */
  #close(last: Buffer): void {
    this.#reader.stop();
    this.#socket.end(last);
    this.#socket.resume(); // a paused one would never see the other side's end
    setTimeout(() => this.#socket.destroy(), FAREWELL_MS).unref();
  }

  #read(chunk: Buffer): void {
    try {
      this.#reader.read(chunk, (packet) => this.#handle(packet));
    } catch (error) {
      const { message, reasonCode = ReasonCode.unspecifiedError } = error as Partial<MalformedPacket> & Error;
      if (!this.#isConnected && reasonCode === ReasonCode.unsupportedProtocolVersion) {
        this.#refuse({ version: 4 }, reasonCode, PROTOCOL_REFUSED, message); // in the form that older clients read
      } else {
        this.#end(message, reasonCode);
      }
    }
  }

  #handle(packet: ReceivedPacket): void {
    if (!this.#isConnected) {
      if (packet.kind === 'connect') this.#connect(packet);
      else this.#end(`expected CONNECT, found ${packet.kind}`, ReasonCode.protocolError); // [MQTT-3.1.0-1]
      return;
    }
    switch (packet.kind) {
      case 'publish':
        this.#publish(packet);
        break;
      case 'subscribe':
        this.#subscribe(packet.packetId, packet);
        break;
      case 'unsubscribe': {
        const known = packet.filters.map((filter) => this.#filters.delete(filter));
        const codes = known.map((wasThere) => (wasThere ? ReasonCode.success : ReasonCode.noSubscriptionExisted));
        this.#send(encodeUnsuback(this.#version, packet.packetId, codes));
        break;
      }
      case 'pingreq':
        this.#send(PINGRESP);
        break;
      case 'disconnect':
        this.#reader.stop();
        void this.#order.then(() => this.#socket.end()); // what came before is still acknowledged
        break;
      default:
        this.#end(`expected no ${packet.kind}`, ReasonCode.protocolError);
    }
  }

  #connect(packet: Connect): void {
    const { version, keepAlive, hasWill, clientId, properties = {} } = packet;
    if (properties.authenticationMethod !== undefined) {
      this.#refuse(packet, ReasonCode.badAuthenticationMethod, SERVER_UNAVAILABLE, 'expected no authentication method');
    } else if (hasWill) {
      this.#refuse(packet, ReasonCode.implementationSpecificError, SERVER_UNAVAILABLE, 'expected no will');
    } else if (this.#options.device.id === undefined) {
      this.#refuse(packet, ReasonCode.serverUnavailable, SERVER_UNAVAILABLE, 'this device is not enrolled yet');
    } else {
      this.#isConnected = true;
      this.#packetMax = properties.maximumPacketSize ?? Number.POSITIVE_INFINITY;
      this.#socket.setTimeout(keepAlive * 1_500); // [MQTT-3.1.2-24]
      const offered: PacketProperties = {
        ...((properties.sessionExpiryInterval ?? 0) > 0 && { sessionExpiryInterval: 0 }),
        ...(clientId === '' && { assignedClientIdentifier: randomUUID() }),
        ...{ receiveMaximum: PENDING_MAX, maximumPacketSize: PACKET_MAX, maximumQos: 1, retainAvailable: 0 },
        ...{ subscriptionIdentifiersAvailable: 0, sharedSubscriptionAvailable: 0 },
      };
      this.#send(
        encodeConnack(version, { sessionPresent: false, reasonCode: ReasonCode.success, properties: offered }),
      );
    }
  }

  /** Says why with CONNACK, by the codes of the application's version. */
  #refuse({ version }: Pick<Connect, 'version'>, reasonCode: number, returnCode: number, reason: string): void {
    const code = version === 5 ? reasonCode : returnCode;
    this.#options.log.info({ reason }, 'application refused');
    const properties = { reasonString: reason };
    this.#close(encodeConnack(version, { sessionPresent: false, reasonCode: code, properties }));
  }

  #publish(packet: ReceivedPublish): void {
    const { topic, qos, retain, packetId, properties } = packet;
    if (qos === 2) {
      this.#end('expected QoS 0 or 1', ReasonCode.qosNotSupported);
    } else if (properties?.topicAlias !== undefined) {
      this.#end('expected no topic alias', ReasonCode.topicAliasInvalid); // [MQTT-3.2.2-17]
    } else if (retain && this.#version === 5) {
      this.#end('expected a message that is not retained', ReasonCode.retainNotSupported);
    } else if (qos === 1 && this.#version === 5 && this.#unacknowledged >= PENDING_MAX) {
      this.#end(`expected at most ${PENDING_MAX} unacknowledged messages`, ReasonCode.receiveMaximumExceeded);
    } else {
      if (qos === 1) this.#unacknowledged += 1;
      this.#countPending();
      const outcome = publishForApplication(packet, `${this.#prefix}${this.#short(topic)}`, this.#options);
      this.#acknowledgeInOrder(outcome, qos === 1 ? packetId : undefined);
    }
  }

  #acknowledgeInOrder(outcome: PublishOutcome | Promise<PublishOutcome>, packetId: number | undefined): void {
    const before = this.#order;
    this.#order = (async () => {
      const settled = await outcome;
      this.#countStored();
      await before;
      this.#acknowledge(settled, packetId);
    })();
  }

  /** A message that was not taken ends the connection of MQTT 3.1.1, which has no negative acknowledgement. */
  #acknowledge({ reasonCode, reason }: PublishOutcome, packetId: number | undefined): void {
    if (packetId !== undefined) this.#unacknowledged -= 1;
    const isRefused = reasonCode >= 0x80;
    if (isRefused && this.#version === 4 && (packetId !== undefined || reasonCode === ReasonCode.topicNameInvalid)) {
      this.#end(reason ?? 'refused', reasonCode);
    } else if (packetId !== undefined) {
      const properties = reason === undefined ? undefined : { reasonString: reason };
      this.#send(encodePuback(this.#version, packetId, reasonCode, properties));
    } else if (isRefused) {
      this.#options.log.debug({ reason }, 'message of an application dropped');
    }
  }

  #countPending(): void {
    this.#pending += 1;
    if (this.#pending >= PENDING_MAX) this.#socket.pause();
  }

  #countStored(): void {
    this.#pending -= 1;
    if (this.#pending < PENDING_MAX && this.#socket.isPaused()) this.#socket.resume();
  }

  #subscribe(packetId: number, { subscriptions, properties }: ReceivedPacket & { readonly kind: 'subscribe' }): void {
    if (properties?.subscriptionIdentifiers !== undefined) {
      this.#end('expected no subscription identifier', ReasonCode.subscriptionIdentifiersNotSupported);
      return;
    }
    const codes = subscriptions.map(({ filter }) => this.#addFilter(filter));
    this.#send(encodeSuback(this.#version, packetId, codes));
    this.#leave ??= this.#options.commandQueue.join((command) => this.#take(command));
  }

  /** Only what lies within the device's own commands. */
  #addFilter(filter: string): number {
    if (isShared(filter)) return ReasonCode.sharedSubscriptionsNotSupported;
    if (!filterCovers('commands/#', this.#short(filter))) return ReasonCode.notAuthorized;
    if (this.#filters.size >= FILTERS_MAX && !this.#filters.has(filter)) return ReasonCode.quotaExceeded;
    this.#filters.set(filter, this.#short(filter));
    return ReasonCode.success;
  }

  #take({ name, requestId, payload, contentType, userProperties, correlationData }: Command): boolean {
    const short = `commands/${name}/${requestId}`;
    const matching = [...this.#filters].find(([, filter]) => filterCovers(filter, short));
    if (matching === undefined || this.#socket.writableLength > UNREAD_MAX) return false;
    const [written, filter] = matching;
    const prefix = written.slice(0, written.length - filter.length);
    const properties: PacketProperties = {
      ...{ responseTopic: `${prefix}responses/${requestId}` },
      ...(contentType !== undefined && { contentType }),
      ...(userProperties !== undefined && { userProperties }),
      ...(correlationData !== undefined && { correlationData }),
    };
    const packet = encodePublish(this.#version, {
      ...{ topic: `${prefix}${short}`, payload, qos: 0, packetId: 0, properties },
    });
    if (packet.length > this.#packetMax) return false; // [MQTT-3.1.2-24]
    this.#send(packet);
    return true;
  }

  /** An application may write its device's prefix, or leave it out. */
  #short(topic: string): string {
    return topic.startsWith(this.#prefix) ? topic.slice(this.#prefix.length) : topic;
  }

  get #prefix(): string {
    return deviceTopicPrefix(this.#options.device.id as DeviceId);
  }

  #send(packet: Buffer): void {
    if (!this.#socket.destroyed && !this.#socket.writableEnded) this.#socket.write(packet);
  }
}
