/** The owner of each retained message: limits the topics and bytes per owner, and finds the messages of a revoked identity. */

interface RetainedTopic {
  readonly owner: string;
  readonly bytes: number;
}

export interface RetainedLimits {
  /** Topics per owner. */
  readonly retained: number;
  /** Payload bytes per owner, all topics together. */
  readonly queuedBytes: number;
}

export class RetainedOwners {
  readonly #limits: RetainedLimits;
  readonly #byTopic = new Map<string, RetainedTopic>();
  readonly #byOwner = new Map<string, { readonly topics: Set<string>; bytes: number }>();

  constructor(limits: RetainedLimits) {
    this.#limits = limits;
  }

  owners(): Iterable<string> {
    return this.#byOwner.keys();
  }

  topicsOf(owner: string): readonly string[] {
    return [...(this.#byOwner.get(owner)?.topics ?? [])];
  }

  ownerOf(topic: string): string | undefined {
    return this.#byTopic.get(topic)?.owner;
  }

  /** Whether an owner may retain a message of this size under a topic. */
  hasRoom(topic: string, owner: string, bytes: number): boolean {
    if (bytes === 0) return true;
    const known = this.#byTopic.get(topic);
    const own = this.#byOwner.get(owner) ?? { topics: new Set(), bytes: 0 };
    const isOwn = known?.owner === owner;
    return (
      (isOwn || own.topics.size < this.#limits.retained) &&
      own.bytes - (isOwn ? known.bytes : 0) + bytes <= this.#limits.queuedBytes
    );
  }

  /** Replaces the previous owner of the topic. */
  set(topic: string, owner: string, bytes: number): void {
    this.delete(topic);
    this.#byTopic.set(topic, { owner, bytes });
    const own = this.#byOwner.get(owner) ?? { topics: new Set(), bytes: 0 };
    own.topics.add(topic);
    own.bytes += bytes;
    this.#byOwner.set(owner, own);
  }

  delete(topic: string): void {
    const known = this.#byTopic.get(topic);
    if (known === undefined) return;
    this.#byTopic.delete(topic);
    const own = this.#byOwner.get(known.owner);
    if (own === undefined) return;
    own.topics.delete(topic);
    own.bytes -= known.bytes;
    if (own.topics.size === 0) this.#byOwner.delete(known.owner);
  }
}
