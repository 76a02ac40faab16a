/** What an operator signs in with: the hash of its password, and which other ways it has. Computes no password hash. */

import { Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Listeners } from '../listeners.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { endSessionsOf } from './end-operator-access.ts';
import type { OperatorRole } from './operator-roles.ts';
import { expectOperator, type OperatorAccessEnded } from './operators.ts';
import { findTotp, type TotpState } from './second-factors.ts';
import { endAccess } from './write-operators.ts';

export interface OperatorCredentials {
  readonly operator: string;
  readonly role: OperatorRole;
  readonly state: 'active' | 'disabled';
  /** With its parameters; opaque to the registry. Undefined without a password. */
  readonly passwordHash: string | undefined;
  readonly passwordChangedAt: number | undefined;
  readonly totp: TotpState | undefined;
}

export interface PasswordStore {
  /** Undefined for a name that no operator has. */
  findOperatorCredentials(operator: string): Promise<OperatorCredentials | undefined>;
  /** Ends all sessions of the operator but the one named. Problem `operator_unknown` or `operator_disabled`. */
  setOperatorPassword(
    operator: string,
    order: { readonly hash: string; readonly exceptSession?: string },
    actor: Actor,
  ): Promise<void>;
}

export function createPasswordStore(database: RegistryDatabase, ended: Listeners<OperatorAccessEnded>): PasswordStore {
  return {
    findOperatorCredentials: async (operator) => database.read((tx) => findCredentials(tx, operator)),
    setOperatorPassword: async (operator, { hash, exceptSession }, actor) => {
      await endAccess(
        database,
        ended,
        (tx) => setPassword(tx, operator, hash, exceptSession, actor),
        () => [{ operator, sessions: { except: exceptSession } }],
      );
    },
  };
}

export function* setPassword(
  tx: Transaction,
  operator: string,
  hash: string,
  exceptSession: string | undefined,
  actor: Actor,
): Steps<void> {
  if ((yield* expectOperator(tx, operator)).state !== 'active') throw new Problem('operator_disabled');
  yield* tx.run(
    `INSERT INTO operator_passwords (operator_name, hash, changed_at) VALUES (@operator, @hash, @now)
     ON CONFLICT (operator_name) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at`,
    { operator, hash, now: tx.now },
  );
  const sessionsEnded = yield* endSessionsOf(tx, operator, exceptSession);
  recordDone(tx, {
    actor,
    action: 'operator.password.set',
    subject: `operator/${operator}`,
    details: { sessionsEnded },
  });
}

function* findCredentials(tx: Transaction, operator: string): Steps<OperatorCredentials | undefined> {
  const row = yield* tx.get<{
    role: OperatorRole;
    disabled_at: number | null;
    hash: string | null;
    changed_at: number | null;
  }>(
    `SELECT o.role, o.disabled_at, p.hash, p.changed_at FROM operators AS o
     LEFT JOIN operator_passwords AS p ON p.operator_name = o.name WHERE o.name = @operator`,
    { operator },
  );
  if (row === undefined) return undefined;
  return {
    operator,
    role: row.role,
    state: row.disabled_at === null ? 'active' : 'disabled',
    passwordHash: row.hash ?? undefined,
    passwordChangedAt: row.changed_at ?? undefined,
    totp: yield* findTotp(tx, operator),
  };
}
