/** Second factors beside a password: one-time passwords by time (TOTP, RFC 6238) and recovery codes. Computes no code. */

import { createHash } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { removeSecondFactors } from './end-operator-access.ts';
import { expectOperator } from './operators.ts';
import { writeOperators } from './write-operators.ts';

/** A factor that was verified, and counts once. */
export type SecondFactor =
  | {
      readonly kind: 'totp';
      /** The time step of the code. It and all before it are used up. */
      readonly step: number;
    }
  | { readonly kind: 'recovery'; readonly code: string };

export interface TotpState {
  readonly secret: Buffer;
  readonly isConfirmed: boolean;
  /** The newest time step whose code was used. */
  readonly lastStep: number;
}

export interface SecondFactorStore {
  /** Undefined without one. */
  findTotp(operator: string): Promise<TotpState | undefined>;
  /** Replaces one that is not confirmed. Problem `totp_exists` when there is a confirmed one, `operator_unknown`. */
  beginTotp(operator: string, secret: Buffer): Promise<void>;
  /** From now on a code is needed beside the password. False when the step was used. Problem `totp_unknown`. */
  confirmTotp(operator: string, step: number, actor: Actor): Promise<boolean>;
  /** Removes recovery codes too. Problem `totp_unknown`. */
  removeTotp(operator: string, actor: Actor): Promise<void>;
  /** In place of the former ones. Only hashes are stored: a code has at least 80 random bits. */
  setRecoveryCodes(operator: string, codes: readonly string[], actor: Actor): Promise<void>;
  countRecoveryCodes(operator: string): Promise<number>;
}

export function createSecondFactorStore(database: RegistryDatabase): SecondFactorStore {
  return {
    findTotp: async (operator) => database.read((tx) => findTotp(tx, operator)),
    beginTotp: async (operator, secret) =>
      writeOperators(database, function* (tx) {
        yield* expectOperator(tx, operator);
        if ((yield* findTotp(tx, operator))?.isConfirmed) throw new Problem('totp_exists');
        yield* tx.run(
          `INSERT INTO operator_totp (operator_name, secret, created_at, last_step) VALUES (@operator, @secret, @now, 0)
           ON CONFLICT (operator_name) DO UPDATE SET
             secret = excluded.secret, created_at = excluded.created_at, confirmed_at = NULL, last_step = 0`,
          { operator, secret, now: tx.now },
        );
      }),
    confirmTotp: async (operator, step, actor) =>
      writeOperators(database, function* (tx) {
        const found = yield* findTotp(tx, operator);
        if (found === undefined || found.isConfirmed) throw new Problem('totp_unknown');
        if (!(yield* useSecondFactor(tx, operator, { kind: 'totp', step }))) return false;
        yield* tx.run('UPDATE operator_totp SET confirmed_at = @now WHERE operator_name = @operator', {
          operator,
          now: tx.now,
        });
        recordDone(tx, { actor, action: 'operator.totp.confirmed', subject: `operator/${operator}` });
        return true;
      }),
    removeTotp: async (operator, actor) =>
      writeOperators(database, function* (tx) {
        if ((yield* findTotp(tx, operator)) === undefined) throw new Problem('totp_unknown');
        yield* removeSecondFactors(tx, operator);
        recordDone(tx, { actor, action: 'operator.totp.removed', subject: `operator/${operator}` });
      }),
    setRecoveryCodes: async (operator, codes, actor) =>
      writeOperators(database, function* (tx) {
        yield* expectOperator(tx, operator);
        yield* tx.run('DELETE FROM operator_recovery_codes WHERE operator_name = @operator', { operator });
        yield* tx.runEach(
          'INSERT INTO operator_recovery_codes (code_hash, operator_name, created_at) VALUES (@hash, @operator, @now)',
          codes.map((code) => ({ hash: hashOf(operator, code), operator, now: tx.now })),
        );
        const details = { codes: codes.length };
        recordDone(tx, { actor, action: 'operator.recovery.renewed', subject: `operator/${operator}`, details });
      }),
    countRecoveryCodes: async (operator) => database.read((tx) => countCodes(tx, operator)),
  };
}

/** Whether it was not used before. It is used up from then on. */
export function* useSecondFactor(tx: Transaction, operator: string, factor: SecondFactor): Steps<boolean> {
  if (factor.kind === 'totp') {
    const { step } = factor;
    return (
      (yield* tx.run(
        'UPDATE operator_totp SET last_step = @step WHERE operator_name = @operator AND last_step < @step',
        {
          operator,
          step,
        },
      )) === 1
    );
  }
  const isKnown =
    (yield* tx.run('DELETE FROM operator_recovery_codes WHERE operator_name = @operator AND code_hash = @hash', {
      operator,
      hash: hashOf(operator, factor.code),
    })) === 1;
  if (isKnown) {
    const details = { left: yield* countCodes(tx, operator) };
    recordDone(tx, {
      actor: `operator/${operator}`,
      action: 'operator.recovery.used',
      subject: `operator/${operator}`,
      details,
    });
  }
  return isKnown;
}

export function* findTotp(tx: Transaction, operator: string): Steps<TotpState | undefined> {
  const row = yield* tx.get<{ secret: Buffer; confirmed_at: number | null; last_step: number }>(
    'SELECT secret, confirmed_at, last_step FROM operator_totp WHERE operator_name = @operator',
    { operator },
  );
  return row && { secret: row.secret, isConfirmed: row.confirmed_at !== null, lastStep: row.last_step };
}

function* countCodes(tx: Transaction, operator: string): Steps<number> {
  const sql = 'SELECT count(*) AS n FROM operator_recovery_codes WHERE operator_name = @operator';
  return (yield* tx.get<{ n: number }>(sql, { operator }))?.n ?? 0;
}

/** With the name: two operators may have the same code. */
function hashOf(operator: string, code: string): Buffer {
  return createHash('sha256').update(`${operator}:${code}`).digest();
}
