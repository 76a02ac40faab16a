import { lengthWithoutKey } from '@rollcall/protocol';
import type { JournalEntry } from './journal-segment.ts';
import { PRIORITIES, type Priority, type Sendable } from './send-window.ts';

/**
 * What is dropped when a stream or the queue is full. `newest`: the new message is refused with `outbox_full`.
 * `oldest`: the oldest waiting messages of the same stream make room. `keep-latest`: full or not, a newer message of the
 * stream takes the place of all that wait.
 */
export type DropPolicy = 'newest' | 'oldest' | 'keep-latest';

export interface StreamRules {
  readonly drop: DropPolicy;
  /** Bytes on disk that this stream may take. */
  readonly bytes: number;
  /**
   * Messages of a higher priority overtake all others that wait; when the queue is full, the oldest of lower priorities
   * make room for them, unless their rule is `newest`.
   */
  readonly priority: Priority;
}

/** As {@link StreamRules}, with what the topic itself decides. Default: `normal`, and not retained. */
export interface TopicRules extends Pick<StreamRules, 'drop' | 'bytes'> {
  readonly priority?: Priority;
  readonly retain?: boolean;
  /** Messages that were given no key are sent with the queue's own name for them. Default false. */
  readonly isKeyed?: boolean;
}

export interface Stream<Entry> {
  /** Without keys. */
  readonly topic: string;
  readonly rules: TopicRules;
  /** Oldest first; entries before `head` are gone. */
  entries: Entry[];
  head: number;
  bytes: number;
}

export interface OutboxStreamsOptions<Entry> {
  /** Size limit of all streams together. */
  readonly bytes: number;
  /** Of a topic without a key. */
  readonly rulesOf: (topic: string) => TopicRules;
  /** Drops a waiting entry in favor of another. */
  readonly drop: (entry: Entry) => void;
}

export class OutboxStreams<Entry extends Pick<Sendable, 'state'>> {
  readonly #options: OutboxStreamsOptions<Entry>;
  readonly #streams = new Map<string, Stream<Entry>>();
  #messages = 0;
  #bytes = 0;

  constructor(options: OutboxStreamsOptions<Entry>) {
    this.#options = options;
  }

  get messages(): number {
    return this.#messages;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The stream of a topic with or without a key. */
  streamOf(topicWithOrWithoutKey: string): Stream<Entry> {
    const known = this.#streams.get(topicWithOrWithoutKey); // nearly always: without a key
    if (known !== undefined) return known;
    const topic = topicWithOrWithoutKey.slice(0, lengthWithoutKey(topicWithOrWithoutKey));
    let stream = this.#streams.get(topic);
    if (stream === undefined) {
      stream = { topic, rules: this.#options.rulesOf(topic), entries: [], head: 0, bytes: 0 };
      this.#streams.set(topic, stream);
    }
    return stream;
  }

  add(stream: Stream<Entry>, entry: Entry, { size }: Pick<JournalEntry, 'size'>): void {
    this.#streams.set(stream.topic, stream); // it is removed with its last entry
    stream.entries.push(entry);
    stream.bytes += size;
    this.#messages += 1;
    this.#bytes += size;
  }

  /** One of this stream is `gone`. */
  remove(stream: Stream<Entry>, { size }: Pick<JournalEntry, 'size'>): void {
    this.#messages -= 1;
    this.#bytes -= size;
    stream.bytes -= size;
    while (stream.entries[stream.head]?.state === 'gone') stream.head += 1;
    if (stream.head === stream.entries.length) this.#streams.delete(stream.topic);
    if (stream.head >= 256 && stream.head * 2 >= stream.entries.length) {
      stream.entries = stream.entries.slice(stream.head);
      stream.head = 0;
    }
  }

  /** Drops messages until one of `size` bytes fits. False when it does not fit. */
  makeRoom(stream: Stream<Entry>, size: number): boolean {
    const { bytes } = this.#options;
    const hasRoom = () => this.#bytes + size <= bytes && stream.bytes + size <= stream.rules.bytes;
    if (hasRoom()) return true;
    if (size > Math.min(bytes, stream.rules.bytes)) return false;
    if (stream.bytes + size <= stream.rules.bytes) {
      for (const lower of this.#lowerPriorityStreams(stream)) this.#dropOldest(lower, () => !hasRoom());
    }
    if (stream.rules.drop !== 'newest') this.#dropOldest(stream, () => !hasRoom());
    return hasRoom();
  }

  /** Drops the older entries of a `keep-latest` stream. */
  dropOlder(stream: Stream<Entry>, newest: Entry): void {
    if (stream.rules.drop === 'keep-latest') this.#dropOldest(stream, (older) => older !== newest);
  }

  /** Streams of lower priority whose messages may be dropped, the lowest first. */
  #lowerPriorityStreams({ rules }: Stream<Entry>): readonly Stream<Entry>[] {
    const rank = ({ priority = 'normal' }: TopicRules) => PRIORITIES.indexOf(priority);
    return [...this.#streams.values()]
      .filter((other) => other.rules.drop !== 'newest' && rank(other.rules) > rank(rules))
      .sort((a, b) => rank(b.rules) - rank(a.rules));
  }

  /** From the oldest on, as long as `shouldDrop` says so. What is in flight stays: the broker may have it already. */
  #dropOldest(stream: Stream<Entry>, shouldDrop: (entry: Entry) => boolean): void {
    const { entries, head } = stream;
    for (let index = head; index < entries.length; index += 1) {
      const entry = entries[index] as Entry;
      if (entry.state !== 'waiting') continue;
      if (!shouldDrop(entry)) return;
      this.#options.drop(entry);
    }
  }
}
