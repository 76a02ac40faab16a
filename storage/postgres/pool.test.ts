import { expect, it } from 'vitest';
import type { PostgresConnection } from './connection.ts';
import { ConnectionPool } from './pool.ts';

function poolOf(size: number) {
  const opening: PromiseWithResolvers<PostgresConnection>[] = [];
  const open = () => {
    const one = Promise.withResolvers<PostgresConnection>();
    opening.push(one);
    return one.promise;
  };
  const connection = { isLost: false, close: async () => {} } as PostgresConnection;
  return { pool: new ConnectionPool({ open, size, wait: 60_000 }), opening, connection };
}

it('a pool opens four connections at once, and the next one when one of them is there', async () => {
  const { pool, opening, connection } = poolOf(10);
  const wanted = Array.from({ length: 8 }, () => pool.acquire('read'));
  expect(opening).toHaveLength(4);
  opening[0]?.resolve(connection);
  expect(await wanted[0]).toBe(connection);
  expect(opening).toHaveLength(5);
  await Promise.all([pool.close(), ...wanted.slice(1).map((one) => expect(one).rejects.toThrow())]);
});

it('a pool whose server cannot be reached tells all so that wait, and not only those whose turn it was', async () => {
  const { pool, opening } = poolOf(10);
  const wanted = Array.from({ length: 8 }, () => pool.acquire('write').catch((error: unknown) => error));
  const unreachable = new Error('unreachable');
  // This attempt began before the others waited; the next one did not.
  opening[0]?.reject(unreachable);
  expect(await wanted[0]).toBe(unreachable);
  opening[4]?.reject(unreachable);
  for (const one of wanted) expect(await one).toBe(unreachable);
  await pool.close();
});
