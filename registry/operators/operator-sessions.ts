/**
 * Sessions of operators that signed in: begun, compared with what a client presents, renewed, listed, ended. A session stays as a
 * record for 30 days after its end, so that the networks from which an operator signed in are known.
 */

import { createHash } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Listeners } from '../listeners.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { LIVE_SESSION } from './end-operator-access.ts';
import type { OperatorRole } from './operator-roles.ts';
import { expectOperator, type OperatorAccessEnded } from './operators.ts';
import { type SecondFactor, useSecondFactor } from './second-factors.ts';
import { endAccess, writeOperators } from './write-operators.ts';

const ID_BYTES = 8;
const SECRET_BYTES = 32;
/** Live ones per operator; the oldest ends when there is another one. */
const MAX_SESSIONS = 50;
/** The last use is written at most this often, so that a page costs no commit per request. */
const LAST_SEEN_STEP_MS = 60_000;
const FORMER_SECRET_MS = 30_000;
const RECORD_MS = 30 * 86_400_000;
const MAX_USER_AGENT = 200;

export interface OperatorSessionOrder {
  readonly operator: string;
  /** How the operator signed in, for the audit: `password`, `password+totp`, `passkey` ... */
  readonly method: string;
  readonly secondFactor?: SecondFactor;
  readonly address: string;
  /** Shortened to 200 characters. */
  readonly userAgent: string;
  /** When the operator authenticated, milliseconds since the epoch; now unless given, never later. */
  readonly authenticatedAt?: number;
  /** Milliseconds without a request after which it ends. */
  readonly idleMs: number;
  /** Milliseconds after which it ends in any case. */
  readonly lifetimeMs: number;
}

export interface OperatorSessionRecord {
  /** 16 digits of lower-case hexadecimal; public. */
  readonly id: string;
  readonly operator: string;
  readonly method: string;
  readonly createdAt: number;
  /** To a minute. */
  readonly lastSeenAt: number;
  readonly authenticatedAt: number;
  /** In any case; earlier without requests. */
  readonly expiresAt: number;
  readonly address: string;
  readonly userAgent: string;
}

export interface BegunOperatorSession {
  readonly record: OperatorSessionRecord;
  /** 256 bits, base64url. Not stored: only its SHA-256 is. */
  readonly secret: string;
}

export interface AdmittedSession extends OperatorSessionRecord {
  readonly role: OperatorRole;
}

export interface OperatorSessionStore {
  /**
   * Records the sign-in and begins a session. Undefined when the second factor was used before. Problem `operator_unknown` or
   * `operator_disabled`.
   */
  beginOperatorSession(order: OperatorSessionOrder): Promise<BegunOperatorSession | undefined>;
  /** The session of a secret, unless it ended. Records the use, at most once a minute. */
  admitOperatorSession(secret: string): Promise<AdmittedSession | undefined>;
  /**
   * Records that the operator authenticated again; the session has another secret from now on, and the former one is accepted
   * for 30 seconds, as not authenticated recently. Undefined when the second factor was used before. Problem `session_unknown`.
   */
  renewOperatorSession(
    id: string,
    order: { readonly method: string; readonly secondFactor?: SecondFactor },
  ): Promise<BegunOperatorSession | undefined>;
  /** Live ones of one operator or of all, the oldest first. */
  listOperatorSessions(operator?: string): Promise<readonly OperatorSessionRecord[]>;
  /** Problem `session_unknown` for one that is not live. */
  endOperatorSession(id: string, actor: Actor): Promise<OperatorSessionRecord>;
  /** Ends the sessions of all operators, and makes their one-time links unusable. Returns how many sessions ended. */
  endAllOperatorSessions(actor: Actor): Promise<number>;
  /** Addresses from which the operator signed in during the last 30 days. */
  listSignInAddresses(operator: string): Promise<readonly string[]>;
}

