/** Nodes of the fleet: the tokens by which they join, and their certificates. Of a registry that several nodes have. */

import { createHash, timingSafeEqual } from 'node:crypto';
import { type NodeRole, Problem, TOKEN_SECRET_BYTES } from '@rollcall/protocol';
import { auditTime, recordDone, recordRefusedAlone } from './audit/audit.ts';
import { findCertificateByKey, insertCertificate } from './certificates/certificates.ts';
import type { RegistryDatabase } from './database.ts';
import type { Actor, IssuedCertificate } from './registry.ts';
import type { Steps, Transaction } from './transaction.ts';

const TOKEN_ID_BYTES = 8;

export interface NodeTokenRecord {
  readonly id: string;
  /** The node may have keys of CAs. */
  readonly withCaKeys: boolean;
  readonly createdAt: number;
  readonly createdBy: Actor;
  readonly expiresAt: number;
}

export interface CreatedNodeToken {
  readonly record: NodeTokenRecord;
  /** 160 bits, base64url. Not stored: only its hash is. */
  readonly secret: string;
}

export interface PresentedNodeToken {
  readonly id: string;
  readonly secret: string;
}

export interface JoinedNode {
  readonly name: string;
  readonly roles: readonly NodeRole[];
  /** Names and addresses of its listeners. */
  readonly hosts: readonly string[];
  /** Its role in the database. */
  readonly databaseRole: string;
}

