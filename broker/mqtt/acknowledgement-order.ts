/**
 * Keeps the acknowledgements of one client in the order of its messages [MQTT-4.6.0-2], whatever order storage answers in
 * and whoever acknowledges. The first message that could not be stored ends the order: nothing after it is acknowledged.
 */

type Callback = (error?: Error | null) => void;

/** `known`: nothing new, it only had to be waited for. */
export type AcknowledgementCause = 'known' | undefined;

export interface AcknowledgementOrderListener {
  /** One message is stored. */
  messageStored(): void;
  /** One could not be; no later one proceeds. */
  messageNotStored(error: unknown): void;
  /** Fewer wait than before. */
  acknowledgementsAdvanced(): void;
}

/** One message in the order; a list through the places themselves, since a client has no more than one most of the time. */
export abstract class PendingAcknowledgement {
  readonly order: AcknowledgementOrder;
  isReady = false;
  next: PendingAcknowledgement | undefined;

  constructor(order: AcknowledgementOrder) {
    this.order = order;
  }

  /** Called once, when it is ready and everything before it has proceeded. */
  abstract acknowledge(): void;

  /** It is stored. */
  stored(): void {
    this.order.stored(this);
  }

  /** It was stored before, under the same key. */
  repeated(): void {
    this.order.ready(this);
  }

  notStored(error: unknown): void {
    this.order.fail(error);
  }
}

export class AcknowledgementOrder {
  readonly #listener: AcknowledgementOrderListener;
  #first: PendingAcknowledgement | undefined;
  #last: PendingAcknowledgement | undefined;
  #length = 0;
  #isBroken = false;
  #emptied: (() => void)[] | undefined;

  constructor(listener: AcknowledgementOrderListener) {
    this.#listener = listener;
  }

  /** Messages that wait for storage, or for an earlier one. */
  get length(): number {
    return this.#length;
  }

  /** Gives the next place to a message that tells itself when it is stored. */
  add(place: PendingAcknowledgement): void {
    if (this.#isBroken) return;
    if (this.#last === undefined) this.#first = place;
    else this.#last.next = place;
    this.#last = place;
    this.#length += 1;
  }

  /** Calls `proceed` once `stored` is fulfilled and everything before has proceeded. */
  afterStored(stored: Promise<AcknowledgementCause>, proceed: Callback): void {
    const place = new PendingCallback(this, proceed);
    this.add(place);
    stored.then(
      (outcome) => (outcome === 'known' ? this.ready(place) : place.stored()),
      (error: unknown) => place.notStored(error),
    );
  }

  /** Calls `proceed` once everything before has proceeded; at once when nothing waits. */
  afterEarlier(proceed: Callback): void {
    if (this.#length === 0) {
      proceed(null);
      return;
    }
    const place = new PendingCallback(this, proceed);
    place.isReady = true;
    this.add(place);
  }

  /** Nobody is to be acknowledged any more. */
  abandon(): void {
    this.#isBroken = true;
    this.#first = undefined;
    this.#last = undefined;
    this.#length = 0;
    this.#tellEmptied();
  }

  /** Resolves when nothing waits. */
  whenEmpty(): Promise<void> {
    if (this.#length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#emptied ??= [];
      this.#emptied.push(resolve);
    });
  }

  /** For a place: it is stored. */
  stored(place: PendingAcknowledgement): void {
    this.#listener.messageStored();
    this.ready(place);
  }

  /** For a place: nothing but those before keeps it from proceeding. */
  ready(place: PendingAcknowledgement): void {
    place.isReady = true;
    for (let first = this.#first; first?.isReady; first = this.#first) {
      this.#first = first.next;
      if (this.#first === undefined) this.#last = undefined;
      this.#length -= 1;
      first.acknowledge();
    }
    this.#listener.acknowledgementsAdvanced();
    if (this.#length === 0) this.#tellEmptied();
  }

  /** For a place: it is not. */
  fail(error: unknown): void {
    if (this.#isBroken) return;
    this.abandon();
    this.#listener.messageNotStored(error);
  }

  #tellEmptied(): void {
    const emptied = this.#emptied;
    if (emptied === undefined) return;
    this.#emptied = undefined;
    for (const resolve of emptied) resolve();
  }
}

class PendingCallback extends PendingAcknowledgement {
  readonly #proceed: Callback;

  constructor(order: AcknowledgementOrder, proceed: Callback) {
    super(order);
    this.#proceed = proceed;
  }

  acknowledge(): void {
    this.#proceed(null);
  }
}