export function createOperatorSessionStore(
  database: RegistryDatabase,
  ended: Listeners<OperatorAccessEnded>,
  randomBytes: (size: number) => Buffer,
): OperatorSessionStore {
  return {
    beginOperatorSession: async (order) => writeOperators(database, (tx) => beginSession(tx, randomBytes, order)),
    admitOperatorSession: async (secret) => admitSession(database, secret),
    renewOperatorSession: async (id, order) =>
      writeOperators(database, (tx) => renewSession(tx, randomBytes, id, order)),
    listOperatorSessions: async (operator) =>
      database.read(function* (tx) {
        return (yield* listLive(tx, operator)).map(readRow);
      }),
    endOperatorSession: async (id, actor) =>
      endAccess(
        database,
        ended,
        (tx) => endSession(tx, id, actor),
        ({ operator }) => [{ operator, sessionId: id }],
      ),
    endAllOperatorSessions: async (actor) => {
      const operators = await endAccess(
        database,
        ended,
        (tx) => endAll(tx, actor),
        (names) => [...new Set(names)].map((operator) => ({ operator, sessions: { except: undefined } })),
      );
      return operators.length;
    },
    listSignInAddresses: async (operator) =>
      database.read(function* (tx) {
        return (yield* tx.all<{ address: string }>(
          'SELECT DISTINCT address FROM operator_sessions WHERE operator_name = @operator AND created_at > @since',
          { operator, since: tx.now - RECORD_MS },
        )).map(({ address }) => address);
      }),
  };
}

interface SessionRow {
  readonly id: string;
  readonly secret_hash: Buffer;
  readonly operator_name: string;
  readonly method: string;
  readonly created_at: number;
  readonly last_seen_at: number;
  readonly authenticated_at: number;
  readonly expires_at: number;
  readonly address: string;
  readonly user_agent: string;
}

/** For transactions that also change how the operator signs in. */
export function* beginSession(
  tx: Transaction,
  randomBytes: (size: number) => Buffer,
  order: OperatorSessionOrder,
): Steps<BegunOperatorSession | undefined> {
  const { operator, method, secondFactor, address, idleMs, lifetimeMs } = order;
  if ((yield* expectOperator(tx, operator)).state !== 'active') throw new Problem('operator_disabled');
  if (secondFactor !== undefined && !(yield* useSecondFactor(tx, operator, secondFactor))) return undefined;
  yield* tx.run('DELETE FROM operator_sessions WHERE created_at < @before AND expires_at < @before', {
    before: tx.now - RECORD_MS,
  });
  yield* endOldest(tx, operator);
  const id = randomBytes(ID_BYTES).toString('hex');
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  yield* tx.run(
    `INSERT INTO operator_sessions (id, secret_hash, operator_name, method, created_at, last_seen_at, authenticated_at,
       expires_at, idle_ms, address, user_agent)
     VALUES (@id, @hash, @operator, @method, @now, @now, @authenticatedAt, @expiresAt, @idleMs, @address, @userAgent)`,
    {
      id,
      hash: hashOf(secret),
      operator,
      method,
      now: tx.now,
      authenticatedAt: Math.min(order.authenticatedAt ?? tx.now, tx.now),
      expiresAt: tx.now + lifetimeMs,
      idleMs,
      address,
      userAgent: order.userAgent.slice(0, MAX_USER_AGENT),
    },
  );
  const details = { session: id, signedInBy: method, fromAddress: address };
  recordDone(tx, {
    actor: `operator/${operator}`,
    action: 'operator.signed_in',
    subject: `operator/${operator}`,
    details,
  });
  return { record: readRow(yield* expectLive(tx, id)), secret };
}

async function admitSession(database: RegistryDatabase, secret: string): Promise<AdmittedSession | undefined> {
  const hash = hashOf(secret);
  const found = await database.read(function* (tx) {
    const row = yield* tx.get<SessionRow & { readonly operator_role: OperatorRole }>(
      `SELECT s.*, o.role AS operator_role FROM operator_sessions AS s JOIN operators AS o ON o.name = s.operator_name
       WHERE (s.secret_hash = @hash OR (s.former_hash = @hash AND s.former_until > @now))
         AND o.disabled_at IS NULL AND ${LIVE_SESSION}`,
      { hash, now: tx.now },
    );
    return row && { row, now: tx.now };
  });
  if (found === undefined) return undefined;
  const { row, now } = found;
  if (now - row.last_seen_at >= LAST_SEEN_STEP_MS) await recordUse(database, row.id);
  const record = { ...readRow(row), role: row.operator_role };
  return row.secret_hash.equals(hash) ? record : { ...record, authenticatedAt: 0 };
}

