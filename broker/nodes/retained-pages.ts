/**
 * Retained messages for a node, in pieces that the node asks for one after the other. A reading goes on until it is at its end or the node
 * ends it, however slowly its client reads. It holds no message between two pieces; a node has one for a connection at most.
 */

import type { RetainedRoom } from '../keeper/sessions.ts';
import type { Message } from '../mqtt/message.ts';

export interface RetainedRequest {
  readonly filter: string;
  /** That of the piece before; undefined: the first one. */
  readonly cursor: number | undefined;
  readonly room: RetainedRoom;
}

/** `cursor` undefined: there is no more. */
export interface RetainedPiece {
  readonly messages: readonly Message[];
  readonly cursor: number | undefined;
}

interface Reading {
  readonly cursor: number;
  readonly pieces: AsyncIterator<readonly Message[]>;
  room: RetainedRoom;
}

const END: RetainedPiece = { messages: [], cursor: undefined };

export class RetainedPages {
  readonly #open: (filter: string, room: () => RetainedRoom) => AsyncIterable<readonly Message[]>;
  readonly #readings = new Map<number, Reading>();
  #lastCursor = 0;

  constructor(open: (filter: string, room: () => RetainedRoom) => AsyncIterable<readonly Message[]>) {
    this.#open = open;
  }

  /** Readings that are not at their end. */
  get size(): number {
    return this.#readings.size;
  }

  async read({ filter, cursor, room }: RetainedRequest): Promise<RetainedPiece> {
    const reading = cursor === undefined ? this.#begin(filter, room) : this.#readings.get(cursor);
    if (reading === undefined) return END;
    reading.room = room;
    const { done = false, value } = await reading.pieces.next();
    if (!done) return { messages: value, cursor: reading.cursor };
    this.#readings.delete(reading.cursor);
    return END;
  }

  /** The node wants no more of it. */
  end(cursor: number): void {
    this.#readings.delete(cursor);
  }

  #begin(filter: string, room: RetainedRoom): Reading {
    this.#lastCursor += 1;
    const pieces = this.#open(filter, () => reading.room)[Symbol.asyncIterator]();
    const reading: Reading = { cursor: this.#lastCursor, pieces, room };
    this.#readings.set(reading.cursor, reading);
    return reading;
  }
}
