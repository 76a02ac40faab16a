/** Retained messages in memory, with every change passed to the writer, within the shares of the pool. */

import { filterMatches, topicLevels } from '@rollcall/protocol';
import type { MemoryPool } from './memory-pool.ts';
import type { SessionChange } from './session-changes.ts';
import type { SessionRows } from './session-rows.ts';
import { ownPayload, payloadBytes, type StoredPacket, weightOf } from './stored-packets.ts';

interface RetainedMessage {
  readonly packet: StoredPacket;
  /** Empty if unknown. */
  readonly owner: string;
}

export class RetainedMessages {
  readonly #pool: MemoryPool;
  readonly #change: (change: SessionChange, bytes: number) => void;
  /** By the first two levels, which name a device, so that a lookup for one device does not visit those of others. */
  readonly #branches = new Map<string, Map<string, RetainedMessage>>();
  #count = 0;

  constructor(pool: MemoryPool, change: (change: SessionChange, bytes: number) => void) {
    this.#pool = pool;
    this.#change = change;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether the owner may retain a message in place of the current one. */
  mayRetain(packet: StoredPacket, owner: string): boolean {
    if (packet.payload.length === 0) return true;
    const known = this.#find(packet.topic);
    const replaced = known?.owner === owner ? weightOf(known.packet) : 0;
    return this.#pool.hasRoom('retained', owner, weightOf(packet), replaced);
  }

  /** Replaces the retained message of a topic; an empty payload removes it. False when it exceeds its owner's share. */
  store(packet: StoredPacket, owner = ''): boolean {
    const { topic } = packet;
    const isRemoved = packet.payload.length === 0;
    if (!this.mayRetain(packet, owner)) {
      this.#pool.recordRefusal('retained', owner, weightOf(packet));
      return false;
    }
    const wasThere = this.#take(topic);
    if (isRemoved) {
      if (wasThere) this.#change({ name: 'dropRetained', values: [topic] }, topic.length);
      return true;
    }
    const own = { ...packet, payload: ownPayload(packet.payload) };
    this.#put({ packet: own, owner });
    const values = [topic, owner === '' ? null : owner, payloadBytes(own.payload), own.qos ?? 0, null, null, null];
    this.#change({ name: 'putRetained', values }, weightOf(own));
    return true;
  }

  *matching(filters: readonly string[]): Iterable<StoredPacket> {
    for (const filter of filters) {
      for (const branch of this.#branchesOf(filter)) {
        if (!hasWildcard(filter)) {
          const found = branch.get(filter);
          if (found !== undefined) yield found.packet;
          continue;
        }
        for (const [topic, { packet }] of branch) if (filterMatches(filter, topic)) yield packet;
      }
    }
  }

  *owners(): Iterable<{ readonly topic: string; readonly owner: string | undefined; readonly bytes: number }> {
    for (const branch of this.#branches.values()) {
      for (const [topic, { owner, packet }] of branch)
        yield { topic, owner: owner || undefined, bytes: packet.payload.length };
    }
  }

  load({ retained }: SessionRows): void {
    for (const { topic, owner, payload, qos } of retained) {
      const packet = { cmd: 'publish', topic, payload, qos, retain: true };
      this.#put({ packet, owner: owner ?? '' });
    }
  }

  #branchesOf(filter: string): Iterable<Map<string, RetainedMessage>> {
    const [first = '', second] = topicLevels(filter);
    if (hasWildcard(first) || (second !== undefined && hasWildcard(second))) return this.#branches.values();
    const branch = this.#branches.get(branchOf(filter));
    return branch === undefined ? [] : [branch];
  }

  #put(retained: RetainedMessage): void {
    const { topic } = retained.packet;
    this.#pool.addBytes('retained', weightOf(retained.packet));
    this.#pool.addOwnerBytes('retained', retained.owner, weightOf(retained.packet));
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
    this.#pool.addBytes('retained', -weightOf(known.packet));
    this.#pool.addOwnerBytes('retained', known.owner, -weightOf(known.packet));
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
