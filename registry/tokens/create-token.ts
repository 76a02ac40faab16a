/**
 * Creates a bootstrap token. Only the SHA-256 of its secret is stored: the secret has 160 random bits, which cannot be
 * guessed, so a slow password hash would add nothing but enrollment time.
 */

import { createHash } from 'node:crypto';
import { ADDRESS_NETWORK_RULE, Problem, parseAddressNetwork, TOKEN_SECRET_BYTES } from '@rollcall/protocol';
import { auditTime, recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import { belongsToService } from '../devices/client-id-ownership.ts';
import { checkLabels, writeLabels } from '../devices/labels.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { type CreatedToken, findToken, type LoadTestOrder, type TokenRecord, type TokenRequest } from './tokens.ts';

const TOKEN_ID_BYTES = 8;
const MAX_USES = 1_000_000;
const MAX_TTL_SECONDS = 30 * 24 * 3600;
const LOAD_TEST_TTL_SECONDS = 24 * 3600;
const LOAD_TEST_RATE = 10_000;
const LOAD_TEST_NETWORKS = 16;

/** Throws Problem `token_order_invalid`. */
export async function createToken(
  database: RegistryDatabase,
  randomBytes: (size: number) => Buffer,
  request: TokenRequest,
  actor: Actor,
): Promise<CreatedToken> {
  checkTokenRequest(request);
  const id = randomBytes(TOKEN_ID_BYTES).toString('hex');
  const secret = randomBytes(TOKEN_SECRET_BYTES).toString('base64url');
  const record = await database.write(function* (tx) {
    if (request.device !== undefined && (yield* belongsToService(tx, request.device))) {
      throw new Problem('token_order_invalid', { detail: 'expected a device id that no service uses' });
    }
    const expiresAt = tx.now + request.ttlSeconds * 1000;
    yield* tx.run(
      `INSERT INTO tokens (id, secret_hash, max_uses, group_name, labels, device_id, minted_at, minted_by, expires_at, load_test)
       VALUES (@id, @hash, @maxUses, @group, @labels, @device, @now, @actor, @expiresAt, @loadTest)`,
      {
        id,
        hash: hashTokenSecret(secret),
        maxUses: request.maxUses,
        group: request.group,
        labels: writeLabels(request.labels),
        device: request.device ?? null,
        now: tx.now,
        actor,
        expiresAt,
        loadTest: request.loadTest === undefined ? null : JSON.stringify(request.loadTest),
      },
    );
    recordDone(tx, {
      actor,
      action: 'token.minted',
      subject: `token/${id}`,
      details: {
        maxUses: request.maxUses,
        expiresAt: auditTime(expiresAt),
        group: request.group,
        labels: writeLabels(request.labels),
        ...(request.device === undefined ? {} : { device: request.device }),
        ...(request.loadTest === undefined
          ? {}
          : { loadTestFrom: request.loadTest.from.join(' '), loadTestPerSecond: request.loadTest.perSecond }),
      },
    });
    return yield* created(tx, id);
  });
  return { record, secret };
}

export function hashTokenSecret(secret: string): Buffer {
  return createHash('sha256').update(secret, 'utf8').digest();
}

function checkTokenRequest(request: TokenRequest): void {
  const { maxUses, ttlSeconds } = request;
  if (!Number.isInteger(maxUses) || maxUses < 1 || maxUses > MAX_USES) {
    throw invalid(`expected 1 to ${MAX_USES} uses, found ${Number(maxUses)}`);
  }
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS) {
    throw invalid(`expected a life of 1 to ${MAX_TTL_SECONDS} seconds (30 days), found ${Number(ttlSeconds)}`);
  }
  if (request.device !== undefined && maxUses !== 1) {
    throw invalid(`expected one use for a token that names its device, found ${maxUses}`);
  }
  checkLabels(request.labels, 'token_order_invalid');
  if (request.loadTest !== undefined) checkLoadTest(request.loadTest, ttlSeconds);
}

function checkLoadTest({ from, perSecond }: LoadTestOrder, ttlSeconds: number): void {
  if (ttlSeconds > LOAD_TEST_TTL_SECONDS) throw invalid('expected a load test of at most a day (86400 seconds)');
  if (!Number.isInteger(perSecond) || perSecond < 1 || perSecond > LOAD_TEST_RATE) {
    throw invalid(`expected a rate of 1 to ${LOAD_TEST_RATE} per second, found ${Number(perSecond)}`);
  }
  if (from.length < 1 || from.length > LOAD_TEST_NETWORKS) {
    throw invalid(`expected 1 to ${LOAD_TEST_NETWORKS} addresses of a load test, found ${from.length}`);
  }
  for (const text of from) {
    const network = parseAddressNetwork(text);
    if (network === undefined) throw invalid(`expected as address of a load test ${ADDRESS_NETWORK_RULE}`);
    const least = network.family === 'ipv4' ? 16 : 48;
    if (network.prefix < least)
      throw invalid(`expected a network of /${least} or smaller for a load test, found ${text}`);
  }
}

function invalid(detail: string): Problem {
  return new Problem('token_order_invalid', { detail });
}

function* created(tx: Transaction, id: string): Steps<TokenRecord> {
  const token = yield* findToken(tx, id);
  if (token === undefined) throw new Problem('internal', { reason: `expected token ${id}, found none` });
  return token;
}
