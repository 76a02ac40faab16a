/**
 * Acts of operators under an idempotency key: which began, and which ended. An act is recorded before it begins, so that a
 * repetition is detected also after the server was killed. Stores neither the key nor anything of the answer.
 */

import type { RegistryDatabase } from '../database.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';

/** How long a key means the same act. */
export const IDEMPOTENCY_KEY_LIFE_MS = 24 * 3_600_000;
/** Per operator; the oldest that ended are removed before their time. */
export const MAX_IDEMPOTENCY_KEYS = 10_000;

export interface KeyedAct {
  readonly operator: Actor;
  /** SHA-256 of the key. */
  readonly keyHash: Uint8Array;
}

export interface RecordedAct {
  /** 32 bytes that depend on the whole request. */
  readonly fingerprint: Uint8Array;
  readonly begunAt: number;
  /** Undefined while it runs, and for good when the server was killed meanwhile. */
  readonly ended: { readonly at: number; readonly status: number } | undefined;
}

export interface IdempotencyKeyStore {
  /** Returns what is recorded under the key within 24 hours. Records the beginning, and returns undefined, where there is nothing. */
  beginAct(act: KeyedAct & { readonly fingerprint: Uint8Array }): Promise<RecordedAct | undefined>;
  /** `status`: of the answer, as HTTP has it. */
  endAct(act: KeyedAct, status: number): Promise<void>;
  /** Of an act that was refused: the key is free again. */
  forgetAct(act: KeyedAct): Promise<void>;
}

export function createIdempotencyKeyStore(database: RegistryDatabase): IdempotencyKeyStore {
  return {
    beginAct: async (act) => database.write((tx) => beginAct(tx, act)),
    endAct: async (act, status) => {
      await database.write((tx) =>
        tx.run(`UPDATE idempotency_keys SET ended_at = @now, status = @status WHERE ${OF_KEY}`, {
          ...parametersOf(act),
          now: tx.now,
          status,
        }),
      );
    },
    forgetAct: async (act) => {
      await database.write((tx) => tx.run(`DELETE FROM idempotency_keys WHERE ${OF_KEY}`, parametersOf(act)));
    },
  };
}

const OF_KEY = 'operator = @operator AND key_hash = @keyHash';

interface ActRow {
  readonly fingerprint: Uint8Array;
  readonly begun_at: number;
  readonly ended_at: number | null;
  readonly status: number | null;
}

function* beginAct(
  tx: Transaction,
  act: KeyedAct & { readonly fingerprint: Uint8Array },
): Steps<RecordedAct | undefined> {
  yield* tx.run('DELETE FROM idempotency_keys WHERE begun_at <= @end', { end: tx.now - IDEMPOTENCY_KEY_LIFE_MS });
  const row = yield* tx.get<ActRow>(`SELECT * FROM idempotency_keys WHERE ${OF_KEY}`, parametersOf(act));
  if (row !== undefined) return readRow(row);
  yield* removeOldest(tx, act.operator);
  yield* tx.run(
    `INSERT INTO idempotency_keys (operator, key_hash, fingerprint, begun_at)
     VALUES (@operator, @keyHash, @fingerprint, @now)`,
    { ...parametersOf(act), fingerprint: act.fingerprint, now: tx.now },
  );
  return undefined;
}

/** Leaves room for one more. */
function* removeOldest(tx: Transaction, operator: Actor): Steps<void> {
  const oldest = yield* tx.get<{ readonly begun_at: number }>(
    `SELECT begun_at FROM idempotency_keys WHERE operator = @operator
     ORDER BY begun_at DESC LIMIT 1 OFFSET ${MAX_IDEMPOTENCY_KEYS - 1}`,
    { operator },
  );
  if (oldest === undefined) return;
  yield* tx.run(
    'DELETE FROM idempotency_keys WHERE operator = @operator AND begun_at <= @end AND ended_at IS NOT NULL',
    {
      operator,
      end: oldest.begun_at,
    },
  );
}

function parametersOf({ operator, keyHash }: KeyedAct) {
  return { operator, keyHash };
}

function readRow({ fingerprint, begun_at: begunAt, ended_at: at, status }: ActRow): RecordedAct {
  return { fingerprint, begunAt, ended: at === null || status === null ? undefined : { at, status } };
}
