/**
 * MQTT packet identifiers of one device. An unacknowledged message keeps its identifier when it is sent again
 * [MQTT-4.4.0-1], so identifiers outlive the connection.
 */

const HIGHEST = 0xffff;

export class PacketIds {
  readonly #taken = new Set<number>();
  #last = 0;

  /** An unused identifier. Far fewer messages are in flight than there are identifiers. */
  take(): number {
    if (this.#taken.size >= HIGHEST) throw new RangeError('expected a free packet identifier');
    do this.#last = this.#last === HIGHEST ? 1 : this.#last + 1;
    while (this.#taken.has(this.#last));
    this.#taken.add(this.#last);
    return this.#last;
  }

  free(id: number): void {
    this.#taken.delete(id);
  }

  /** Frees everything but `ids`: those of messages that are sent again. */
  keepOnly(ids: Iterable<number>): void {
    this.#taken.clear();
    for (const id of ids) this.#taken.add(id);
  }
}
