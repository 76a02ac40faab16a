import { expect, it } from 'vitest';
import type { Message } from '../mqtt/message.ts';
import { MovingSessions } from './moving-sessions.ts';

const filters = ['devices/dev-1/commands/+/+'];
const topic = 'devices/dev-1/commands/now/1';

/** Of node `a`, which has sent `last` messages to others. */
function movingOf() {
  const own = { name: 'a', last: 0 };
  return { own, moving: new MovingSessions(own) };
}

it('messages follow a session to its next node, until it comes back', () => {
  const { moving } = movingOf();
  const before = moving.generation;
  moving.departed('dev-1', 'b', filters);
  moving.departed('dev-2', 'c', ['devices/dev-2/#']);
  expect(moving.generation).toBeGreaterThan(before);
  expect([...moving.nodesFor(topic)]).toEqual(['b']);
  moving.departed('dev-1', 'c', filters);
  expect([...moving.nodesFor(topic)]).toEqual(['c']);
  moving.arriving('dev-1');
  expect([...moving.nodesFor(topic)]).toEqual([]);
  expect(moving.isEmpty).toBe(false);
});

it('a message is queued once for a session that has arrived, over whichever nodes it comes', () => {
  const { moving } = movingOf();
  moving.arriving('dev-1');
  moving.arrived('dev-1');
  expect(moving.admits('dev-1', { node: 'b', number: 1 })).toBe(true);
  expect(moving.admits('dev-1', { node: 'b', number: 1 })).toBe(false);
  expect(moving.admits('dev-1', { node: 'c', number: 1 })).toBe(true);
});

it('a message of this node that comes back was queued before, unless the rows were being read then', () => {
  const { own, moving } = movingOf();
  moving.arriving('dev-1');
  own.last = 5; // Sent while the rows are read: it was not queued for the session.
  moving.hold({ message: {} as Message, owner: 'o', origin: { node: 'a', number: 5 } });
  expect(moving.arrived('dev-1')).toHaveLength(1);
  own.last = 6;
  expect(moving.admits('dev-1', { node: 'a', number: 5 })).toBe(true);
  expect(moving.admits('dev-1', { node: 'a', number: 6 })).toBe(false);
});
