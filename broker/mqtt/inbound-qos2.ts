/**
 * QoS 2 messages between their first PUBLISH and their PUBREL, by packet identifier, so that each is stored once [MQTT-4.3.3-2],
 * also across a restart. The session store and the journal cannot commit together. So the session store first records a key of the
 * message; the journal stores a key once; and a client that sends the message again after a crash completes what is missing.
 * Stores no payload.
 */

import { randomUUID } from 'node:crypto';
import { SERVER_KEY_PREFIX } from '../../storage/index.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { ClientKey, StoredPacket } from '../session-store/stored-packets.ts';

/** A client as aedes hands it over. */
export interface InboundQos2Client extends ClientKey {
  /** The connection has ended. */
  readonly closed?: boolean;
}

interface InboundQos2Packet {
  readonly cmd?: string | undefined;
  readonly topic?: string;
  readonly messageId?: number | undefined;
}

export interface JournalKey {
  /** For the journal; undefined for a clean session, whose packet identifiers end with the connection. */
  readonly key: string | undefined;
  /** The message was received before, and may be stored already. */
  readonly mayBeStored: boolean;
}

const RECEIVED = Buffer.alloc(0);

export class InboundQos2 {
  readonly #store: SessionStore;

  constructor(store: SessionStore) {
    this.#store = store;
  }

  /** Whether a client may have one more unreleased message: beyond `most` only packet identifiers that are in use already. */
  hasRoom(client: ClientKey, { messageId }: InboundQos2Packet, most: number): boolean {
    return this.#store.incomingCount(client.id) < most || this.#store.incoming(client, messageId) !== undefined;
  }

  /** Whether this message was received and stored completely. Resolves after that is on disk. */
  async isReceived(client: ClientKey, packet: InboundQos2Packet): Promise<boolean> {
    const mark = this.#store.incoming(client, packet.messageId);
    if (mark === undefined || isReserved(mark)) return false;
    await this.#store.durable();
    return true;
  }

  /** Reserves the journal key of a message that was not {@link isReceived}. Resolves when the key is on disk. */
  async reserveKey(client: ClientKey, { topic = '', messageId }: InboundQos2Packet): Promise<JournalKey> {
    if (client.clean === true) return { key: undefined, mayBeStored: false };
    const mark = this.#store.incoming(client, messageId);
    if (mark !== undefined && isReserved(mark)) {
      await this.#store.durable();
      return { key: String(mark.payload), mayBeStored: true };
    }
    const key = SERVER_KEY_PREFIX + randomUUID();
    await this.#store.incomingStorePacket(client, { topic, payload: Buffer.from(key), qos: 2, messageId });
    return { key, mayBeStored: false };
  }

  /** Marks a message as received, after the journal stored it. Resolves when a repetition would be recognized. */
  markReceived(client: InboundQos2Client, { topic = '', messageId }: InboundQos2Packet): Promise<void> {
    // Its clean session has ended: in the next one the same identifier means another message.
    if (client.clean === true && client.closed === true) return Promise.resolve();
    const mark = this.#store.incoming(client, messageId);
    const own = { id: client.id, clean: client.clean === true };
    const stored = this.#store.incomingStorePacket(own, { topic, payload: RECEIVED, qos: 2, messageId });
    if (mark === undefined) return stored;
    // After a crash the key would still be reserved, and the journal would recognize the repetition by it.
    stored.catch(() => {});
    return Promise.resolve();
  }

  /** For aedes: rejects for a PUBLISH that is new. PUBREL is accepted also for a message whose key is only reserved. */
  async find(client: ClientKey, packet: InboundQos2Packet): Promise<StoredPacket> {
    const mark = this.#store.incoming(client, packet.messageId);
    if (mark === undefined || (isReserved(mark) && packet.cmd !== 'pubrel')) throw new Error('no such packet');
    return mark;
  }
}

function isReserved({ payload }: StoredPacket): boolean {
  return payload.length > 0;
}
