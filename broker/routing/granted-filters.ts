/** The topic filters that one session was granted, with the QoS of each. */

import { filterMatches } from '@rollcall/protocol';
export type Qos = 0 | 1 | 2;

export class GrantedFilters {
  readonly #granted = new Map<string, Qos>();
  /** The QoS of all filters; undefined when they differ, and topics have to be matched. */
  #same: Qos | undefined = 0;

  get size(): number {
    return this.#granted.size;
  }

  has(filter: string): boolean {
    return this.#granted.has(filter);
  }

  /** Replaces an earlier grant of the same filter [MQTT-3.8.4-3]. */
  set(filter: string, qos: Qos): void {
    this.#granted.set(filter, qos);
    this.#compare();
  }

  delete(filter: string): void {
    if (this.#granted.delete(filter)) this.#compare();
  }

  /** The highest QoS granted for a topic that at least one filter matches. Most clients use one QoS for all. */
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
