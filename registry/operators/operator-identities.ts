/** Accounts at an identity provider, and the operators that they are here. The account decides the operator, never the name alone. */

import { Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Steps, Transaction } from '../transaction.ts';
import type { OperatorRole } from './operator-roles.ts';
import { addOperator, expectOperator, type OperatorRecord } from './operators.ts';
import { writeOperators } from './write-operators.ts';

export interface OperatorIdentity {
  /** URL of the provider. */
  readonly issuer: string;
  /** `sub` of the account: never given to another one. */
  readonly subject: string;
}

export interface IdentityOrder {
  /** Of the operator, where the account has none yet. */
  readonly name: string;
  /** That the provider gives it now. */
  readonly role: OperatorRole;
  /** `create`: adds an operator. `existing`: only one that was added before, and has no account. */
  readonly operators: 'create' | 'existing';
}

export interface OperatorIdentityStore {
  /**
   * The operator of an account, with its role from now on. Problem `operator_disabled`, `operator_exists` for a name that another
   * operator has, `operator_unknown` where only existing operators sign in, or `request_invalid` for a name that no operator may have.
   */
  operatorOfIdentity(identity: OperatorIdentity, order: IdentityOrder): Promise<OperatorRecord>;
}

const ACTOR = 'server/oidc';

export function createOperatorIdentityStore(database: RegistryDatabase): OperatorIdentityStore {
  return {
    operatorOfIdentity: async (identity, order) => writeOperators(database, (tx) => operatorOf(tx, identity, order)),
  };
}

function* operatorOf(tx: Transaction, identity: OperatorIdentity, order: IdentityOrder): Steps<OperatorRecord> {
  const { issuer, subject } = identity;
  const known = yield* tx.get<{ readonly operator_name: string }>(
    'SELECT operator_name FROM operator_identities WHERE issuer = @issuer AND subject = @subject',
    { issuer, subject },
  );
  const name = known?.operator_name ?? (yield* linkOperator(tx, identity, order));
  const operator = yield* expectOperator(tx, name);
  if (operator.state !== 'active') throw new Problem('operator_disabled');
  return operator.role === order.role ? operator : yield* changeRole(tx, operator, identity, order.role);
}

function* linkOperator(tx: Transaction, { issuer, subject }: OperatorIdentity, order: IdentityOrder): Steps<string> {
  const { name, role, operators } = order;
  if (operators === 'create') yield* addOperator(tx, { name, role }, ACTOR);
  else {
    yield* expectOperator(tx, name);
    const linked = yield* tx.get('SELECT 1 FROM operator_identities WHERE operator_name = @name', { name });
    if (linked !== undefined) throw new Problem('operator_exists', { reason: 'the operator has another account' });
  }
  yield* tx.run(
    `INSERT INTO operator_identities (issuer, subject, operator_name, created_at)
     VALUES (@issuer, @subject, @name, @now)`,
    { issuer, subject, name, now: tx.now },
  );
  recordDone(tx, {
    actor: ACTOR,
    action: 'operator.identity.linked',
    subject: `operator/${name}`,
    details: { issuer, account: subject },
  });
  return name;
}

function* changeRole(
  tx: Transaction,
  { name, role: formerRole }: OperatorRecord,
  { issuer }: OperatorIdentity,
  role: OperatorRole,
): Steps<OperatorRecord> {
  yield* tx.run('UPDATE operators SET role = @role WHERE name = @name', { name, role });
  recordDone(tx, {
    actor: ACTOR,
    action: 'operator.role.changed',
    subject: `operator/${name}`,
    details: { role, formerRole, issuer },
  });
  return yield* expectOperator(tx, name);
}
