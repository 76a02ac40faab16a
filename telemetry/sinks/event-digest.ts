/** What one delivery of a sink with an interval is about: the first events since the last one, and how many there were of each type. */

import type { SinkMessage } from './target.ts';

/** Events that a delivery has; the others are counted. */
const INCLUDED = 200;

export class EventDigest {
  /** The first ones, oldest first. */
  readonly messages: SinkMessage[] = [];
  /** Of all events by type, those of `messages` included. */
  readonly counts = new Map<string, number>();
  total = 0;
  /** How many came before `since`. */
  outdated = 0;
  /** When the first and the last event were received, in ms since the epoch. */
  firstAt = 0;
  lastAt = 0;
  readonly #since: number;

  /** Events that were received before `since` are only counted as outdated. */
  constructor(since: number) {
    this.#since = since;
  }

  add(events: readonly SinkMessage[]): void {
    for (const event of events) {
      const { receivedAt, stream } = event;
      if (receivedAt < this.#since) {
        this.outdated += 1;
        continue;
      }
      if (this.total === 0) this.firstAt = receivedAt;
      this.lastAt = receivedAt;
      this.total += 1;
      this.counts.set(stream, (this.counts.get(stream) ?? 0) + 1);
      if (this.messages.length < INCLUDED) this.messages.push(event);
    }
  }
}
