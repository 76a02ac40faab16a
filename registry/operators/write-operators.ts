/** Transactions that change operators or what they sign in with: one at a time, for they are few and depend on one another. */

import type { Awaitable, RegistryDatabase } from '../database.ts';
import type { Listeners } from '../listeners.ts';
import type { Steps, Transaction } from '../transaction.ts';
import type { OperatorAccessEnded } from './operators.ts';

export function writeOperators<Result>(
  database: RegistryDatabase,
  body: (tx: Transaction) => Steps<Result>,
): Awaitable<Result> {
  return database.write(function* (tx) {
    yield* tx.lock('operators');
    return yield* body(tx);
  });
}

/** For a change that ends access: what ended is published in its transaction, and its listeners are notified after the commit. */
export async function endAccess<Result>(
  database: RegistryDatabase,
  listeners: Listeners<OperatorAccessEnded>,
  body: (tx: Transaction) => Steps<Result>,
  endedBy: (result: Result) => readonly OperatorAccessEnded[],
): Promise<Result> {
  const { result, ended } = await writeOperators(database, function* (tx) {
    const changed = yield* body(tx);
    const events = endedBy(changed);
    for (const event of events) listeners.publish(tx, event);
    return { result: changed, ended: events };
  });
  await listeners.notify(ended);
  return result;
}
