import { Problem } from '@rollcall/protocol';

const MAX_NAMES = 200_000;

/** What the other end doesn't have yet. A list that begins with 1 replaces the old one. */
export interface NewNames {
  readonly first: number;
  /** Device, stream, device, stream, … */
  readonly texts: readonly string[];
}

/** Of the sending end. Numbers count from 1. */
export class SentNames {
  readonly #numbers = new Map<string, Map<string, number>>();
  #next = 1;
  #unsent: string[] = [];

  numberOf(device: string, stream: string): number {
    let streams = this.#numbers.get(device);
    if (streams === undefined) {
      streams = new Map();
      this.#numbers.set(device, streams);
    }
    let number = streams.get(stream);
    if (number === undefined) {
      number = this.#next;
      this.#next += 1;
      streams.set(stream, number);
      this.#unsent.push(device, stream);
    }
    return number;
  }

  /** What goes with the message that is about to be sent. */
  take(): NewNames {
    const texts = this.#unsent;
    this.#unsent = [];
    return { first: this.#next - texts.length / 2, texts };
  }

  /** Call it between messages, never amid one. */
  clearIfTooMany(): void {
    if (this.#next > MAX_NAMES) this.clear();
  }

  clear(): void {
    this.#numbers.clear();
    this.#unsent = [];
    this.#next = 1;
  }
}

/** Of the receiving end. */
export class ReceivedNames {
  #texts: string[] = [];
  #edition = 0;

  /** Changes when numbers mean something else than before. */
  get edition(): number {
    return this.#edition;
  }

  add({ first, texts }: NewNames): void {
    if (first === 1 && texts.length > 0) {
      this.#texts = [...texts];
      this.#edition += 1;
      return;
    }
    const expected = this.#texts.length / 2 + 1;
    if (first !== expected) throw new Problem('internal', { reason: `expected name ${expected}, found ${first}` });
    for (const text of texts) this.#texts.push(text);
  }

  device(number: number): string {
    return this.#texts[number * 2 - 2] as string;
  }

  stream(number: number): string {
    return this.#texts[number * 2 - 1] as string;
  }
}
