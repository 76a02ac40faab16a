/** API keys of operators: created, listed, revoked, and compared with what a client presents. */

import { createHash, timingSafeEqual } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Listeners } from '../listeners.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { isRoleWithin, lesserRole, type OperatorRole } from './operator-roles.ts';
import { expectOperator, type OperatorAccessEnded } from './operators.ts';
import { endAccess, writeOperators } from './write-operators.ts';

const ID_BYTES = 8;
const SECRET_BYTES = 32;
const MAX_TTL_SECONDS = 365 * 86_400;
/** Usable ones, per operator. */
const MAX_KEYS = 100;
/** The last use is written at most this often, so that a busy program costs no commit per request. */
const LAST_USED_STEP_MS = 60_000;
/** Compared with when there is no such key. */
const NO_HASH = Buffer.alloc(32);

export interface OperatorKeyOrder {
  readonly operator: string;
  /** Not above the role of the operator. */
  readonly role: OperatorRole;
  /** One second to 365 days. */
  readonly ttlSeconds: number;
}

export interface OperatorKeyRecord {
  /** 16 digits of lower-case hexadecimal. */
  readonly id: string;
  readonly operator: string;
  readonly role: OperatorRole;
  readonly createdAt: number;
  readonly createdBy: Actor;
  readonly expiresAt: number;
  /** To a minute. */
  readonly lastUsedAt: number | undefined;
  readonly revokedAt: number | undefined;
  /** `disabled`: its operator is. */
  readonly state: 'usable' | 'disabled' | 'expired' | 'revoked';
}

export interface CreatedOperatorKey {
  readonly record: OperatorKeyRecord;
  /** 256 bits, base64url. Not stored: only its hash is. */
  readonly secret: string;
}

export interface AdmittedOperator {
  readonly operator: string;
  /** The lesser of those of the key and of the operator. */
  readonly role: OperatorRole;
  readonly keyId: string;
  readonly expiresAt: number;
}

export interface OperatorKeyStore {
  /** Problem `operator_unknown`, `operator_disabled` or `request_invalid`. */
  createOperatorKey(order: OperatorKeyOrder, actor: Actor): Promise<CreatedOperatorKey>;
  /** Of one operator or of all, the oldest first. Problem `operator_unknown`. */
  listOperatorKeys(operator?: string): Promise<readonly OperatorKeyRecord[]>;
  /** Revoking twice changes nothing the second time. Problem `operator_key_unknown`. */
  revokeOperatorKey(id: string, actor: Actor): Promise<OperatorKeyRecord>;
  /** Undefined unless the key is usable now. Records the use, at most once a minute. */
  admitOperator(presented: { readonly id: string; readonly secret: string }): Promise<AdmittedOperator | undefined>;
}

export function createOperatorKeyStore(
  database: RegistryDatabase,
  ended: Listeners<OperatorAccessEnded>,
  randomBytes: (size: number) => Buffer,
): OperatorKeyStore {
  return {
    createOperatorKey: async (order, actor) => createOperatorKey(database, randomBytes, order, actor),
    listOperatorKeys: async (operator) => database.read((tx) => listKeys(tx, operator)),
    revokeOperatorKey: async (id, actor) =>
      endAccess(
        database,
        ended,
        (tx) => revokeKey(tx, id, actor),
        ({ operator }) => [{ operator, keyId: id }],
      ),
    admitOperator: async (presented) => admit(database, presented),
  };
}

const COLUMNS = `k.*, o.disabled_at AS operator_disabled_at, o.role AS operator_role
  FROM operator_keys AS k JOIN operators AS o ON o.name = k.operator_name`;

interface KeyRow {
  readonly id: string;
  readonly secret_hash: Buffer;
  readonly operator_name: string;
  readonly role: OperatorRole;
  readonly created_at: number;
  readonly created_by: Actor;
  readonly expires_at: number;
  readonly last_used_at: number | null;
  readonly revoked_at: number | null;
  readonly operator_disabled_at: number | null;
  readonly operator_role: OperatorRole;
}

