import { expect, it } from 'vitest';
import { namesOfNode } from './node-names.ts';

const LOCAL = ['localhost', '127.0.0.1', '::1'];

it('the names of a node that joins are its own first, and that of the fleet, by which a load balancer is reached', () => {
  expect(namesOfNode(['node-3.example'], 'fleet.example')).toEqual(['node-3.example', 'fleet.example', ...LOCAL]);
  expect(namesOfNode([], 'fleet.example')).toEqual(['fleet.example', ...LOCAL]);
  expect(namesOfNode(['fleet.example', 'node-3.example'], 'fleet.example')).toEqual([
    ...['fleet.example', 'node-3.example', ...LOCAL],
  ]);
});

it('a fleet whose tokens name this machine alone adds no name to those of a node that joins', () => {
  expect(namesOfNode(['node-3.example'], 'localhost')).toEqual(['node-3.example', ...LOCAL]);
});
