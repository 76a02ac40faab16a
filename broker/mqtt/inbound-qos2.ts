/**
 * QoS 2 messages between their first PUBLISH and their PUBREL, by packet identifier, so that each counts once [MQTT-4.3.3-2],
 * and over the end of the server too. What goes into the journal is announced before, with a key under which the journal takes
 * it once: two files can't be committed together, and whichever is behind when the server ends is brought up by the client.
 * Stores no message.
 */

import { randomUUID } from 'node:crypto';
import { SERVER_KEY_PREFIX } from '../../storage/index.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { ClientKey, StoredPacket } from '../session-store/stored-packets.ts';

/** A client as aedes hands it over. */
export interface InboundQos2Client extends ClientKey {
  /** Its connection has ended. */
  readonly closed?: boolean;
}

interface InboundQos2Packet {
  readonly cmd?: string | undefined;
  readonly topic?: string;
  readonly messageId?: number | undefined;
}

export interface JournalKey {
  /** For the journal; undefined where no identifier outlives the connection. */
  readonly key: string | undefined;
  /** It came before, and nobody knows how far. */
  readonly mayBeStored: boolean;
}

const RECEIVED = Buffer.alloc(0);

export class InboundQos2 {
  readonly #memory: SessionStore;

  constructor(memory: SessionStore) {
    this.#memory = memory;
  }

  /** Whether a client may send one more that it has not released: beyond `most` of them only those that are known. */
  hasRoom(client: ClientKey, { messageId }: InboundQos2Packet, most: number): boolean {
    return this.#memory.incomingCount(client.id) < most || this.#memory.incoming(client, messageId) !== undefined;
  }

  /** Resolves, once it is on disk, with whether this message has arrived, journal and all. */
  async isReceived(client: ClientKey, packet: InboundQos2Packet): Promise<boolean> {
    const mark = this.#memory.incoming(client, packet.messageId);
    if (mark === undefined || isReserved(mark)) return false;
    await this.#memory.durable();
    return true;
  }

  /** Before it goes into the journal; resolves when that is on disk. Not for what {@link isReceived}. */
  async reserveKey(client: ClientKey, { topic = '', messageId }: InboundQos2Packet): Promise<JournalKey> {
    if (client.clean === true) return { key: undefined, mayBeStored: false };
    const mark = this.#memory.incoming(client, messageId);
    if (mark !== undefined && isReserved(mark)) {
      await this.#memory.durable();
      return { key: String(mark.payload), mayBeStored: true };
    }
    const key = SERVER_KEY_PREFIX + randomUUID();
    await this.#memory.incomingStorePacket(client, { topic, payload: Buffer.from(key), qos: 2, messageId });
    return { key, mayBeStored: false };
  }

  /** It is in the journal, if it belongs there. Resolves when a client that sends it again finds it known. */
  markReceived(client: InboundQos2Client, { topic = '', messageId }: InboundQos2Packet): Promise<void> {
    // The session that it was sent in is over: in the next one its identifier is that of another message.
    if (client.clean === true && client.closed === true) return Promise.resolve();
    const mark = this.#memory.incoming(client, messageId);
    const own = { id: client.id, clean: client.clean === true };
    const stored = this.#memory.incomingStorePacket(own, { topic, payload: RECEIVED, qos: 2, messageId });
    if (mark === undefined) return stored;
    // Sent again after a crash it would be announced still, and not be taken by the journal.
    stored.catch(() => {});
    return Promise.resolve();
  }

  /** For aedes: rejects where a PUBLISH is new to it. What was only announced can be released all the same. */
  async find(client: ClientKey, packet: InboundQos2Packet): Promise<StoredPacket> {
    const mark = this.#memory.incoming(client, packet.messageId);
    if (mark === undefined || (isReserved(mark) && packet.cmd !== 'pubrel')) throw new Error('no such packet');
    return mark;
  }
}

function isReserved({ payload }: StoredPacket): boolean {
  return payload.length > 0;
}
