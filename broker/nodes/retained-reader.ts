/**
 * Reads retained messages from the keeper for the sessions of this node, in pieces. A limited number of pieces is on its way at a time, and
 * sessions get them in the order in which they ask: so many that subscribe at once to the whole fleet fill neither memory nor the channel.
 */

import type { RetainedRoom } from '../keeper/sessions.ts';
import type { Message } from '../mqtt/message.ts';
import type { ChannelToKeeper } from './node-calls.ts';
import type { RetainedPiece } from './retained-pages.ts';

/** Each has 64 KB at most, or one message. */
const PIECES_AT_ONCE = 8;

export class RetainedReader {
  readonly #channel: Pick<ChannelToKeeper, 'call' | 'tell'>;
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;

  constructor(channel: Pick<ChannelToKeeper, 'call' | 'tell'>) {
    this.#channel = channel;
  }

  async *read(filter: string, room: () => RetainedRoom): AsyncIterable<readonly Message[]> {
    let cursor: number | undefined;
    try {
      do {
        const piece: RetainedPiece = await this.#next(filter, cursor, room);
        cursor = piece.cursor;
        if (piece.messages.length > 0) yield piece.messages;
      } while (cursor !== undefined);
    } finally {
      if (cursor !== undefined) this.#channel.tell('retainedEnded', cursor);
    }
  }

  async #next(filter: string, cursor: number | undefined, room: () => RetainedRoom): Promise<RetainedPiece> {
    if (this.#underWay === PIECES_AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#underWay += 1;
    try {
      return await this.#channel.call('retained', { filter, cursor, room: room() });
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#underWay -= 1;
      else next();
    }
  }
}
