/**
 * QoS 2 messages that were received and not released yet [MQTT-4.3.3-2], by packet identifier, with the key under which the journal
 * stores them. Those of sessions that end with their connection are in memory only.
 */

import type { RecordChange } from './session-changes.ts';
import type { IncomingRow } from './session-rows.ts';

export interface IncomingMessage {
  /** Undefined: the message is stored completely, or needs no key. */
  readonly key: string | undefined;
}

interface ClientMessages {
  /** Whether anything of it was ever written to disk. */
  isWritten: boolean;
  readonly messages: Map<number, IncomingMessage>;
}

/** One object for all messages without a key. */
const WITHOUT_KEY: IncomingMessage = { key: undefined };

export class IncomingMessages {
  readonly #change: RecordChange;
  readonly #clients = new Map<string, ClientMessages>();

  constructor(change: RecordChange) {
    this.#change = change;
  }

  get(clientId: string, packetId: number): IncomingMessage | undefined {
    return this.#clients.get(clientId)?.messages.get(packetId);
  }

  of(clientId: string): readonly { readonly packetId: number; readonly key: string | undefined }[] {
    const own = this.#clients.get(clientId)?.messages;
    return own === undefined ? [] : [...own].map(([packetId, { key }]) => ({ packetId, key }));
  }

  count(clientId: string): number {
    return this.#clients.get(clientId)?.messages.size ?? 0;
  }

  put(clientId: string, packetId: number, key: string | undefined, isStored: boolean): void {
    const own = this.#add(clientId, packetId, key);
    if (!isStored) return;
    own.isWritten = true;
    this.#change('putIncoming', [clientId, packetId, key ?? null], clientId.length + (key?.length ?? 0));
  }

  remove(clientId: string, packetId: number): boolean {
    const own = this.#clients.get(clientId);
    if (own === undefined || !own.messages.delete(packetId)) return false;
    if (own.messages.size === 0) this.#clients.delete(clientId);
    if (own.isWritten) this.#change('dropIncoming', [clientId, packetId], clientId.length);
    return true;
  }

  clear(clientId: string): void {
    const own = this.#clients.get(clientId);
    if (own === undefined) return;
    this.#clients.delete(clientId);
    if (own.isWritten) this.#change('dropAllIncoming', [clientId], clientId.length);
  }

  load(rows: readonly IncomingRow[]): void {
    for (const { client_id: clientId, packet_id: packetId, key } of rows) {
      this.#add(clientId, packetId, key ?? undefined).isWritten = true;
    }
  }

  #add(clientId: string, packetId: number, key: string | undefined): ClientMessages {
    let own = this.#clients.get(clientId);
    if (own === undefined) {
      own = { isWritten: false, messages: new Map() };
      this.#clients.set(clientId, own);
    }
    own.messages.set(packetId, key === undefined ? WITHOUT_KEY : { key });
    return own;
  }
}
