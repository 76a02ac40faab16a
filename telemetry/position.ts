/**
 * The position of a message in its journal. Each node that writes a journal has a lane of it, and counts its messages 1, 2, 3, … there.
 * A position is the number of the lane times 2^44, plus the number of the message; a journal that one process writes has lane 0 alone,
 * and its positions count its messages. Only this file, `cursor.ts` and the engines of the journal look inside one.
 */

declare const opaque: unique symbol;

/** Names one message of a journal. It has no order: positions of two lanes say nothing about which message came first. */
export interface Position {
  readonly [opaque]: 'position';
}

/** Positions of one lane. 25,000 messages a second take 22 years to use them up. */
export const LANE_POSITIONS = 2 ** 44;

/** Lanes that positions have room for. */
export const MOST_LANES = 512;

/** For engines of the journal. */
export function positionOf(number: number): Position {
  return number as unknown as Position;
}

/** What JSON, files and other systems show: a whole number from 1 on that no other message of the journal has. */
export function positionNumber(position: Position): number {
  return position as unknown as number;
}

/** Of a number that a client sent; undefined for one that is none of a message. */
export function parsePosition(number: number): Position | undefined {
  return Number.isSafeInteger(number) && number >= 1 ? positionOf(number) : undefined;
}

export function laneOf(number: number): number {
  return Math.floor(number / LANE_POSITIONS);
}
