/** Wills: each is stored before its connection is accepted. A restart of the server makes it a pending will. */

import type { SessionChange } from './session-changes.ts';
import type { SessionRows } from './session-rows.ts';
import { payloadBytes } from './stored-packets.ts';

/** As aedes passes it; aedes expects the same object back. */
export interface WillPacket {
  readonly topic: string;
  readonly payload: Buffer | string;
  readonly qos?: number;
  readonly retain?: boolean;
  brokerId?: string | undefined;
  clientId?: string | undefined;
}

export interface StoredWill {
  readonly clientId: string;
  readonly packet: WillPacket;
  /** Owner and subject of its connection, as JSON, for its publication after a restart. */
  readonly about: string | undefined;
}

export class StoredWills {
  readonly #change: (change: SessionChange, bytes: number) => void;
  readonly #packets = new Map<string, WillPacket>();
  /** Wills of an earlier run. */
  readonly #pending = new Map<string, StoredWill>();

  constructor(change: (change: SessionChange, bytes: number) => void) {
    this.#change = change;
  }

  put(clientId: string, packet: WillPacket, about: string | undefined): void {
    this.#pending.delete(clientId);
    this.#packets.set(clientId, packet);
    const { topic, payload, qos = 0, retain = false } = packet;
    const values = [clientId, about ?? '', topic, payloadBytes(payload), qos, retain ? 1 : 0, null, null, 0, null];
    this.#change({ name: 'putWill', values }, topic.length + payload.length);
  }

  get(clientId: string): WillPacket | undefined {
    return this.#packets.get(clientId) ?? this.#pending.get(clientId)?.packet;
  }

  remove(clientId: string): WillPacket | undefined {
    const packet = this.get(clientId);
    if (packet === undefined) return undefined;
    this.#packets.delete(clientId);
    this.#pending.delete(clientId);
    this.#change({ name: 'dropWill', values: [clientId] }, clientId.length);
    return packet;
  }

  pending(): readonly StoredWill[] {
    return [...this.#pending.values()];
  }

  pendingOf(clientId: string): StoredWill | undefined {
    return this.#pending.get(clientId);
  }

  *ofOtherBrokers(brokers: Readonly<Record<string, unknown>>): Iterable<WillPacket> {
    for (const packet of this.#packets.values()) if (brokers[packet.brokerId ?? ''] === undefined) yield packet;
  }

  load({ wills }: SessionRows): void {
    for (const { client_id: clientId, about, topic, payload, qos, retain } of wills) {
      const packet = { topic, payload, qos, retain: retain === 1, clientId };
      this.#pending.set(clientId, { clientId, packet, about: about || undefined });
    }
  }
}
