/** Messages that queues have stored. Each is in memory and on disk once, however many queues contain it. */

import type { Message } from '../mqtt/message.ts';
import type { MemoryPool } from './memory-pool.ts';
import type { RowIds } from './row-ids.ts';
import type { RecordChange } from './session-changes.ts';
import type { BodyRow } from './session-rows.ts';
import { messageBytes, messageOf, messageWeight, ownMessage } from './stored-message.ts';
import { encodeProperties } from './stored-properties.ts';

export interface MessageBody {
  readonly id: number;
  readonly message: Message;
  readonly weight: number;
  /** Queue entries that contain it. */
  references: number;
}

export class MessageBodies {
  readonly #pool: MemoryPool;
  readonly #change: RecordChange;
  readonly #ids: RowIds;

  constructor(pool: MemoryPool, change: RecordChange, ids: RowIds) {
    this.#ids = ids;
    this.#pool = pool;
    this.#change = change;
  }

  /** Copies the message. The caller adds at least one reference. */
  add(message: Message): MessageBody {
    const own = ownMessage(message);
    const { topic, payload, qos, retain, properties, expiresAt, clientId } = own;
    const weight = messageWeight(topic, messageBytes(own));
    const body: MessageBody = { id: this.#ids.next(), message: own, weight, references: 0 };
    const values = [body.id, topic, payload, qos, retain ? 1 : 0];
    this.#change('putBody', [...values, encodeProperties(properties), expiresAt ?? null, clientId ?? null], weight);
    return body;
  }

  addReference(body: MessageBody, owner: string): void {
    if (body.references === 0) this.#pool.addBytes('queued', body.weight);
    this.#pool.addOwnerBytes('queued', owner, body.weight);
    body.references += 1;
  }

  /** Removes the body with its last reference. */
  removeReference(body: MessageBody, owner: string): void {
    this.#pool.addOwnerBytes('queued', owner, -body.weight);
    body.references -= 1;
    if (body.references > 0) return;
    this.#pool.addBytes('queued', -body.weight);
    this.#change('dropBody', [body.id], 0);
  }

  /** Returns the bodies of an earlier run, by id. */
  load(rows: readonly BodyRow[], numberOf: () => number): ReadonlyMap<number, MessageBody> {
    const bodies = new Map<number, MessageBody>();
    for (const row of rows) {
      const message = messageOf(row, row.retain === 1, numberOf());
      const weight = messageWeight(row.topic, messageBytes(message));
      bodies.set(row.id, { id: row.id, message, weight, references: 0 });
      this.#ids.seen(row.id);
    }
    return bodies;
  }

  /** Removes bodies of an earlier run that no queue contains. */
  dropUnused(bodies: Iterable<MessageBody>): void {
    for (const body of bodies) if (body.references === 0) this.#change('dropBody', [body.id], 0);
  }
}