async function createOperatorKey(
  database: RegistryDatabase,
  randomBytes: (size: number) => Buffer,
  { operator, role, ttlSeconds }: OperatorKeyOrder,
  actor: Actor,
): Promise<CreatedOperatorKey> {
  const id = randomBytes(ID_BYTES).toString('hex');
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  return writeOperators(database, function* (tx) {
    const owner = yield* expectOperator(tx, operator);
    if (owner.state !== 'active') throw new Problem('operator_disabled');
    if (!isRoleWithin(role, owner.role)) {
      throw invalid(`expected a role of the key that is not above ${owner.role}, the role of its operator`);
    }
    if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS) {
      throw invalid('expected a life of the key of one second to 365 days');
    }
    const usable = (yield* listKeys(tx, operator)).filter(({ state }) => state === 'usable').length;
    if (usable >= MAX_KEYS) throw invalid(`expected at most ${MAX_KEYS} usable keys of one operator`);
    const expiresAt = tx.now + ttlSeconds * 1_000;
    yield* tx.run(
      `INSERT INTO operator_keys (id, secret_hash, operator_name, role, created_at, created_by, expires_at)
       VALUES (@id, @hash, @operator, @role, @now, @actor, @expiresAt)`,
      { id, hash: hashOf(secret), operator, role, now: tx.now, actor, expiresAt },
    );
    const details = { keyId: id, role, expiresAt: new Date(expiresAt).toISOString() };
    recordDone(tx, { actor, action: 'operator.key.created', subject: `operator/${operator}`, details });
    return { record: readRow(yield* expectKey(tx, id), tx.now), secret };
  });
}

function* listKeys(tx: Transaction, operator: string | undefined): Steps<readonly OperatorKeyRecord[]> {
  if (operator !== undefined) yield* expectOperator(tx, operator);
  const rows =
    operator === undefined
      ? yield* tx.all<KeyRow>(`SELECT ${COLUMNS} ORDER BY k.created_at, k.id`, {})
      : yield* tx.all<KeyRow>(`SELECT ${COLUMNS} WHERE k.operator_name = @operator ORDER BY k.created_at, k.id`, {
          operator,
        });
  return rows.map((row) => readRow(row, tx.now));
}

function* revokeKey(tx: Transaction, id: string, actor: Actor): Steps<OperatorKeyRecord> {
  const { operator_name: operator, revoked_at: revokedAt } = yield* expectKey(tx, id);
  if (revokedAt === null) {
    yield* tx.run('UPDATE operator_keys SET revoked_at = @now WHERE id = @id', { id, now: tx.now });
    recordDone(tx, { actor, action: 'operator.key.revoked', subject: `operator/${operator}`, details: { keyId: id } });
  }
  return readRow(yield* expectKey(tx, id), tx.now);
}

async function admit(
  database: RegistryDatabase,
  { id, secret }: { readonly id: string; readonly secret: string },
): Promise<AdmittedOperator | undefined> {
  const [row, now] = await database.read(function* (tx) {
    return [yield* findKey(tx, id), tx.now] as const;
  });
  const isSame = timingSafeEqual(row?.secret_hash ?? NO_HASH, hashOf(secret));
  if (row === undefined || !isSame || stateOf(row, now) !== 'usable') return undefined;
  if (now - (row.last_used_at ?? 0) >= LAST_USED_STEP_MS) await recordUse(database, id);
  const role = lesserRole(row.role, row.operator_role);
  return { operator: row.operator_name, role, keyId: id, expiresAt: row.expires_at };
}

/** A registry that cannot write now, because the disk is full, still admits: an operator may free the space. */
async function recordUse(database: RegistryDatabase, id: string): Promise<void> {
  try {
    await database.write((tx) =>
      tx.run('UPDATE operator_keys SET last_used_at = @now WHERE id = @id', { id, now: tx.now }),
    );
  } catch (error) {
    if (!(error instanceof Problem && error.code === 'unavailable')) throw error;
  }
}

function* findKey(tx: Transaction, id: string): Steps<KeyRow | undefined> {
  return yield* tx.get<KeyRow>(`SELECT ${COLUMNS} WHERE k.id = @id`, { id });
}

function* expectKey(tx: Transaction, id: string): Steps<KeyRow> {
  const row = yield* findKey(tx, id);
  if (row === undefined) throw new Problem('operator_key_unknown');
  return row;
}

function readRow(row: KeyRow, now: number): OperatorKeyRecord {
  return {
    id: row.id,
    operator: row.operator_name,
    role: row.role,
    createdAt: row.created_at,
    createdBy: row.created_by,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
    state: stateOf(row, now),
  };
}

function stateOf(row: KeyRow, now: number): OperatorKeyRecord['state'] {
  if (row.revoked_at !== null) return 'revoked';
  if (row.expires_at <= now) return 'expired';
  return row.operator_disabled_at === null ? 'usable' : 'disabled';
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function invalid(detail: string): Problem {
  return new Problem('request_invalid', { detail });
}