export interface NodeCertificateRecord {
  readonly name: string;
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface NodeJoin extends JoinedNode {
  readonly token: PresentedNodeToken;
  readonly certificate: IssuedCertificate;
  readonly address: string;
  /** Keys of CAs are sent with the answer. */
  readonly withCaKeys: boolean;
}

export interface NodeStore {
  /** For one use within so many seconds. */
  createNodeToken(
    order: { readonly withCaKeys: boolean; readonly ttlSeconds: number },
    actor: Actor,
  ): Promise<CreatedNodeToken>;
  /** Tokens that can be used now, in the order of their ids; a page after one of them. */
  listNodeTokens(page: { readonly after: string; readonly limit: number }): Promise<readonly NodeTokenRecord[]>;
  /** Nobody joins with it any more. Problem `node_token_unknown` for one that cannot be used anyway. */
  revokeNodeToken(id: string, actor: Actor): Promise<NodeTokenRecord>;
  /** The token, if it can be used now. Problem `token_rejected`, which is audited. */
  admitNodeToken(token: PresentedNodeToken): Promise<NodeTokenRecord>;
  /**
   * Uses the token up and records node and certificate, in place of the ones that the name had. Returns the database role of the former one.
   * Problem `token_rejected`, `csr_key_reused`.
   */
  commitNode(join: NodeJoin): Promise<{ readonly formerRole: string | undefined }>;
  /** The node whose certificate this is; undefined unless it is good now. */
  findNodeByCertificate(serial: string): Promise<JoinedNode | undefined>;
  /** The newest certificate of each node that joined by a token and was not removed. */
  listNodeCertificates(): Promise<readonly NodeCertificateRecord[]>;
  /** Revokes the certificates of a node. Returns what it had; undefined for one that joined by no token. */
  removeNode(name: string, actor: Actor): Promise<JoinedNode | undefined>;
}

export function createNodeStore(database: RegistryDatabase, randomBytes: (size: number) => Buffer): NodeStore {
  return {
    createNodeToken: async ({ withCaKeys, ttlSeconds }, actor) => {
      const id = randomBytes(TOKEN_ID_BYTES).toString('hex');
      const secret = randomBytes(TOKEN_SECRET_BYTES).toString('base64url');
      const record = await database.write(function* (tx) {
        const expiresAt = tx.now + ttlSeconds * 1_000;
        yield* tx.run(
          `INSERT INTO node_tokens (id, secret_hash, ca_keys, created_at, created_by, expires_at)
           VALUES (@id, @hash, @caKeys, @now, @actor, @expiresAt)`,
          { id, hash: hashOf(secret), caKeys: withCaKeys ? 1 : 0, now: tx.now, actor, expiresAt },
        );
        const details = { expiresAt: auditTime(expiresAt), caKeys: withCaKeys ? 'yes' : 'no' };
        recordDone(tx, { actor, action: 'node.token.created', subject: `nodetoken/${id}`, details });
        return { id, withCaKeys, createdAt: tx.now, createdBy: actor, expiresAt };
      });
      return { record, secret };
    },
    listNodeTokens: async (page) =>
      database.read(function* (tx) {
        const rows = yield* tx.all<TokenRow>(LIST_TOKENS, { ...page, now: tx.now });
        return rows.map(readToken);
      }),
    revokeNodeToken: async (id, actor) =>
      database.write(function* (tx) {
        const row = yield* tx.get<TokenRow>('SELECT * FROM node_tokens WHERE id = @id', { id });
        // This one statement decides against a host that joins at the same moment.
        const removed = yield* tx.run(
          'DELETE FROM node_tokens WHERE id = @id AND used_at IS NULL AND expires_at > @now',
          { id, now: tx.now },
        );
        if (row === undefined || removed !== 1) throw new Problem('node_token_unknown');
        recordDone(tx, { actor, action: 'node.token.revoked', subject: `nodetoken/${id}`, details: {} });
        return readToken(row);
      }),
    admitNodeToken: async (token) => {
      const found = await database.read((tx) => findToken(tx, token));
      if (typeof found !== 'string') return found;
      await recordRefusedAlone(database, {
        actor: `token/${token.id}`,
        action: 'node.join',
        subject: `nodetoken/${token.id}`,
        details: { reason: found },
      });
      throw new Problem('token_rejected', { reason: `node token: ${found}` });
    },
    commitNode: async (join) => database.write((tx) => commitNode(tx, join)),
    findNodeByCertificate: async (serial) => database.read((tx) => findByCertificate(tx, serial)),
    listNodeCertificates: async () => database.read((tx) => tx.all<NodeCertificateRecord>(LIST_CERTIFICATES, {})),
    removeNode: async (name, actor) => database.write((tx) => removeNode(tx, name, actor)),
  };
}

const LIST_CERTIFICATES = `SELECT n.name AS name, c.serial AS serial, c.not_before AS "notBefore", c.not_after AS "notAfter"
  FROM joined_nodes AS n JOIN certificates AS c ON c.server_name = 'node/' || n.name
  WHERE n.removed_at IS NULL AND c.revoked_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM certificates AS later
    WHERE later.server_name = c.server_name AND later.revoked_at IS NULL AND later.not_after > c.not_after)
  ORDER BY n.name`;

const LIST_TOKENS = `SELECT * FROM node_tokens
  WHERE used_at IS NULL AND expires_at > @now AND id > @after ORDER BY id LIMIT @limit`;

interface TokenRow {
  readonly id: string;
  readonly secret_hash: Buffer;
  readonly ca_keys: 0 | 1;
  readonly created_at: number;
  readonly created_by: Actor;
  readonly expires_at: number;
  readonly used_at: number | null;
}

function* findToken(tx: Transaction, { id, secret }: PresentedNodeToken): Steps<NodeTokenRecord | string> {
  const row = yield* tx.get<TokenRow>('SELECT * FROM node_tokens WHERE id = @id', { id });
  if (row === undefined) return 'unknown_token';
  if (!timingSafeEqual(row.secret_hash, hashOf(secret))) return 'wrong_secret';
  if (row.used_at !== null) return 'spent';
  if (row.expires_at <= tx.now) return 'expired';
  return readToken(row);
}

function readToken({ id, ca_keys, created_at: createdAt, created_by: createdBy, expires_at: expiresAt }: TokenRow) {
  return { id, withCaKeys: ca_keys === 1, createdAt, createdBy, expiresAt };
}

interface NodeRow {
  readonly name: string;
  readonly roles: string;
  readonly hosts: string;
  readonly database_role: string;
  readonly removed_at: number | null;
}

function* commitNode(tx: Transaction, join: NodeJoin): Steps<{ readonly formerRole: string | undefined }> {
  const { token, name, roles, hosts, databaseRole, certificate, address, withCaKeys } = join;
  const found = yield* findToken(tx, token);
  // This one statement decides every race.
  const used = yield* tx.run(
    'UPDATE node_tokens SET used_at = @now WHERE id = @id AND used_at IS NULL AND expires_at > @now',
    { id: token.id, now: tx.now },
  );
  if (typeof found === 'string' || used !== 1) throw new Problem('token_rejected', { reason: 'node token: spent' });
  if ((yield* findCertificateByKey(tx, certificate.publicKeySha256)) !== undefined) throw new Problem('csr_key_reused');
  const former = yield* findNode(tx, name);
  yield* revokeCertificates(tx, name, 'superseded');
  const certificateOf = { kind: 'server', name: certificateName(name) } as const;
  yield* insertCertificate(tx, certificateOf, certificate, { operator: found.createdBy, address });
  yield* tx.run(
    `INSERT INTO joined_nodes (name, roles, hosts, database_role, joined_at)
     VALUES (@name, @roles, @hosts, @databaseRole, @now)
     ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, hosts = excluded.hosts,
       database_role = excluded.database_role, joined_at = excluded.joined_at, removed_at = NULL`,
    { name, roles: JSON.stringify(roles), hosts: JSON.stringify(hosts), databaseRole, now: tx.now },
  );
  const { serial, notAfter } = certificate;
  recordDone(tx, {
    actor: `token/${token.id}`,
    action: 'node.joined',
    subject: `node/${name}`,
    details: {
      ...{ serial, notAfter: auditTime(notAfter), roles: roles.join(' '), hosts: hosts.join(' ') },
      ...{ tokenBy: found.createdBy, caKeys: withCaKeys ? 'sent' : 'not sent', fromAddress: address },
    },
  });
  return { formerRole: former?.removed_at === null ? former.database_role : undefined };
}

function* findByCertificate(tx: Transaction, serial: string): Steps<JoinedNode | undefined> {
  const certificate = yield* tx.get<{ readonly server_name: string | null; readonly revoked_at: number | null }>(
    'SELECT server_name, revoked_at FROM certificates WHERE serial = @serial AND not_after > @now',
    { serial, now: tx.now },
  );
  const { server_name: holder = null, revoked_at: revokedAt = null } = certificate ?? {};
  if (holder === null || revokedAt !== null || !holder.startsWith(CERTIFICATES)) return undefined;
  const row = yield* findNode(tx, holder.slice(CERTIFICATES.length));
  return row === undefined || row.removed_at !== null ? undefined : readNode(row);
}

function* removeNode(tx: Transaction, name: string, actor: Actor): Steps<JoinedNode | undefined> {
  const row = yield* findNode(tx, name);
  if (row === undefined) return undefined;
  if (row.removed_at === null) {
    const serials = yield* revokeCertificates(tx, name, 'cessationOfOperation');
    yield* tx.run('UPDATE joined_nodes SET removed_at = @now WHERE name = @name', { name, now: tx.now });
    const details = { serials: serials.join(' ') };
    recordDone(tx, { actor, action: 'node.certificate.revoked', subject: `node/${name}`, details });
  }
  return readNode(row);
}

function* findNode(tx: Transaction, name: string): Steps<NodeRow | undefined> {
  return yield* tx.get<NodeRow>('SELECT * FROM joined_nodes WHERE name = @name', { name });
}

function* revokeCertificates(
  tx: Transaction,
  name: string,
  reason: 'superseded' | 'cessationOfOperation',
): Steps<readonly string[]> {
  const holder = certificateName(name);
  const found = yield* tx.all<{ readonly serial: string }>(
    'SELECT serial FROM certificates WHERE server_name = @holder AND revoked_at IS NULL AND not_after > @now ORDER BY serial',
    { holder, now: tx.now },
  );
  yield* tx.run(
    `UPDATE certificates SET revoked_at = @now, revocation_reason = @reason
     WHERE server_name = @holder AND revoked_at IS NULL AND not_after > @now`,
    { holder, reason, now: tx.now },
  );
  return found.map(({ serial }) => serial);
}

const CERTIFICATES = 'node/';

/** The name of the server under which certificates of a node are recorded: they are no device's and no service's. */
export function certificateName(node: string): string {
  return `${CERTIFICATES}${node}`;
}

function readNode({ name, roles, hosts, database_role: databaseRole }: NodeRow): JoinedNode {
  return { name, roles: JSON.parse(roles) as NodeRole[], hosts: JSON.parse(hosts) as string[], databaseRole };
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
