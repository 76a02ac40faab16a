/**
 * MQTT packet identifiers of one device. An unacknowledged message keeps its identifier when it is sent again
 * [MQTT-4.4.0-1], so identifiers outlive the connection; mqtt.js asks for them through this provider.
 */

const HIGHEST = 0xffff;

/** The shape mqtt.js calls `IMessageIdProvider`. */
export class PacketIds {
  readonly #taken = new Set<number>();
  #last = 0;
  #wanted = 0;

  /** The next {@link allocate} answers with `id`: the message about to be sent has it already. */
  reuse(id: number): void {
    this.#wanted = id;
  }

  /** Keeps `id` from being given to another message until {@link deallocate}. */
  register(id: number): boolean {
    this.#taken.add(id);
    return true;
  }

  /** Null when all 65,535 are taken. */
  allocate(): number | null {
    if (this.#wanted !== 0) {
      this.#last = this.#wanted;
      this.#wanted = 0;
    } else {
      if (this.#taken.size >= HIGHEST) return null;
      do this.#last = this.#last === HIGHEST ? 1 : this.#last + 1;
      while (this.#taken.has(this.#last));
    }
    this.#taken.add(this.#last);
    return this.#last;
  }

  getLastAllocated(): number | null {
    return this.#last === 0 ? null : this.#last;
  }

  deallocate(id: number): void {
    this.#taken.delete(id);
  }

  /** mqtt.js calls it at each connect; what is taken is decided by {@link keepOnly} instead. */
  clear(): void {}

  /** Frees everything but `ids`: subscriptions that the lost connection left unanswered. */
  keepOnly(ids: Iterable<number>): void {
    this.#taken.clear();
    for (const id of ids) this.#taken.add(id);
  }
}
