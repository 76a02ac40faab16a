/**
 * QoS 2 messages that were received and not released yet [MQTT-4.3.3-2], by packet identifier. Those of clean sessions
 * are in memory only.
 */

import type { SessionChange } from './session-changes.ts';
import type { SessionRows } from './session-rows.ts';
import { type ClientKey, ownPayload, payloadBytes, type StoredPacket } from './stored-packets.ts';

interface ClientPackets {
  /** Whether anything of it was ever written to disk. */
  isWritten: boolean;
  readonly packets: Map<number, StoredPacket>;
}

export class IncomingPackets {
  readonly #change: (change: SessionChange, bytes: number) => void;
  readonly #clients = new Map<string, ClientPackets>();

  constructor(change: (change: SessionChange, bytes: number) => void) {
    this.#change = change;
  }

  store(client: ClientKey, packet: StoredPacket): void {
    const { messageId } = packet;
    if (messageId === undefined) throw new Error('expected a packet identifier, found none');
    const own = this.#clients.get(client.id) ?? { isWritten: false, packets: new Map<number, StoredPacket>() };
    this.#clients.set(client.id, own);
    const stored = copyOf(packet, messageId);
    own.packets.set(messageId, stored);
    if (client.clean === true) return;
    own.isWritten = true;
    const values = [client.id, messageId, payloadBytes(stored.payload).toString() || null];
    this.#change({ name: 'putIncoming', values }, stored.topic.length + stored.payload.length);
  }

  get(client: ClientKey, messageId: number | undefined): StoredPacket | undefined {
    return messageId === undefined ? undefined : this.#clients.get(client.id)?.packets.get(messageId);
  }

  count(clientId: string): number {
    return this.#clients.get(clientId)?.packets.size ?? 0;
  }

  remove(client: ClientKey, messageId: number | undefined): boolean {
    const own = this.#clients.get(client.id);
    if (own === undefined || messageId === undefined || !own.packets.delete(messageId)) return false;
    if (own.packets.size === 0) this.#clients.delete(client.id);
    if (own.isWritten) this.#change({ name: 'dropIncoming', values: [client.id, messageId] }, client.id.length);
    return true;
  }

  clear(client: ClientKey): void {
    const own = this.#clients.get(client.id);
    if (own === undefined) return;
    this.#clients.delete(client.id);
    if (own.isWritten) this.#change({ name: 'dropAllIncoming', values: [client.id] }, client.id.length);
  }

  load({ incoming }: SessionRows): void {
    for (const { client_id: clientId, packet_id: messageId, key } of incoming) {
      const own = this.#clients.get(clientId) ?? { isWritten: true, packets: new Map<number, StoredPacket>() };
      this.#clients.set(clientId, own);
      own.packets.set(messageId, copyOf({ topic: '', payload: Buffer.from(key ?? ''), qos: 2 }, messageId));
    }
  }
}

function copyOf(packet: StoredPacket, messageId: number): StoredPacket {
  const { brokerId, brokerCounter, topic, payload, qos = 0, retain = false } = packet;
  const own = ownPayload(payload);
  return { cmd: 'publish', brokerId, brokerCounter, topic, payload: own, qos, retain, dup: false, messageId } as never;
}
