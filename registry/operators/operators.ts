/** Operators: added, listed, disabled and reset. Their API keys are in `operator-keys.ts`, their sessions in `operator-sessions.ts`. */

import { Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Listeners } from '../listeners.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { endSessionsOf, removeSignIn } from './end-operator-access.ts';
import { isRoleWithin, type OperatorRole } from './operator-roles.ts';
import { endAccess, writeOperators } from './write-operators.ts';

/** 1 to 64 of `a-z 0-9 . _ -`, the first a letter or digit. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** `operator/NAME` is the actor in the audit; these are the ways in without a name. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(['unix', 'key', 'metrics-key', 'unknown', 'local']);
const MAX_OPERATORS = 1_000;

export interface OperatorRecord {
  readonly name: string;
  readonly role: OperatorRole;
  readonly state: 'active' | 'disabled';
  readonly createdAt: number;
  readonly createdBy: Actor;
  readonly disabledAt: number | undefined;
}

/** An operator, one of its keys or some of its sessions lost access, by a committed change. */
export interface OperatorAccessEnded {
  readonly operator: string;
  /** This API key alone. */
  readonly keyId?: string;
  /** This session alone. */
  readonly sessionId?: string;
  /** All sessions but the one named, and no key. */
  readonly sessions?: { readonly except: string | undefined };
}

export interface OperatorStore {
  /**
   * Problem `request_invalid` for a name outside `a-z 0-9 . _ -` or a reserved one, `operator_exists` for one that was
   * added before, also when it is disabled: the audit names it.
   */
  addOperator(order: { readonly name: string; readonly role: OperatorRole }, actor: Actor): Promise<OperatorRecord>;
  /** In the order of their names. */
  listOperators(): Promise<readonly OperatorRecord[]>;
  /** Its keys are refused from now on, and stay; its sessions end. Disabling twice changes nothing the second time. Problem `operator_unknown`. */
  disableOperator(name: string, actor: Actor): Promise<OperatorRecord>;
  /**
   * Revokes all its keys, ends its sessions, removes its password, second factors, passkeys and links, enables it, and changes its role
   * when one is given. Problem `operator_unknown`.
   */
  resetOperator(name: string, order: { readonly role?: OperatorRole }, actor: Actor): Promise<OperatorRecord>;
  /** Called after the commit; the change waits. Returns the unsubscriber. */
  onOperatorAccessEnded(listener: (ended: OperatorAccessEnded) => void): () => void;
}

export function createOperatorStore(database: RegistryDatabase, ended: Listeners<OperatorAccessEnded>): OperatorStore {
  return {
    addOperator: async (order, actor) => writeOperators(database, (tx) => addOperator(tx, order, actor)),
    listOperators: async () =>
      database.read(function* (tx) {
        return (yield* tx.all<OperatorRow>('SELECT * FROM operators ORDER BY name', {})).map(readRow);
      }),
    disableOperator: async (name, actor) =>
      endAccess(
        database,
        ended,
        (tx) => disableOperator(tx, name, actor),
        () => [{ operator: name }],
      ),
    resetOperator: async (name, { role }, actor) =>
      endAccess(
        database,
        ended,
        (tx) => resetOperator(tx, name, role, actor),
        () => [{ operator: name }],
      ),
    onOperatorAccessEnded: (listener) => ended.add(listener),
  };
}

interface OperatorRow {
  readonly name: string;
  readonly role: OperatorRole;
  readonly created_at: number;
  readonly created_by: Actor;
  readonly disabled_at: number | null;
}

/** For transactions that do more. */
export function* addOperator(
  tx: Transaction,
  { name, role }: { readonly name: string; readonly role: OperatorRole },
  actor: Actor,
): Steps<OperatorRecord> {
  if (!NAME.test(name)) {
    throw invalid('expected an operator name of 1 to 64 of a-z 0-9 . _ -, the first a letter or digit');
  }
  if (RESERVED_NAMES.has(name)) throw invalid(`expected a name that is not reserved, found ${name}`);
  if (!isRoleWithin(role, 'admin')) throw invalid('expected the role viewer, operator or admin');
  if ((yield* tx.get('SELECT 1 FROM operators WHERE name = @name', { name })) !== undefined)
    throw new Problem('operator_exists');
  const count = (yield* tx.get<{ n: number }>('SELECT count(*) AS n FROM operators', {}))?.n ?? 0;
  if (count >= MAX_OPERATORS) throw invalid(`expected at most ${MAX_OPERATORS} operators`);
  yield* tx.run('INSERT INTO operators (name, role, created_at, created_by) VALUES (@name, @role, @now, @actor)', {
    name,
    role,
    now: tx.now,
    actor,
  });
  recordDone(tx, { actor, action: 'operator.added', subject: `operator/${name}`, details: { role } });
  return yield* expectOperator(tx, name);
}

function* disableOperator(tx: Transaction, name: string, actor: Actor): Steps<OperatorRecord> {
  const { state } = yield* expectOperator(tx, name);
  if (state === 'active') {
    yield* tx.run('UPDATE operators SET disabled_at = @now WHERE name = @name', { name, now: tx.now });
    const sessionsEnded = yield* endSessionsOf(tx, name);
    recordDone(tx, {
      actor,
      action: 'operator.disabled',
      subject: `operator/${name}`,
      details: sessionsEnded > 0 ? { sessionsEnded } : {},
    });
  }
  return yield* expectOperator(tx, name);
}

function* resetOperator(
  tx: Transaction,
  name: string,
  role: OperatorRole | undefined,
  actor: Actor,
): Steps<OperatorRecord> {
  const before = yield* expectOperator(tx, name);
  const next = role ?? before.role;
  if (!isRoleWithin(next, 'admin')) throw invalid('expected the role viewer, operator or admin');
  yield* tx.run('UPDATE operators SET disabled_at = NULL, role = @next WHERE name = @name', { name, next });
  const keysRevoked = yield* tx.run(
    'UPDATE operator_keys SET revoked_at = @now WHERE operator_name = @name AND revoked_at IS NULL',
    { name, now: tx.now },
  );
  const sessionsEnded = yield* endSessionsOf(tx, name);
  const passkeysRemoved = yield* removeSignIn(tx, name);
  const details = {
    role: next,
    keysRevoked,
    sessionsEnded,
    passkeysRemoved,
    ...(next !== before.role && { formerRole: before.role }),
  };
  recordDone(tx, { actor, action: 'operator.reset', subject: `operator/${name}`, details });
  return yield* expectOperator(tx, name);
}

/** Throws Problem `operator_unknown`. */
export function* expectOperator(tx: Transaction, name: string): Steps<OperatorRecord> {
  const row = yield* tx.get<OperatorRow>('SELECT * FROM operators WHERE name = @name', { name });
  if (row === undefined) throw new Problem('operator_unknown');
  return readRow(row);
}

function readRow(row: OperatorRow): OperatorRecord {
  return {
    name: row.name,
    role: row.role,
    state: row.disabled_at === null ? 'active' : 'disabled',
    createdAt: row.created_at,
    createdBy: row.created_by,
    disabledAt: row.disabled_at ?? undefined,
  };
}

function invalid(detail: string): Problem {
  return new Problem('request_invalid', { detail });
}
