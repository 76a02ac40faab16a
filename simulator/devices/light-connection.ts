/**
 * One connection of a swarm device, from the TLS handshake to its end: CONNECT, pings, what comes, and the answers to it. What
 * its end means, and whether there is another, is the device's.
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
import type { Crew, GroupOfDevices } from './shard-context.ts';
import type { LineIdentity } from './tls-connections.ts';

export interface SwarmLineOrder {
  readonly id: string;
  readonly group: GroupOfDevices;
  readonly identity: LineIdentity | undefined;
  /** TLS session to resume. */
  readonly session: Buffer | undefined;
  readonly sourceAddress: string | undefined;
}

/** Of a device, for all of its connections: only one is heard at a time. */
export interface SwarmLineEvents {
  /** `took`: milliseconds from TCP connect to CONNACK. */
  connected(took: number): void;
  refused(cause: string): void;
  acknowledged(packetId: number): void;
  session(session: Buffer): void;
  /** Its end, if nobody here wanted it. */
  lost(cause: string | undefined): void;
}

const CONNECT_PATIENCE_MS = 30_000;
const LEAVE_PATIENCE_MS = 2_000;
const SUBSCRIBE_ID = 0xffff;

export class SwarmLine {
  readonly #id: string;
  readonly #group: GroupOfDevices;
  readonly #crew: Crew;
  readonly #events: SwarmLineEvents;
  readonly #socket: TLSSocket;
  readonly #reader = new PacketReader();
  readonly #began: number;
  #state: 'opening' | 'open' | 'silent' = 'opening';
  #lastSent = 0;

  constructor({ id, group, identity, session, sourceAddress }: SwarmLineOrder, events: SwarmLineEvents, crew: Crew) {
    this.#id = id;
    this.#group = group;
    this.#crew = crew;
    this.#events = events;
    this.#began = crew.now();
    const { settings } = group;
    this.#socket = crew.lines.open(
      { target: group.target(), identity, session, sourceAddress },
      {
        secure: () => {
          if (this.#socket.isSessionReused()) crew.tally.count('resumed');
          this.write(connectPacket(id, Math.ceil(settings.keepalive / 1_000)));
        },
        data: (bytes) => this.#read(bytes),
        closed: (cause) => {
          if (this.#state === 'silent') return;
          this.#state = 'silent';
          events.lost(cause);
        },
        ...(settings.resume && {
          session: (next: Buffer) => {
            if (this.#state !== 'silent') events.session(next);
          },
        }),
      },
    );
    crew.agenda.at(crew.now() + CONNECT_PATIENCE_MS, () => {
      if (this.#state !== 'opening') return;
      crew.tally.error('connect_timeout');
      this.reset();
    });
  }

  write(packet: Buffer): void {
    this.#lastSent = this.#crew.now();
    this.#socket.write(packet);
  }

  /** From here on nothing that it says is heard, not even its end. */
  silence(): void {
    this.#state = 'silent';
  }

  /** Takes nothing from the network any more, and tells nobody. */
  hang(): void {
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
  leave(): Promise<void> {
    this.silence();
    if (this.#socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.reset(), LEAVE_PATIENCE_MS);
      this.#socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      this.end();
    });
  }

  #read(bytes: Buffer): void {
    if (this.#state === 'silent') return;
    try {
      this.#reader.push(bytes, (first, body) => this.#handle(first, body));
    } catch {
      this.#crew.tally.error('malformed_packet');
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
        if (this.#group.settings.reads === 'never') this.hang();
        return;
    }
  }

  #connected(): void {
    const { commands, reads, acknowledges } = this.#group.settings;
    this.#state = 'open';
    const took = this.#crew.now() - this.#began;
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
    this.#crew.agenda.at(this.#crew.now() + command.after, () => {
      if (this.#state !== 'open') return;
      const reply = Buffer.from(responseTopic(this.#id as DeviceId, parsed.requestId));
      this.write(publishPacket(reply, answer, 0, 0));
    });
  }

  #keepAlive(): void {
    const period = this.#group.settings.keepalive * 0.75;
    this.#crew.agenda.at(this.#crew.now() + period, () => {
      if (this.#state !== 'open') return;
      if (this.#crew.now() - this.#lastSent >= period * 0.9) this.write(PINGREQ);
      this.#keepAlive();
    });
  }
}
