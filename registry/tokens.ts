/**
 * Bootstrap tokens: minted, listed, voided, checked, spent. Only the SHA-256 of a secret is kept: of 160 random bits
 * it cannot be guessed back, so a slow hash would only slow the fleet down.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { type DeviceId, type GroupName, Problem, TOKEN_SECRET_BYTES } from '@rollcall/protocol';
import { auditTime, recordDone } from './audit.ts';
import { belongsToService } from './client-id-ownership.ts';
import type { RegistryDatabase } from './database.ts';
import { checkLabels, readLabels, writeLabels } from './labels.ts';
import type { Actor, CreatedToken, TokenRecord, TokenRequest } from './registry.ts';
import type { Transaction } from './transaction.ts';

const TOKEN_ID_BYTES = 8;
const MAX_USES = 1_000_000;
const MAX_TTL_SECONDS = 30 * 24 * 3600;

interface TokenRow {
  readonly id: string;
  readonly secret_hash: Buffer;
  readonly max_uses: number;
  readonly uses: number;
  readonly group_name: GroupName;
  readonly labels: string;
  readonly device_id: DeviceId | null;
  readonly minted_at: number;
  readonly minted_by: Actor;
  readonly expires_at: number;
  readonly voided_at: number | null;
}

/** Throws Problem `token_order_invalid`. */
export function createToken(
  database: RegistryDatabase,
  randomBytes: (size: number) => Buffer,
  order: TokenRequest,
  actor: Actor,
): CreatedToken {
  checkTokenRequest(order);
  const id = randomBytes(TOKEN_ID_BYTES).toString('hex');
  const secret = randomBytes(TOKEN_SECRET_BYTES).toString('base64url');
  const record = database.write((tx) => {
    if (order.device !== undefined && belongsToService(tx, order.device)) {
      throw new Problem('token_order_invalid', { detail: 'expected a device id that no service uses' });
    }
    const expiresAt = tx.now + order.ttlSeconds * 1000;
    tx.run(
      `INSERT INTO tokens (id, secret_hash, max_uses, group_name, labels, device_id, minted_at, minted_by, expires_at)
       VALUES (@id, @hash, @maxUses, @group, @labels, @device, @now, @actor, @expiresAt)`,
      {
        id,
        hash: hashSecret(secret),
        maxUses: order.maxUses,
        group: order.group,
        labels: writeLabels(order.labels),
        device: order.device ?? null,
        now: tx.now,
        actor,
        expiresAt,
      },
    );
    recordDone(tx, {
      actor,
      action: 'token.minted',
      subject: `token/${id}`,
      details: {
        maxUses: order.maxUses,
        expiresAt: auditTime(expiresAt),
        group: order.group,
        labels: writeLabels(order.labels),
        ...(order.device === undefined ? {} : { device: order.device }),
      },
    });
    return expectToken(tx, id);
  });
  return { record, secret };
}

/** Oldest first. */
export function listTokens(database: RegistryDatabase): readonly TokenRecord[] {
  return database.read((tx) =>
    tx.all<TokenRow>('SELECT * FROM tokens ORDER BY minted_at, id', {}).map((row) => readRow(row, tx.now)),
  );
}

/** Undefined when there is no such token. A token that is void already keeps its time and makes no audit entry. */
export function revokeToken(database: RegistryDatabase, id: string, actor: Actor): TokenRecord | undefined {
  return database.write((tx) => {
    if (tx.run('UPDATE tokens SET voided_at = @now WHERE id = @id AND voided_at IS NULL', { id, now: tx.now }) > 0) {
      recordDone(tx, { actor, action: 'token.voided', subject: `token/${id}` });
    }
    return findToken(tx, id);
  });
}

/** Voids what could still enroll exactly this device, because the device was revoked: a new token has to be minted. */
export function revokeTokensFor(tx: Transaction, device: DeviceId, actor: Actor): void {
  const open = tx.all<{ id: string }>(
    'SELECT id FROM tokens WHERE device_id = @device AND uses < max_uses AND voided_at IS NULL ORDER BY id',
    { device },
  );
  for (const { id } of open) {
    tx.run('UPDATE tokens SET voided_at = @now WHERE id = @id', { id, now: tx.now });
    recordDone(tx, { actor, action: 'token.voided', subject: `token/${id}`, details: { device } });
  }
}

export function findToken(tx: Transaction, id: string): TokenRecord | undefined {
  const row = findRow(tx, id);
  return row && readRow(row, tx.now);
}

/** Undefined when there is no such token; compares in constant time. */
export function isTokenSecret(tx: Transaction, id: string, secret: string): boolean | undefined {
  const row = findRow(tx, id);
  return row && timingSafeEqual(row.secret_hash, hashSecret(secret));
}

/** Takes one use; false when there is none to take. This one statement decides every race. */
export function consumeToken(tx: Transaction, id: string): boolean {
  const changed = tx.run(
    `UPDATE tokens SET uses = uses + 1
     WHERE id = @id AND uses < max_uses AND expires_at > @now AND voided_at IS NULL`,
    { id, now: tx.now },
  );
  return changed === 1;
}

function checkTokenRequest(order: TokenRequest): void {
  const { maxUses, ttlSeconds } = order;
  if (!Number.isInteger(maxUses) || maxUses < 1 || maxUses > MAX_USES) {
    throw invalid(`expected 1 to ${MAX_USES} uses, found ${Number(maxUses)}`);
  }
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS) {
    throw invalid(`expected a life of 1 to ${MAX_TTL_SECONDS} seconds (30 days), found ${Number(ttlSeconds)}`);
  }
  if (order.device !== undefined && maxUses !== 1) {
    throw invalid(`expected one use for a token that names its device, found ${maxUses}`);
  }
  checkLabels(order.labels, 'token_order_invalid');
}

function invalid(detail: string): Problem {
  return new Problem('token_order_invalid', { detail });
}

function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret, 'utf8').digest();
}

function findRow(tx: Transaction, id: string): TokenRow | undefined {
  return tx.get<TokenRow>('SELECT * FROM tokens WHERE id = @id', { id });
}

function expectToken(tx: Transaction, id: string): TokenRecord {
  const token = findToken(tx, id);
  if (token === undefined) throw new Problem('internal', { reason: `expected token ${id}, found none` });
  return token;
}

function readRow(row: TokenRow, now: number): TokenRecord {
  return {
    id: row.id,
    maxUses: row.max_uses,
    uses: row.uses,
    group: row.group_name,
    labels: readLabels(row.labels),
    device: row.device_id ?? undefined,
    createdAt: row.minted_at,
    createdBy: row.minted_by,
    expiresAt: row.expires_at,
    revokedAt: row.voided_at ?? undefined,
    state: stateOf(row, now),
  };
}

function stateOf(row: TokenRow, now: number): TokenRecord['state'] {
  if (row.voided_at !== null) return 'void';
  if (row.uses >= row.max_uses) return 'spent';
  return row.expires_at > now ? 'usable' : 'expired';
}
