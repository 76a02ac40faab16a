/** Retained messages for a node, in pieces that the node asks for one after the other. */

import type { Message } from '../mqtt/message.ts';

interface Reading {
  readonly pieces: AsyncIterator<readonly Message[]>;
  usedAt: number;
}

/** A node that does not ask for the next piece for so long has given up. */
const GIVEN_UP_AFTER_MS = 120_000;

export class RetainedPages {
  readonly #open: (filter: string) => AsyncIterable<readonly Message[]>;
  readonly #readings = new Map<number, Reading>();
  #lastCursor = 0;

  constructor(open: (filter: string) => AsyncIterable<readonly Message[]>) {
    this.#open = open;
  }

  async read({ filter, cursor }: { readonly filter: string; readonly cursor: number | undefined }): Promise<{
    readonly messages: readonly Message[];
    readonly cursor: number | undefined;
  }> {
    const reading = cursor === undefined ? this.#begin(filter) : this.#readings.get(cursor);
    if (cursor !== undefined) this.#readings.delete(cursor);
    const { done = true, value } = (await reading?.pieces.next()) ?? {};
    if (done || reading === undefined) return { messages: [], cursor: undefined };
    this.#lastCursor += 1;
    reading.usedAt = performance.now();
    this.#readings.set(this.#lastCursor, reading);
    return { messages: value, cursor: this.#lastCursor };
  }

  sweep(): void {
    const oldest = performance.now() - GIVEN_UP_AFTER_MS;
    for (const [cursor, { usedAt }] of this.#readings) if (usedAt < oldest) this.#readings.delete(cursor);
  }

  #begin(filter: string): Reading {
    return { pieces: this.#open(filter)[Symbol.asyncIterator](), usedAt: performance.now() };
  }
}
