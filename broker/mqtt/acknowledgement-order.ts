/**
 * Sends the acknowledgements of one client in the order of its PUBLISH packets [MQTT-4.6.0-2], in whatever order they are stored.
 * After the first message that could not be stored, nothing is acknowledged any more.
 */

type Callback = () => void;

export interface AcknowledgementOrderListener {
  /** Something could not be stored. No later one is acknowledged. */
  messageNotStored(error: unknown): void;
  /** Fewer messages wait than before. */
  acknowledgementsAdvanced(): void;
}

/** One message that waits. The entries form a linked list: most of the time a client has no more than one. */
export abstract class PendingAcknowledgement {
  readonly order: AcknowledgementOrder;
  isReady = false;
  next: PendingAcknowledgement | undefined;

  constructor(order: AcknowledgementOrder) {
    this.order = order;
  }

  /** Called once, when the message is stored and all earlier ones are acknowledged. */
  abstract acknowledge(): void;

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

  /** Nothing is acknowledged any more: something could not be stored, or the session was terminated. */
  get isAbandoned(): boolean {
    return this.#isBroken;
  }

  /** Appends a message that reports by itself when it is stored. */
  add(place: PendingAcknowledgement): void {
    if (this.#isBroken) return;
    if (this.#last === undefined) this.#first = place;
    else this.#last.next = place;
    this.#last = place;
    this.#length += 1;
  }

  /** Calls `proceed` when `stored` is fulfilled and all earlier messages are acknowledged. */
  afterStored(stored: Promise<void>, proceed: Callback): void {
    const place = new PendingCallback(this, proceed);
    this.add(place);
    stored.then(
      () => this.ready(place),
      (error: unknown) => place.notStored(error),
    );
  }

  /** Calls `proceed` when all earlier messages are acknowledged; at once when none waits. */
  afterEarlier(proceed: Callback): void {
    if (this.#length === 0) {
      proceed();
      return;
    }
    const place = new PendingCallback(this, proceed);
    place.isReady = true;
    this.add(place);
  }

  /** Nothing is acknowledged any more. */
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

  /** For an entry: only earlier entries delay it now. */
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

  /** For an entry: it could not be stored. */
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
    this.#proceed();
  }
}
