import { expect, it } from 'vitest';
import { AbsentNodes, type Missed } from './absent-nodes.ts';

/** Looks at one other node, and returns what it is told. */
function withOther() {
  const told: (readonly [string, Missed | undefined])[] = [];
  let other = { name: 'b', number: 1, epoch: 1, isAlive: true };
  const absent = new AbsentNodes({ nodes: { others: () => [other] }, appeared: (...one) => void told.push(one) });
  const look = (changes: Partial<typeof other>) => {
    other = { ...other, ...changes };
    absent.look();
  };
  return { absent, look, told };
}

it('a node that comes back as the same process is told what it has missed, and nothing else', () => {
  const { absent, look, told } = withOther();
  look({});
  expect(told).toEqual([['b', undefined]]);
  absent.retained('before');
  look({ isAlive: false });
  absent.routesChanged(['x', 'y'], []);
  absent.routesChanged([], ['y']);
  absent.retained('t');
  look({});
  look({ isAlive: true });
  absent.retained('after');
  look({});
  expect(told.slice(1)).toEqual([
    [
      'b',
      {
        routes: new Map([
          ['x', true],
          ['y', false],
        ]),
        topics: new Set(['t']),
        isAll: false,
      },
    ], // prettier-ignore
  ]);
});

it('a node that was fenced off is a new process when it comes back', () => {
  const { absent, look, told } = withOther();
  look({});
  look({ isAlive: false });
  absent.retained('t');
  look({ epoch: 2 });
  look({ epoch: 3, isAlive: true });
  expect(told.slice(1)).toEqual([['b', undefined]]);
});

it('a node that was absent before this one looked, or has missed too much, has missed everything', () => {
  const { absent, look, told } = withOther();
  look({ isAlive: false });
  look({ isAlive: true });
  look({ isAlive: false });
  for (let n = 0; n <= 10_000; n += 1) absent.retained(`t${n}`);
  look({ isAlive: true });
  expect(told.map(([, missed]) => [missed?.isAll, missed?.topics.size])).toEqual([
    [true, 0],
    [true, 0],
  ]);
});
