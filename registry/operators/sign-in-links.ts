/**
 * One-time links, with which an operator sets a password: at first set-up, as an invitation, or for a forgotten password. Only the
 * SHA-256 of the secret is stored.
 */

import { createHash } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { auditTime, recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Listeners } from '../listeners.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { removeLinks } from './end-operator-access.ts';
import { setPassword } from './operator-passwords.ts';
import { type BegunOperatorSession, beginSession, type OperatorSessionOrder } from './operator-sessions.ts';
import { addOperator, expectOperator, type OperatorAccessEnded } from './operators.ts';
import { endAccess, writeOperators } from './write-operators.ts';

const SECRET_BYTES = 32;
const LIFETIME_MS = 86_400_000;

export interface SignInLinkRecord {
  /** Undefined for the link of the first set-up, whose user chooses a name. */
  readonly operator: string | undefined;
  readonly createdAt: number;
  readonly createdBy: Actor;
  readonly expiresAt: number;
}

export interface CreatedSignInLink {
  readonly record: SignInLinkRecord;
  /** 256 bits, base64url. Not stored: only its hash is. */
  readonly secret: string;
}

export interface SignInLinkUse {
  readonly secret: string;
  readonly passwordHash: string;
  /** `operator`: of the link, or the name that its user chose at first set-up. */
  readonly session: OperatorSessionOrder;
}

export interface SignInLinkStore {
  /** Whether there is no operator yet. */
  needsFirstOperator(): Promise<boolean>;
  /**
   * Valid for 24 hours; the former link for the same operator, or of the first set-up, is not accepted from now on. Problem
   * `operator_unknown` or `operator_disabled`; without an operator `set_up_done` when there is one.
   */
  createSignInLink(operator: string | undefined, actor: Actor): Promise<CreatedSignInLink>;
  /** Undefined unless the link can be used now. */
  findSignInLink(secret: string): Promise<SignInLinkRecord | undefined>;
  /**
   * Sets the password, ends all other sessions of the operator, begins one, and uses the link up. At first set-up it adds the operator
   * with the role admin. Undefined when the second factor was used before. Problem `link_invalid` for a link that cannot be used
   * now or names another operator, `request_invalid` for a name that no operator may have.
   */
  useSignInLink(use: SignInLinkUse): Promise<BegunOperatorSession | undefined>;
}

export function createSignInLinkStore(
  database: RegistryDatabase,
  ended: Listeners<OperatorAccessEnded>,
  randomBytes: (size: number) => Buffer,
): SignInLinkStore {
  return {
    needsFirstOperator: async () => database.read(hasNoOperator),
    createSignInLink: async (operator, actor) => {
      const secret = randomBytes(SECRET_BYTES).toString('base64url');
      return { record: await writeOperators(database, (tx) => createLink(tx, operator, secret, actor)), secret };
    },
    findSignInLink: async (secret) => database.read((tx) => findLink(tx, secret)),
    useSignInLink: async (use) =>
      endAccess(
        database,
        ended,
        (tx) => useLink(tx, randomBytes, use),
        (begun) =>
          begun === undefined ? [] : [{ operator: begun.record.operator, sessions: { except: begun.record.id } }],
      ),
  };
}

interface LinkRow {
  readonly operator_name: string | null;
  readonly created_at: number;
  readonly created_by: Actor;
  readonly expires_at: number;
}

function* hasNoOperator(tx: Transaction): Steps<boolean> {
  return (yield* tx.get('SELECT 1 FROM operators LIMIT 1', {})) === undefined;
}

function* createLink(
  tx: Transaction,
  operator: string | undefined,
  secret: string,
  actor: Actor,
): Steps<SignInLinkRecord> {
  if (operator === undefined) {
    if (!(yield* hasNoOperator(tx))) throw new Problem('set_up_done');
  } else if ((yield* expectOperator(tx, operator)).state !== 'active') throw new Problem('operator_disabled');
  yield* removeLinks(tx, operator);
  yield* tx.run('DELETE FROM sign_in_links WHERE expires_at <= @now', { now: tx.now });
  const expiresAt = tx.now + LIFETIME_MS;
  yield* tx.run(
    `INSERT INTO sign_in_links (secret_hash, operator_name, created_at, created_by, expires_at)
     VALUES (@hash, @operator, @now, @actor, @expiresAt)`,
    { hash: hashOf(secret), operator: operator ?? null, now: tx.now, actor, expiresAt },
  );
  const subject = operator === undefined ? 'server/console' : `operator/${operator}`;
  const details = { expiresAt: auditTime(expiresAt) };
  recordDone(tx, { actor, action: 'operator.link.created', subject, details });
  return { operator, createdAt: tx.now, createdBy: actor, expiresAt };
}

function* findLink(tx: Transaction, secret: string): Steps<SignInLinkRecord | undefined> {
  const row = yield* tx.get<LinkRow>(
    `SELECT l.* FROM sign_in_links AS l LEFT JOIN operators AS o ON o.name = l.operator_name
     WHERE l.secret_hash = @hash AND l.expires_at > @now AND o.disabled_at IS NULL`,
    { hash: hashOf(secret), now: tx.now },
  );
  if (row === undefined || (row.operator_name === null && !(yield* hasNoOperator(tx)))) return undefined;
  return {
    operator: row.operator_name ?? undefined,
    createdAt: row.created_at,
    createdBy: row.created_by,
    expiresAt: row.expires_at,
  };
}

function* useLink(
  tx: Transaction,
  randomBytes: (size: number) => Buffer,
  { secret, passwordHash, session }: SignInLinkUse,
): Steps<BegunOperatorSession | undefined> {
  const { operator } = session;
  const link = yield* findLink(tx, secret);
  if (link === undefined || (link.operator !== undefined && link.operator !== operator)) {
    throw new Problem('link_invalid');
  }
  const actor: Actor = `operator/${operator}`;
  if (link.operator === undefined) yield* addOperator(tx, { name: operator, role: 'admin' }, actor);
  const begun = yield* beginSession(tx, randomBytes, session);
  if (begun === undefined) return undefined;
  yield* removeLinks(tx, link.operator);
  recordDone(tx, {
    actor,
    action: 'operator.link.used',
    subject: `operator/${operator}`,
    details: { session: begun.record.id, linkBy: link.createdBy, fromAddress: session.address },
  });
  yield* setPassword(tx, operator, passwordHash, begun.record.id, actor);
  return begun;
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
