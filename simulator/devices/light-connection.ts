/**
 * One connection of a light device, from the TLS handshake to its end: CONNECT, pings, received packets and the answers to them.
 * The device decides what its end means and whether it reconnects.
 */

import type { TLSSocket } from 'node:tls';
import { commandFilter, type DeviceId, parseDeviceTopic, responseTopic } from '@rollcall/protocol';
import {
  CONNACK,
  connectPacket,
  DISCONNECT,
  PacketReader,
  PINGREQ,
  PUBACK,
  PUBLISH,
  pubackPacket,
  publishPacket,
  readPublish,
  SUBACK,
  subscribePacket,
} from './mqtt-packets.ts';
import type { GroupContext, ShardContext } from './shard-context.ts';
import type { TlsIdentity } from './tls-connections.ts';

export interface LightConnectionOptions {
  readonly id: string;
  readonly group: GroupContext;
  readonly identity: TlsIdentity | undefined;
  /** TLS session to resume. */
  readonly session: Buffer | undefined;
  readonly sourceAddress: string | undefined;
}

/** Handlers of a device for all of its connections, of which one is open at a time. */
export interface LightConnectionEvents {
  /** `took`: milliseconds from TCP connect to CONNACK. */
  connected(took: number): void;
  refused(cause: string): void;
  acknowledged(packetId: number): void;
  session(session: Buffer): void;
  /** The connection ended without a request of the device. */
  lost(cause: string | undefined): void;
}

const CONNECT_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 2_000;
const SUBSCRIBE_ID = 0xffff;

export class LightConnection {
  readonly #id: string;
  readonly #group: GroupContext;
  readonly #context: ShardContext;
  readonly #events: LightConnectionEvents;
  readonly #socket: TLSSocket;
  readonly #reader = new PacketReader();
  readonly #began: number;
  #state: 'opening' | 'open' | 'ignored' = 'opening';
  #lastSent = 0;

  constructor(
    { id, group, identity, session, sourceAddress }: LightConnectionOptions,
    events: LightConnectionEvents,
    context: ShardContext,
  ) {
    this.#id = id;
    this.#group = group;
    this.#context = context;
    this.#events = events;
    this.#began = context.now();
    const { settings } = group;
    this.#socket = context.connector.open(
      { target: group.target(), identity, session, sourceAddress },
      {
        secure: () => {
          if (this.#socket.isSessionReused()) context.counters.count('resumed');
          this.write(connectPacket(id, Math.ceil(settings.keepalive / 1_000)));
        },
        data: (bytes) => this.#read(bytes),
        closed: (cause) => {
          if (this.#state === 'ignored') return;
          this.#state = 'ignored';
          events.lost(cause);
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

  end(): void {
    if (this.#socket.destroyed) return;
    this.#socket.end(DISCONNECT);
    this.#socket.resume();
  }

  /** Ends it, and resolves when it has ended. */
  close(): Promise<void> {
    this.ignoreEvents();
    if (this.#socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.reset(), CLOSE_TIMEOUT_MS);
      this.#socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      this.end();
    });
  }

  #read(bytes: Buffer): void {
    if (this.#state === 'ignored') return;
    try {
      this.#reader.push(bytes, (first, body) => this.#handle(first, body));
    } catch {
      this.#context.counters.error('malformed_packet');
      this.reset();
    }
  }

  #handle(first: number, body: Buffer): void {
    switch (first >> 4) {
      case PUBACK:
        this.#events.acknowledged(body.readUInt16BE(0));
        return;
      case CONNACK:
        if (body[1] === 0) this.#connected();
        else this.#events.refused(`connack_${body[1]}`);
        return;
      case PUBLISH:
        this.#deliver(first, body);
        return;
      case SUBACK:
        if (this.#group.settings.reads === 'never') this.pause();
        return;
    }
  }

  #connected(): void {
    const { commands, reads, acknowledges } = this.#group.settings;
    this.#state = 'open';
    const took = this.#context.now() - this.#began;
    if (Object.keys(commands).length > 0 || reads === 'never' || acknowledges === 'never') {
      this.write(subscribePacket(SUBSCRIBE_ID, [commandFilter(this.#id as DeviceId)], 1));
    }
    this.#keepAlive();
    this.#events.connected(took);
  }

  #deliver(first: number, body: Buffer): void {
    const { commands, acknowledges } = this.#group.settings;
    const { topic, qos, packetId } = readPublish(first, body);
    if (qos === 1 && acknowledges === 'always') this.write(pubackPacket(packetId));
    const parsed = parseDeviceTopic(topic);
    if (parsed?.kind !== 'command' || parsed.device !== this.#id) return;
    const command = commands[parsed.name];
    if (command === undefined || command.answer === false) return;
    const { answer } = command;
    this.#context.timers.at(this.#context.now() + command.after, () => {
      if (this.#state !== 'open') return;
      const reply = Buffer.from(responseTopic(this.#id as DeviceId, parsed.requestId));
      this.write(publishPacket(reply, answer, 0, 0));
    });
  }

  #keepAlive(): void {
    const period = this.#group.settings.keepalive * 0.75;
    this.#context.timers.at(this.#context.now() + period, () => {
      if (this.#state !== 'open') return;
      if (this.#context.now() - this.#lastSent >= period * 0.9) this.write(PINGREQ);
      this.#keepAlive();
    });
  }
}
