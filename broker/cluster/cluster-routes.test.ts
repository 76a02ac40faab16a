import { expect, it } from 'vitest';
import { ClusterRoutes, type ClusterRoutesOptions } from './cluster-routes.ts';

/** Routes of a node, whose changes the others apply when a test says so. */
function start() {
  const sent: (readonly string[])[] = [];
  const applied: (() => void)[] = [];
  const failed: ((error: Error) => void)[] = [];
  const options = {
    nodes: { name: 'a', others: () => [{ name: 'b', isAlive: true }] },
    outbox: {
      send(_: Iterable<string>, { added }: { readonly added: readonly string[] }) {
        return sent.push(added);
      },
      applied: () =>
        new Promise<void>((resolve, reject) => {
          applied.push(resolve);
          failed.push(reject);
        }),
    },
    commits: { add() {} },
    absent: { routesChanged() {} },
  };
  return { routes: new ClusterRoutes(options as unknown as ClusterRoutesOptions), sent, applied, failed };
}

/** Everything that waits for nothing is done. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

it('a subscription waits until the others know of it, and not for those that come all the time', async () => {
  const { routes, sent, applied } = start();
  routes.add('first');
  await settled();
  routes.add('second');
  const known = routes.published();
  applied[0]?.();
  await settled();
  routes.add('third'); // While the second one is under way.
  expect(sent).toEqual([['first'], ['second']]);
  applied[1]?.();
  await known; // The others have not applied the third one.
});

it('what is added in one turn is told together, and what is removed again before is not told', async () => {
  const { routes, sent, applied } = start();
  for (const filter of ['x', 'y', 'z']) routes.add(filter);
  routes.remove('z');
  await settled();
  applied[0]?.();
  await routes.published();
  expect(sent).toEqual([['x', 'y']]);
});

it('a connect after an outage of the database does not get the error of the changes that waited for it', async () => {
  const { routes, failed } = start();
  routes.add('first');
  const waited = routes.published();
  await settled();
  failed[0]?.(new Error('the database does not answer'));
  await expect(waited).rejects.toThrow('the database does not answer');
  await settled();
  await routes.published();
});
