/** Topic aliases of one connection (MQTT 5, section 3.3.2.3.4), one class for each direction. */

/** Aliases that the client has set. The decoder has checked that they are within the announced maximum. */
export class ReceivedAliases {
  readonly #topics = new Map<number, string>();

  set(alias: number, topic: string): void {
    this.#topics.set(alias, topic);
  }

  get(alias: number): string | undefined {
    return this.#topics.get(alias);
  }
}

/** Topics that the server remembers for each connection, at most. */
const SENT_MAX = 64;

/** Aliases that the server has set, in the order of the first use of each topic, up to the client's maximum. */
export class SentAliases {
  readonly #maximum: number;
  readonly #aliases = new Map<string, number>();

  /** `maximum`: of the client. */
  constructor(maximum: number) {
    this.#maximum = Math.min(maximum, SENT_MAX);
  }

  get(topic: string): number | undefined {
    return this.#aliases.get(topic);
  }

  /** The alias that a topic would get; undefined when all are in use. */
  get next(): number | undefined {
    return this.#aliases.size < this.#maximum ? this.#aliases.size + 1 : undefined;
  }

  /** Records that a packet with topic and alias was sent. */
  set(topic: string, alias: number): void {
    this.#aliases.set(topic, alias);
  }
}
