import { describe, expect, it } from 'vitest';
import { WorkQueue } from './work-queue.ts';

function turns(waiting = 0) {
  let next: (() => void) | undefined;
  const all = new WorkQueue({
    waiting,
    nextTurn: (run) => {
      next = run;
    },
  });
  const entered: string[] = [];
  return {
    all,
    entered,
    ask: (name: string, isGone = () => false) => {
      const answer = all.enter(isGone);
      if (typeof answer === 'string') entered.push(`${name} ${answer}`);
      else void answer.then((entry) => entered.push(`${name} ${entry}`));
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

describe('turns', () => {
  it('let one in at once, and then one a turn in the order in which they came', async () => {
    const { ask, turn, entered } = turns();
    for (const name of ['a', 'b', 'c']) ask(name);
    expect(entered).toEqual(['a in']);
    await turn();
    expect(entered).toEqual(['a in', 'b in']);
    await turn();
    expect(entered).toEqual(['a in', 'b in', 'c in']);
  });

  it('do nothing when nobody waits, and let the next in at once', async () => {
    const { ask, turn, entered } = turns();
    ask('a');
    await turn();
    expect(await turn()).toBe(false);
    ask('b');
    expect(entered).toEqual(['a in', 'b in']);
  });

  it('spend none on whoever has gone away', async () => {
    const { ask, turn, entered, all } = turns();
    ask('a');
    ask('b', () => true);
    ask('c', () => true);
    ask('d');
    await turn();
    expect(entered).toEqual(['a in', 'b gone', 'c gone', 'd in']);
    expect(all.waiting).toBe(0);
  });

  it('send away whoever finds too many waiting, the newest first', async () => {
    const { ask, turn, entered, all } = turns(2);
    for (const name of ['a', 'b', 'c', 'd']) ask(name);
    expect(entered).toEqual(['a in', 'd full']);
    expect(all.waiting).toBe(2);
    await turn();
    ask('e');
    expect(entered).toEqual(['a in', 'd full', 'b in']);
    expect(all.waiting).toBe(2);
  });

  it('keep their order over thousands', async () => {
    const { ask, turn, entered } = turns();
    const names = Array.from({ length: 3_500 }, (_, index) => String(index));
    for (const name of names) ask(name);
    while (await turn());
    expect(entered).toEqual(names.map((name) => `${name} in`));
  });

  it('are turns of the event loop, with others between them', async () => {
    const all = new WorkQueue({ waiting: 0 });
    const order: string[] = [];
    const work = async (name: string) => {
      await all.enter(() => false);
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
