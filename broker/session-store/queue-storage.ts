/** Queue entries on disk and in the memory pool. Knows neither the order nor the limits of a queue. */

import type { MemoryPool } from './memory-pool.ts';
import type { MessageBodies, MessageBody } from './message-bodies.ts';
import { type Delivery, QueueEntry, RELEASED } from './queue-entry.ts';
import type { RowIds } from './row-ids.ts';
import type { RecordChange } from './session-changes.ts';
import type { SessionChangeLog } from './session-commits.ts';
import type { QueuedRow } from './session-rows.ts';

/** Bytes that an entry counts for, besides the message. */
export const ENTRY_WEIGHT = 100;

export class QueueStorage {
  readonly #bodies: MessageBodies;
  readonly #pool: MemoryPool;
  readonly #change: RecordChange;
  readonly #commits: SessionChangeLog;
  /** Entries whose packet identifier is not on disk yet. Most are acknowledged before it is. */
  readonly #numbered = new Set<QueueEntry>();
  readonly #ids: RowIds;

  constructor(bodies: MessageBodies, pool: MemoryPool, change: RecordChange, commits: SessionChangeLog, ids: RowIds) {
    this.#ids = ids;
    this.#bodies = bodies;
    this.#pool = pool;
    this.#change = change;
    this.#commits = commits;
  }

  add(clientId: string, owner: string, body: MessageBody, delivery: Delivery): QueueEntry {
    const entry = new QueueEntry(this.#ids.next(), body.message, body, delivery);
    const { qos, retain, subscriptionIdentifiers, share = null } = delivery;
    const identifiers = subscriptionIdentifiers === undefined ? null : JSON.stringify(subscriptionIdentifiers);
    const values = [entry.id, clientId, body.id, qos, retain ? 1 : 0, identifiers, share];
    this.#change('putQueued', values, clientId.length + (share?.length ?? 0));
    this.#count(entry, owner);
    return entry;
  }

  /** An entry of an earlier run; `body` is undefined when only PUBREL is left. */
  load(row: QueuedRow, owner: string, body: MessageBody | undefined): QueueEntry {
    const entry = new QueueEntry(row.id, body?.message ?? RELEASED, body, {
      qos: row.qos,
      retain: row.retain === 1,
      subscriptionIdentifiers: readIdentifiers(row.subscription_identifiers),
      share: row.share ?? undefined,
    });
    entry.packetId = row.packet_id ?? undefined;
    entry.isReleased = body === undefined;
    this.#ids.seen(row.id);
    this.#count(entry, owner);
    return entry;
  }

  /** Removes a row of an earlier run that cannot be loaded. */
  dropRow(id: number): void {
    this.#ids.seen(id);
    this.#change('dropQueued', [id], 0);
  }

  /**
   * A QoS 2 message is sent only after its packet identifier is on disk: under another one it would be another message
   * [MQTT-4.3.3-1]. That of QoS 1 is written later.
   */
  storePacketId(entry: QueueEntry): Promise<void> | undefined {
    this.#numbered.add(entry);
    if (entry.qos < 2) {
      this.#commits.schedule();
      return undefined;
    }
    this.writePacketIds();
    return this.#commits.durable();
  }

  /** Writes the packet identifiers that were assigned since the last call. */
  writePacketIds(): void {
    for (const entry of this.#numbered) this.#change('numberQueued', [entry.packetId ?? null, entry.id], 0);
    this.#numbered.clear();
  }

  release(entry: QueueEntry, owner: string): void {
    if (this.#numbered.delete(entry)) this.#change('numberQueued', [entry.packetId ?? null, entry.id], 0);
    this.#change('releaseQueued', [entry.id], 0);
    if (entry.body !== undefined) this.#bodies.removeReference(entry.body, owner);
    entry.body = undefined;
  }

  remove(entry: QueueEntry, owner: string): void {
    this.#numbered.delete(entry);
    this.#change('dropQueued', [entry.id], 0);
    this.#pool.addBytes('queued', -ENTRY_WEIGHT);
    this.#pool.addOwnerBytes('queued', owner, -ENTRY_WEIGHT);
    if (entry.body !== undefined) this.#bodies.removeReference(entry.body, owner);
  }

  durable(): Promise<void> {
    return this.#commits.durable();
  }

  #count(entry: QueueEntry, owner: string): void {
    this.#pool.addBytes('queued', ENTRY_WEIGHT);
    this.#pool.addOwnerBytes('queued', owner, ENTRY_WEIGHT);
    if (entry.body !== undefined) this.#bodies.addReference(entry.body, owner);
  }
}

function readIdentifiers(text: string | null): readonly number[] | undefined {
  return text === null ? undefined : (JSON.parse(text) as number[]);
}
