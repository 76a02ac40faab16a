import { filterMatches } from '@rollcall/protocol';
export type Qos = 0 | 1 | 2;

export class GrantedFilters {
  readonly #granted = new Map<string, Qos>();
  /** What each of them was granted; undefined when they differ, and topics have to be compared. */
  #same: Qos | undefined = 0;

  get size(): number {
    return this.#granted.size;
  }

  has(filter: string): boolean {
    return this.#granted.has(filter);
  }

  /** The last grant counts [MQTT-3.8.4-3]. */
  set(filter: string, qos: Qos): void {
    this.#granted.set(filter, qos);
    this.#compare();
  }

  delete(filter: string): void {
    if (this.#granted.delete(filter)) this.#compare();
  }

  /** Of a message that came by at least one of them; most clients have asked for all with one QoS. */
  qosOf(topic: string): Qos {
    if (this.#same !== undefined) return this.#same;
    let highest: Qos = 0;
    for (const [filter, qos] of this.#granted) {
      if (qos > highest && filterMatches(filter, topic)) highest = qos;
    }
    return highest;
  }

  #compare(): void {
    const [first = 0, ...others] = new Set(this.#granted.values());
    this.#same = others.length === 0 ? first : undefined;
  }
}
