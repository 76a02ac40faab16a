import { expect, it, onTestFinished } from 'vitest';
import { PollingWakes, WakeListeners } from './wakes.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

it('a listener is called once for all wakes of one turn, and not after it was removed', async () => {
  const listeners = new WakeListeners();
  let count = 0;
  const remove = listeners.add('audit', () => (count += 1));
  for (let wakes = 0; wakes < 3; wakes += 1) listeners.wake('audit');
  listeners.wake('policies');
  await turn();
  expect(count).toBe(1);
  listeners.wake('audit');
  remove();
  await turn();
  expect(count).toBe(1);
});

it('a wake that comes while listeners are called is not lost', async () => {
  const listeners = new WakeListeners();
  let count = 0;
  listeners.add('audit', () => {
    count += 1;
    if (count === 1) listeners.wake('audit');
  });
  listeners.wake('audit');
  await turn();
  await turn();
  expect(count).toBe(2);
});

it('without a carrier every listener is woken at an interval, and those of this node at once', async () => {
  const polling = new PollingWakes(10);
  onTestFinished(() => polling.close());
  let count = 0;
  polling.onWake('audit', () => (count += 1));
  await expect.poll(() => count).toBeGreaterThan(2);
  const slow = new PollingWakes(2 ** 31 - 1);
  onTestFinished(() => slow.close());
  const woken = new Promise<void>((resolve) => slow.onWake('audit', resolve));
  slow.wake('audit');
  await woken;
});

it('a channel has a name of few characters', () => {
  expect(() => new WakeListeners().add('a "b"', () => {})).toThrow(RangeError);
});
