/** Checks the secret of a bootstrap token, and consumes one of its uses in the transaction of the enrollment. */

import { timingSafeEqual } from 'node:crypto';
import type { Steps, Transaction } from '../transaction.ts';
import { hashTokenSecret } from './create-token.ts';
import { findTokenRow, readToken, type TokenRecord } from './tokens.ts';

/** Compares in constant time. Undefined when there is no such token. */
export function* findPresentedToken(
  tx: Transaction,
  id: string,
  secret: string,
): Steps<{ readonly token: TokenRecord; readonly isSecretRight: boolean } | undefined> {
  const row = yield* findTokenRow(tx, id);
  if (row === undefined) return undefined;
  return { token: readToken(row, tx.now), isSecretRight: timingSafeEqual(row.secret_hash, hashTokenSecret(secret)) };
}

/** Consumes one use; false when the token has none left, has expired or is revoked. This one statement decides every race. */
export function* consumeToken(tx: Transaction, id: string): Steps<boolean> {
  const changed = yield* tx.run(
    `UPDATE tokens SET uses = uses + 1
     WHERE id = @id AND uses < max_uses AND expires_at > @now AND voided_at IS NULL`,
    { id, now: tx.now },
  );
  return changed === 1;
}
