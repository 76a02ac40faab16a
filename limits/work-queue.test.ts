import { describe, expect, it } from 'vitest';
import { WorkQueue } from './work-queue.ts';

function openQueue(waiting = 0) {
  let next: (() => void) | undefined;
  const queue = new WorkQueue({
    waiting,
    nextTurn: (run) => {
      next = run;
    },
  });
  const results: string[] = [];
  return {
    queue,
    results,
    enter: (name: string, isCancelled = () => false) => {
      const result = queue.enter(isCancelled);
      if (typeof result === 'string') results.push(`${name} ${result}`);
      else void result.then((settled) => results.push(`${name} ${settled}`));
    },
    turn: async () => {
      const run = next;
      next = undefined;
      run?.();
      await Promise.resolve();
      return run !== undefined;
    },
  };
}

describe('the work queue', () => {
  it('admits the first work at once, then one piece per turn in the order of arrival', async () => {
    const { enter, turn, results } = openQueue();
    for (const name of ['a', 'b', 'c']) enter(name);
    expect(results).toEqual(['a admitted']);
    await turn();
    expect(results).toEqual(['a admitted', 'b admitted']);
    await turn();
    expect(results).toEqual(['a admitted', 'b admitted', 'c admitted']);
  });

  it('admits work at once again after an idle turn', async () => {
    const { enter, turn, results } = openQueue();
    enter('a');
    await turn();
    expect(await turn()).toBe(false);
    enter('b');
    expect(results).toEqual(['a admitted', 'b admitted']);
  });

  it('spends no turn on cancelled work', async () => {
    const { enter, turn, results, queue } = openQueue();
    enter('a');
    enter('b', () => true);
    enter('c', () => true);
    enter('d');
    await turn();
    expect(results).toEqual(['a admitted', 'b cancelled', 'c cancelled', 'd admitted']);
    expect(queue.waiting).toBe(0);
  });

  it('refuses new work while it is full', async () => {
    const { enter, turn, results, queue } = openQueue(2);
    for (const name of ['a', 'b', 'c', 'd']) enter(name);
    expect(results).toEqual(['a admitted', 'd full']);
    expect(queue.waiting).toBe(2);
    await turn();
    enter('e');
    expect(results).toEqual(['a admitted', 'd full', 'b admitted']);
    expect(queue.waiting).toBe(2);
  });

  it('keeps the order of thousands of waiters', async () => {
    const { enter, turn, results } = openQueue();
    const names = Array.from({ length: 3_500 }, (_, index) => String(index));
    for (const name of names) enter(name);
    while (await turn());
    expect(results).toEqual(names.map((name) => `${name} admitted`));
  });

  it('lets other callbacks of the event loop run between two pieces of work', async () => {
    const queue = new WorkQueue({ waiting: 0 });
    const order: string[] = [];
    const work = async (name: string) => {
      await queue.enter(() => false);
      order.push(name);
    };
    const works = ['a', 'b', 'c'].map(work);
    setImmediate(() => {
      order.push('other');
      setImmediate(() => order.push('another'));
    });
    await Promise.all(works);
    expect(order).toEqual(['a', 'b', 'other', 'c']);
  });
});
