/** Retained messages in memory, with every change passed to the writer, within the shares of the pool. */

import { filterMatches, topicLevels } from '@rollcall/protocol';
import type { Message } from '../mqtt/message.ts';
import type { MemoryPool } from './memory-pool.ts';
import type { RecordChange } from './session-changes.ts';
import type { RetainedRow } from './session-rows.ts';
import { hasExpired, messageBytes, messageOf, messageWeight, ownMessage } from './stored-message.ts';
import { encodeProperties } from './stored-properties.ts';

/** Expired messages removed per sweep. */
const EXPIRED_PER_SWEEP = 10_000;

interface RetainedMessage {
  readonly message: Message;
  /** Empty if unknown. */
  readonly owner: string;
  readonly weight: number;
}

export interface RetainedTopic {
  readonly topic: string;
  readonly owner: string | undefined;
  /** Payload and properties. */
  readonly bytes: number;
}

export class RetainedMessages {
  readonly #pool: MemoryPool;
  readonly #change: RecordChange;
  readonly #now: () => number;
  /** By the first two levels, which name a device, so that a lookup for one device does not visit those of others. */
  readonly #branches = new Map<string, Map<string, RetainedMessage>>();
  #count = 0;
  /** No message expires before this time. */
  #earliestExpiry = Number.POSITIVE_INFINITY;

  constructor(pool: MemoryPool, change: RecordChange, now: () => number) {
    this.#pool = pool;
    this.#change = change;
    this.#now = now;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether the owner may retain so many bytes of payload and properties in place of the current message of the topic. */
  hasRoom(topic: string, bytes: number, owner: string): boolean {
    const known = this.#find(topic);
    const replaced = known?.owner === owner ? known.weight : 0;
    return this.#pool.hasRoom('retained', owner, messageWeight(topic, bytes), replaced);
  }

  /** Replaces the retained message of its topic. False when it exceeds its owner's share. */
  put(message: Message, owner: string): boolean {
    const { topic } = message;
    const bytes = messageBytes(message);
    const weight = messageWeight(topic, bytes);
    if (!this.hasRoom(topic, bytes, owner)) {
      this.#pool.recordRefusal('retained', owner, weight);
      return false;
    }
    this.#take(topic);
    const own = ownMessage(message);
    this.#add({ message: own, owner, weight });
    const { payload, qos, properties, expiresAt = null, clientId = null } = own;
    const values = [
      topic,
      owner === '' ? null : owner,
      payload,
      qos,
      encodeProperties(properties),
      expiresAt,
      clientId,
    ];
    this.#change('putRetained', values, weight);
    return true;
  }

  remove(topic: string): void {
    if (this.#take(topic)) this.#change('dropRetained', [topic], topic.length);
  }

  /** What is stored stays if it is another owner's by then: another node may have written it. */
  removeOf(topic: string, owner: string): void {
    if (this.#take(topic)) this.#change('dropRetainedOf', [topic, owner], topic.length + owner.length);
  }

  /** Without expired messages. */
  *matching(filter: string): Iterable<Message> {
    const now = this.#earliestExpiry === Number.POSITIVE_INFINITY ? 0 : this.#now();
    if (!hasWildcard(filter)) {
      const found = this.#find(filter)?.message;
      if (found !== undefined && !hasExpired(found, now)) yield found;
      return;
    }
    for (const branch of this.#branchesOf(filter)) {
      for (const [topic, { message }] of branch) {
        if (filterMatches(filter, topic) && !hasExpired(message, now)) yield message;
      }
    }
  }

  *owners(): Iterable<RetainedTopic> {
    for (const branch of this.#branches.values()) {
      for (const [topic, { owner, message }] of branch) {
        yield { topic, owner: owner || undefined, bytes: messageBytes(message) };
      }
    }
  }

  /** Removes expired messages, a limited number per call, and returns their topics. */
  sweep(now: number): readonly string[] {
    if (this.#earliestExpiry > now) return [];
    const expired: string[] = [];
    let earliest = Number.POSITIVE_INFINITY;
    for (const branch of this.#branches.values()) {
      for (const [topic, { message }] of branch) {
        if (hasExpired(message, now) && expired.length < EXPIRED_PER_SWEEP) expired.push(topic);
        else earliest = Math.min(earliest, message.expiresAt ?? earliest);
      }
    }
    this.#earliestExpiry = earliest;
    for (const topic of expired) {
      // What another node has written meanwhile stays.
      if (this.#take(topic)) this.#change('dropExpiredRetained', [topic, now], topic.length);
    }
    return expired;
  }

  load(rows: readonly RetainedRow[], numberOf: () => number): void {
    for (const row of rows) {
      const message = messageOf(row, true, numberOf());
      const weight = messageWeight(row.topic, messageBytes(message));
      this.#add({ message, owner: row.owner ?? '', weight });
    }
  }

  #branchesOf(filter: string): Iterable<Map<string, RetainedMessage>> {
    const [first = '', second] = topicLevels(filter);
    if (hasWildcard(first) || (second !== undefined && hasWildcard(second))) return this.#branches.values();
    const branch = this.#branches.get(branchOf(filter));
    return branch === undefined ? [] : [branch];
  }

  #add(retained: RetainedMessage): void {
    const { topic, expiresAt } = retained.message;
    this.#pool.addBytes('retained', retained.weight);
    this.#pool.addOwnerBytes('retained', retained.owner, retained.weight);
    if (expiresAt !== undefined) this.#earliestExpiry = Math.min(this.#earliestExpiry, expiresAt);
    const key = branchOf(topic);
    const branch = this.#branches.get(key) ?? new Map<string, RetainedMessage>();
    this.#branches.set(key, branch);
    branch.set(topic, retained);
    this.#count += 1;
  }

  #find(topic: string): RetainedMessage | undefined {
    return this.#branches.get(branchOf(topic))?.get(topic);
  }

  #take(topic: string): boolean {
    const key = branchOf(topic);
    const branch = this.#branches.get(key);
    const known = branch?.get(topic);
    if (branch === undefined || known === undefined) return false;
    this.#pool.addBytes('retained', -known.weight);
    this.#pool.addOwnerBytes('retained', known.owner, -known.weight);
    branch.delete(topic);
    if (branch.size === 0) this.#branches.delete(key);
    this.#count -= 1;
    return true;
  }
}

function branchOf(topic: string): string {
  const end = topic.indexOf('/', topic.indexOf('/') + 1);
  return end < 0 || !topic.includes('/') ? topic : topic.slice(0, end);
}

function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}
