/** What ends the access of an operator who signed in: its sessions end, and what it signs in with is removed. */

import type { Steps, Transaction } from '../transaction.ts';

/** The condition of sessions that are live at `@now`. */
export const LIVE_SESSION = 'ended_at IS NULL AND expires_at > @now AND last_seen_at + idle_ms > @now';

/** Ends the live sessions of an operator, but not the one named. Returns how many there were. */
export function* endSessionsOf(tx: Transaction, operator: string, except = ''): Steps<number> {
  return yield* tx.run(
    `UPDATE operator_sessions SET ended_at = @now WHERE operator_name = @operator AND id <> @except AND ${LIVE_SESSION}`,
    { operator, except, now: tx.now },
  );
}

/** Removes password, second factors, passkeys and one-time links. Returns how many passkeys there were. */
export function* removeSignIn(tx: Transaction, operator: string): Steps<number> {
  yield* tx.run('DELETE FROM operator_passwords WHERE operator_name = @operator', { operator });
  yield* removeSecondFactors(tx, operator);
  yield* removeLinks(tx, operator);
  return yield* tx.run('DELETE FROM operator_passkeys WHERE operator_name = @operator', { operator });
}

export function* removeSecondFactors(tx: Transaction, operator: string): Steps<void> {
  yield* tx.run('DELETE FROM operator_totp WHERE operator_name = @operator', { operator });
  yield* tx.run('DELETE FROM operator_recovery_codes WHERE operator_name = @operator', { operator });
}

/** Those of an operator, or those of the first set-up. */
export function* removeLinks(tx: Transaction, operator: string | undefined): Steps<void> {
  yield* tx.run('DELETE FROM sign_in_links WHERE operator_name IS NOT DISTINCT FROM @operator', {
    operator: operator ?? null,
  });
}
