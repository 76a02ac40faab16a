/** The wills of all clients, in memory and on disk, with the time at which each is due. */

import type { WillMessage } from '../mqtt/packets.ts';
import type { RecordChange } from './session-changes.ts';
import type { WillRow } from './session-rows.ts';
import { ownPayload } from './stored-message.ts';
import { decodeProperties, encodeProperties, ownProperties, propertyBytes } from './stored-properties.ts';

export interface WillRecord extends WillMessage {
  /** Owner and subject of its connection, as JSON, for its publication after a restart. */
  readonly about: string;
  /** Milliseconds since the epoch at which its delay ends; undefined while its client is connected, and without a delay. */
  readonly dueAt: number | undefined;
}

export class WillRecords {
  readonly #change: RecordChange;
  readonly #wills = new Map<string, WillRecord>();

  constructor(change: RecordChange) {
    this.#change = change;
  }

  put(clientId: string, will: WillRecord): void {
    const own = { ...will, payload: ownPayload(will.payload), properties: ownProperties(will.properties) };
    this.#wills.set(clientId, own);
    const { about, topic, payload, qos, retain, properties, messageExpiryInterval, delayInterval, dueAt } = own;
    const values = [clientId, about, topic, payload, qos, retain ? 1 : 0, encodeProperties(properties)];
    const bytes = topic.length + payload.length + propertyBytes(properties);
    this.#change('putWill', [...values, messageExpiryInterval ?? null, delayInterval, dueAt ?? null], bytes);
  }

  /** The same object as long as the will is not changed. */
  get(clientId: string): WillRecord | undefined {
    return this.#wills.get(clientId);
  }

  setDue(clientId: string, dueAt: number | undefined): void {
    const will = this.#wills.get(clientId);
    if (will === undefined) return;
    this.#wills.set(clientId, { ...will, dueAt });
    this.#change('setWillDue', [dueAt ?? null, clientId], clientId.length);
  }

  remove(clientId: string): WillRecord | undefined {
    const will = this.#wills.get(clientId);
    if (will === undefined) return undefined;
    this.#wills.delete(clientId);
    this.#change('dropWill', [clientId], clientId.length);
    return will;
  }

  all(): Iterable<readonly [clientId: string, will: WillRecord]> {
    return this.#wills;
  }

  load(rows: readonly WillRow[]): void {
    for (const row of rows) {
      this.#wills.set(row.client_id, {
        topic: row.topic,
        payload: row.payload,
        qos: row.qos,
        retain: row.retain === 1,
        properties: decodeProperties(row.properties),
        messageExpiryInterval: row.message_expiry ?? undefined,
        delayInterval: row.delay,
        about: row.about,
        dueAt: row.due_at ?? undefined,
      });
    }
  }
}