/** A registry that cannot write now, because the disk is full, still admits: an operator may free the space. */
async function recordUse(database: RegistryDatabase, id: string): Promise<void> {
  try {
    await database.write((tx) =>
      tx.run('UPDATE operator_sessions SET last_seen_at = @now WHERE id = @id', { id, now: tx.now }),
    );
  } catch (error) {
    if (!(error instanceof Problem && error.code === 'unavailable')) throw error;
  }
}

function* renewSession(
  tx: Transaction,
  randomBytes: (size: number) => Buffer,
  id: string,
  { method, secondFactor }: { readonly method: string; readonly secondFactor?: SecondFactor },
): Steps<BegunOperatorSession | undefined> {
  const { operator_name: operator } = yield* expectLive(tx, id);
  if (secondFactor !== undefined && !(yield* useSecondFactor(tx, operator, secondFactor))) return undefined;
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  yield* tx.run(
    `UPDATE operator_sessions SET former_hash = secret_hash, former_until = @until, secret_hash = @hash,
       authenticated_at = @now, last_seen_at = @now WHERE id = @id`,
    { id, hash: hashOf(secret), now: tx.now, until: tx.now + FORMER_SECRET_MS },
  );
  const details = { session: id, reauthenticatedBy: method };
  recordDone(tx, {
    actor: `operator/${operator}`,
    action: 'operator.reauthenticated',
    subject: `operator/${operator}`,
    details,
  });
  return { record: readRow(yield* expectLive(tx, id)), secret };
}

function* listLive(tx: Transaction, operator: string | undefined): Steps<readonly SessionRow[]> {
  return operator === undefined
    ? yield* tx.all<SessionRow>(`SELECT * FROM operator_sessions WHERE ${LIVE_SESSION} ORDER BY created_at, id`, {
        now: tx.now,
      })
    : yield* tx.all<SessionRow>(
        `SELECT * FROM operator_sessions WHERE operator_name = @operator AND ${LIVE_SESSION} ORDER BY created_at, id`,
        { operator, now: tx.now },
      );
}

function* endSession(tx: Transaction, id: string, actor: Actor): Steps<OperatorSessionRecord> {
  const record = readRow(yield* expectLive(tx, id));
  yield* tx.run('UPDATE operator_sessions SET ended_at = @now WHERE id = @id', { id, now: tx.now });
  recordDone(tx, {
    actor,
    action: 'operator.session.ended',
    subject: `operator/${record.operator}`,
    details: { endedSession: id },
  });
  return record;
}

/** Returns the operators of the sessions that ended. */
function* endAll(tx: Transaction, actor: Actor): Steps<readonly string[]> {
  const operators = (yield* listLive(tx, undefined)).map((row) => row.operator_name);
  yield* tx.run(`UPDATE operator_sessions SET ended_at = @now WHERE ${LIVE_SESSION}`, { now: tx.now });
  const links = yield* tx.run('DELETE FROM sign_in_links', {});
  if (operators.length > 0 || links > 0) {
    const details = { sessions: operators.length, links };
    recordDone(tx, { actor, action: 'operator.session.ended', subject: 'operator/all', details });
  }
  return operators;
}

function* endOldest(tx: Transaction, operator: string): Steps<void> {
  const live = yield* listLive(tx, operator);
  for (const { id } of live.slice(0, Math.max(0, live.length - MAX_SESSIONS + 1)))
    yield* endSession(tx, id, 'server/console');
}

function* expectLive(tx: Transaction, id: string): Steps<SessionRow> {
  const row = yield* tx.get<SessionRow>(`SELECT * FROM operator_sessions WHERE id = @id AND ${LIVE_SESSION}`, {
    id,
    now: tx.now,
  });
  if (row === undefined) throw new Problem('session_unknown');
  return row;
}

function readRow(row: SessionRow): OperatorSessionRecord {
  return {
    id: row.id,
    operator: row.operator_name,
    method: row.method,
    createdAt: row.created_at,
    lastSeenAt: row.last_seen_at,
    authenticatedAt: row.authenticated_at,
    expiresAt: row.expires_at,
    address: row.address,
    userAgent: row.user_agent,
  };
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
