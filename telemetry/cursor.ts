/**
 * How far a reader has read a journal: in each lane the last message that it has. As text it is the positions of these messages, joined
 * by `-`: of a journal with one lane a decimal number, as every version has shown it. Clients store and send it, and do not look inside.
 */

import { parseDecimal } from '@rollcall/protocol';
import { LANE_POSITIONS, laneOf, MOST_LANES, type Position, positionNumber } from './position.ts';

export interface Span {
  readonly firsts: readonly Position[];
  readonly end: Cursor;
}

/** Immutable. */
export class Cursor {
  /** Before every message. */
  static readonly BEGIN = new Cursor([]);

  /** Of each lane that was read, in the order of lanes; a lane that is not here was not read. */
  readonly #read: readonly number[];

  private constructor(read: readonly number[]) {
    this.#read = read;
  }

  /** Of the newest position in each lane, in any order; 0 stands for nothing. For engines of the journal. */
  static of(numbers: readonly number[]): Cursor {
    return numbers.reduce((cursor, number) => cursor.#upTo(number), Cursor.BEGIN);
  }

  /** Undefined for text that is no cursor. */
  static parse(text: string): Cursor | undefined {
    const parts = text.split('-', MOST_LANES + 1);
    if (parts.length > MOST_LANES) return undefined;
    let cursor = Cursor.BEGIN;
    for (const part of parts) {
      const number = parseDecimal(part, 0);
      if (number === undefined) return undefined;
      cursor = cursor.#upTo(number);
    }
    return cursor;
  }

  /** Of messages in the order of the journal: the first of each lane, and where a reader is that has them. */
  static spanOf(messages: readonly { readonly position: Position }[]): Span {
    const firsts: Position[] = [];
    const read: number[] = [];
    let [lane, place] = [-1, -1];
    for (const { position } of messages) {
      const number = positionNumber(position);
      if (laneOf(number) !== lane) {
        lane = laneOf(number);
        place = read.findIndex((one) => laneOf(one) === lane);
        if (place < 0) place = firsts.push(position) - 1;
      }
      read[place] = number;
    }
    return { firsts, end: Cursor.of(read) };
  }

  /** Just before a message, in its lane alone. */
  static before(position: Position): Cursor {
    return Cursor.BEGIN.#upTo(positionNumber(position) - 1);
  }

  /** Whether the reader has the message. */
  has(position: Position): boolean {
    const number = positionNumber(position);
    return number <= this.#readOf(laneOf(number));
  }

  /** After one more message. Those before it in its lane count as read. */
  after(position: Position): Cursor {
    return this.#upTo(positionNumber(position));
  }

  /** What one of the two has. */
  and(other: Cursor): Cursor {
    return other.#read.reduce<Cursor>((cursor, number) => cursor.#upTo(number), this);
  }

  /** Whether it has everything that the other has. */
  includes(other: Cursor): boolean {
    return other.#read.every((number) => number <= this.#readOf(laneOf(number)));
  }

  /** How many messages a reader that is here lacks of what the other has, where none was lost. */
  distanceTo(other: Cursor): number {
    return other.#read.reduce((sum, number) => sum + Math.max(0, number - this.#readOf(laneOf(number))), 0);
  }

  /** For engines of the journal: the last position that was read of a lane, or the one before its first. */
  readOf(lane: number): number {
    return this.#readOf(lane);
  }

  toString(): string {
    return this.#read.length === 0 ? '0' : this.#read.join('-');
  }

  /** A number where it is one, as JSON has had it before journals had lanes. */
  toJSON(): number | string {
    return this.#read.length > 1 ? this.toString() : (this.#read[0] ?? 0);
  }

  #readOf(lane: number): number {
    const [first] = this.#read;
    if (this.#read.length === 1 && first !== undefined && laneOf(first) === lane) return first;
    return this.#read.find((number) => laneOf(number) === lane) ?? lane * LANE_POSITIONS;
  }

  #upTo(number: number): Cursor {
    const lane = laneOf(number);
    if (number <= this.#readOf(lane)) return this;
    const others = this.#read.filter((one) => laneOf(one) !== lane);
    return new Cursor([...others, number].sort((one, other) => one - other));
  }
}
