import { expect, it } from 'vitest';
import { Cursor } from './cursor.ts';
import { LANE_POSITIONS, positionOf } from './position.ts';

const at = (lane: number, number: number) => positionOf(lane * LANE_POSITIONS + number);
const read = (...positions: ReturnType<typeof at>[]) =>
  positions.reduce((cursor, position) => cursor.after(position), Cursor.BEGIN);

it('a cursor of a journal with one lane is the position of the last message, as text and in JSON', () => {
  expect(`${Cursor.BEGIN}`).toBe('0');
  expect(`${read(at(0, 41), at(0, 42))}`).toBe('42');
  expect(JSON.stringify({ cursor: read(at(0, 42)) })).toBe('{"cursor":42}');
});

it('a cursor of several lanes has what was read of each, whatever the order', () => {
  const cursor = read(at(2, 7), at(0, 42), at(2, 3));
  expect([at(0, 42), at(0, 1), at(2, 7)].every((position) => cursor.has(position))).toBe(true);
  expect([at(0, 43), at(1, 1), at(2, 8)].some((position) => cursor.has(position))).toBe(false);
  expect(`${Cursor.parse(`${cursor}`)}`).toBe(`${cursor}`);
  expect(JSON.stringify(cursor)).toBe(`"42-${2 * LANE_POSITIONS + 7}"`);
});

it('the distance between two cursors is the sum over their lanes, and never negative', () => {
  const [one, other] = [read(at(0, 10), at(1, 5)), read(at(0, 12), at(1, 4), at(3, 2))];
  expect(one.distanceTo(other)).toBe(2 + 2);
  expect(other.distanceTo(one)).toBe(1);
  expect(one.includes(other)).toBe(false);
  expect(one.and(other).includes(one) && one.and(other).includes(other)).toBe(true);
  expect(`${Cursor.before(at(1, 5))}`).toBe(`${read(at(1, 4))}`);
});

it('a span names the first message of each lane, and ends behind all of them', () => {
  const messages = [at(0, 4), at(1, 9), at(0, 5), at(1, 10)].map((position) => ({ position }));
  const { firsts, end } = Cursor.spanOf(messages);
  expect(firsts).toEqual([at(0, 4), at(1, 9)]);
  expect(`${end}`).toBe(`${read(at(0, 5), at(1, 10))}`);
});

it.each(['', '-1', '1-', '1e3', ' 1', `${2 ** 53}`, '1-'.repeat(600)])('refuses "%s" as a cursor', (text) => {
  expect(Cursor.parse(text)).toBeUndefined();
});
