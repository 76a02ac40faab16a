import { expect, it } from 'vitest';
import { Outbox, type OutboxOptions } from './outbox.ts';

it('what all nodes have applied does not wait for a node that starts meanwhile, to which it was not sent', async () => {
  const living = ['b'];
  const cursors: { to_node: string; number: number }[] = [];
  let look = () => {};
  const options = {
    nodes: {
      ...{ name: 'a', number: 1, epoch: 1, find: () => ({ number: 1 }) },
      others: () => living.map((name) => ({ name, isAlive: true })),
    },
    database: { query: async () => ({ rows: cursors }) },
    commits: { add() {}, durable: async () => {} },
    wakes: {
      onWake(_: string, listener: () => void) {
        look = listener;
        return () => {};
      },
    },
  };
  const outbox = new Outbox(options as unknown as OutboxOptions);
  const number = outbox.send(living, { kind: 'routes', added: ['x'], removed: [] });
  let isApplied = false;
  const applied = outbox.applied(number).then(() => {
    isApplied = true;
  });
  await Promise.resolve();
  living.push('late');
  look();
  await new Promise((resolve) => setImmediate(resolve));
  expect(isApplied).toBe(false);
  cursors.push({ to_node: 'b', number });
  look();
  await applied;
  outbox.close();
});
