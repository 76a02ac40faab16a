/** Bootstrap tokens: listed and revoked. Created in `create-token.ts`, consumed in `consume-token.ts`. */

import type { DeviceId, GroupName } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import { readLabels } from '../devices/labels.ts';
import type { Actor, Labels } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { createToken } from './create-token.ts';

export interface TokenRequest {
  /** How many devices may enroll with it, 1 to 1,000,000. */
  readonly maxUses: number;
  /** Life in seconds, 1 to 30 days. */
  readonly ttlSeconds: number;
  readonly group: GroupName;
  readonly labels: Labels;
  /** The only device that may use it; then `maxUses` is 1. It may also re-enroll a device that exists or was revoked. */
  readonly device?: DeviceId;
  readonly loadTest?: LoadTestOrder;
}

/** Exempts addresses from the limits per address while the token lives, at most a day, whether it was used up or not. */
export interface LoadTestOrder {
  /** Texts that `parseAddressNetwork` accepts; 1 to 16, of /16 or longer for IPv4 and /48 or longer for IPv6. */
  readonly from: readonly string[];
  /** Of each kind of request and connection: 1 to 10,000. */
  readonly perSecond: number;
}

export interface TokenRecord {
  readonly id: string;
  readonly maxUses: number;
  readonly uses: number;
  readonly group: GroupName;
  readonly labels: Labels;
  readonly device: DeviceId | undefined;
  readonly createdAt: number;
  readonly createdBy: Actor;
  readonly expiresAt: number;
  readonly revokedAt: number | undefined;
  readonly loadTest: LoadTestOrder | undefined;
  readonly state: 'usable' | 'spent' | 'expired' | 'void';
}

export interface CreatedToken {
  readonly record: TokenRecord;
  /** 160 bits, base64url. Not stored: only its hash is. */
  readonly secret: string;
}

export interface TokenStore {
  /** Problem `token_order_invalid` for a request outside the limits. */
  createToken(request: TokenRequest, actor: Actor): Promise<CreatedToken>;
  findToken(id: string): Promise<TokenRecord | undefined>;
  /** Oldest first. */
  listTokens(): Promise<readonly TokenRecord[]>;
  /** Tokens with a load test that are neither expired nor revoked, oldest end first, at most 100. */
  listLoadTests(): Promise<readonly TokenRecord[]>;
  /** Undefined when there is no such token. Revoking twice changes nothing the second time. */
  revokeToken(id: string, actor: Actor): Promise<TokenRecord | undefined>;
}

export function createTokenStore(database: RegistryDatabase, randomBytes: (size: number) => Buffer): TokenStore {
  return {
    createToken: async (request, actor) => createToken(database, randomBytes, request, actor),
    findToken: async (id) => database.read((tx) => findToken(tx, id)),
    listTokens: async () => listTokens(database),
    listLoadTests: async () => listLoadTests(database),
    revokeToken: async (id, actor) => revokeToken(database, id, actor),
  };
}

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
  readonly load_test: string | null;
}

/** Oldest first. */
export async function listTokens(database: RegistryDatabase): Promise<readonly TokenRecord[]> {
  return database.read(function* (tx) {
    return (yield* tx.all<TokenRow>('SELECT * FROM tokens ORDER BY minted_at, id', {})).map((row) =>
      readToken(row, tx.now),
    );
  });
}

async function listLoadTests(database: RegistryDatabase): Promise<readonly TokenRecord[]> {
  return database.read(function* (tx) {
    return (yield* tx.all<TokenRow>(
      `SELECT * FROM tokens WHERE load_test IS NOT NULL AND voided_at IS NULL AND expires_at > @now
         ORDER BY expires_at LIMIT 100`,
      { now: tx.now },
    )).map((row) => readToken(row, tx.now));
  });
}

/** Undefined when there is no such token. A token that is revoked already keeps its time and adds no audit entry. */
export async function revokeToken(
  database: RegistryDatabase,
  id: string,
  actor: Actor,
): Promise<TokenRecord | undefined> {
  return database.write(function* (tx) {
    if (
      (yield* tx.run('UPDATE tokens SET voided_at = @now WHERE id = @id AND voided_at IS NULL', { id, now: tx.now })) >
      0
    ) {
      recordDone(tx, { actor, action: 'token.voided', subject: `token/${id}` });
    }
    return yield* findToken(tx, id);
  });
}

export function* findToken(tx: Transaction, id: string): Steps<TokenRecord | undefined> {
  const row = yield* findTokenRow(tx, id);
  return row && readToken(row, tx.now);
}

export function* findTokenRow(tx: Transaction, id: string): Steps<TokenRow | undefined> {
  return yield* tx.get<TokenRow>('SELECT * FROM tokens WHERE id = @id', { id });
}

export function readToken(row: TokenRow, now: number): TokenRecord {
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
    loadTest: row.load_test === null ? undefined : (JSON.parse(row.load_test) as LoadTestOrder),
    state: stateOf(row, now),
  };
}

function stateOf(row: TokenRow, now: number): TokenRecord['state'] {
  if (row.voided_at !== null) return 'void';
  if (row.uses >= row.max_uses) return 'spent';
  return row.expires_at > now ? 'usable' : 'expired';
}
