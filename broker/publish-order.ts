/**
 * Keeps the acknowledgements of one client in the order of its messages [MQTT-4.6.0-2], whatever order storage answers in.
 * The first message that could not be stored ends the order: nothing after it is acknowledged.
 */

type Callback = (error?: Error | null) => void;

interface Place {
  readonly proceed: Callback;
  isReady: boolean;
}

export interface PublishOrderListener {
  /** One message is stored. */
  messageStored(): void;
  /** One could not be; no later one proceeds. */
  messageNotStored(error: unknown): void;
}

export class PublishOrder {
  readonly #listener: PublishOrderListener;
  #places: Place[] = [];
  #head = 0;
  #isBroken = false;
  #emptied: (() => void)[] = [];

  constructor(listener: PublishOrderListener) {
    this.#listener = listener;
  }

  /** Messages that wait for storage, or for an earlier one. */
  get length(): number {
    return this.#places.length - this.#head;
  }

  /** Calls `proceed` once `stored` is fulfilled and everything before has proceeded. */
  afterStored(stored: Promise<void>, proceed: Callback): void {
    const place: Place = { proceed, isReady: false };
    this.#places.push(place);
    stored.then(
      () => {
        place.isReady = true;
        this.#listener.messageStored();
        this.#advance();
      },
      (error: unknown) => this.#break(error),
    );
  }

  /** Calls `proceed` once everything before has proceeded; at once when nothing waits. */
  inTurn(proceed: Callback): void {
    if (this.length === 0) proceed(null);
    else this.#places.push({ proceed, isReady: true });
  }

  /** Nobody is to be acknowledged any more. */
  abandon(): void {
    this.#isBroken = true;
    this.#places = [];
    this.#head = 0;
    this.#tellEmptied();
  }

  /** Resolves when nothing waits. */
  emptied(): Promise<void> {
    if (this.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#emptied.push(resolve));
  }

  #advance(): void {
    if (this.#isBroken) return;
    for (;;) {
      const place = this.#places[this.#head];
      if (place === undefined || !place.isReady) break;
      this.#head += 1;
      if (this.#head === this.#places.length) {
        this.#places = [];
        this.#head = 0;
      }
      place.proceed(null);
    }
    if (this.#emptied.length > 0 && this.length === 0) this.#tellEmptied();
  }

  #break(error: unknown): void {
    if (this.#isBroken) return;
    this.abandon();
    this.#listener.messageNotStored(error);
  }

  #tellEmptied(): void {
    const emptied = this.#emptied;
    this.#emptied = [];
    for (const resolve of emptied) resolve();
  }
}
