/** Transactions that change operators or what they sign in with: one at a time, for they are few and depend on one another. */

import type { Awaitable, RegistryDatabase } from '../database.ts';
import type { Steps, Transaction } from '../transaction.ts';

export function writeOperators<Result>(
  database: RegistryDatabase,
  body: (tx: Transaction) => Steps<Result>,
): Awaitable<Result> {
  return database.write(function* (tx) {
    yield* tx.lock('operators');
    return yield* body(tx);
  });
}
