import { type DeviceId, formatIdentity, type Identity, Problem, type ServiceName } from '@rollcall/protocol';
import { auditTime, recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Actor, CertificateRecord, IssuedCertificate, RevocationReason } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';

const SERIAL = /^[1-9a-f][0-9a-f]{0,39}$/; // RFC 5280, section 4.1.2.2: positive, at most 20 octets
const SHA256 = /^[0-9a-f]{64}$/;

interface CertificateRow {
  readonly serial: string;
  readonly device_id: DeviceId | null;
  readonly service_name: ServiceName | null;
  readonly server_name: string | null;
  readonly public_key_sha256: string;
  readonly not_before: number;
  readonly not_after: number;
  readonly issued_at: number;
  readonly parent_serial: string | null;
  readonly token_id: string | null;
  readonly operator: Actor | null;
  readonly address: string | null;
  readonly revoked_at: number | null;
  readonly revocation_reason: RevocationReason | null;
  readonly issuer_id: string | null;
  readonly proven_at: number | null;
  readonly superseded_at: number | null;
  readonly recovered: 0 | 1;
  readonly der: Buffer;
}

export interface Origin {
  readonly parentSerial?: string;
  readonly tokenId?: string | undefined;
  readonly operator?: Actor | undefined;
  readonly address?: string;
  /** Its key had a certificate that has expired. */
  readonly recovered?: true;
}

/** Throws, and so rolls the transaction back, for a serial or key that was used before. */
export function* insertCertificate(
  tx: Transaction,
  holder: CertificateRecord['holder'],
  certificate: IssuedCertificate,
  origin: Origin,
): Steps<CertificateRecord> {
  checkIssued(certificate);
  yield* tx.run(
    `INSERT INTO certificates (serial, device_id, service_name, server_name, public_key_sha256, not_before, not_after,
       issued_at, parent_serial, token_id, operator, address, issuer_id, recovered, der)
     VALUES (@serial, @device, @service, @server, @key, @notBefore, @notAfter, @now, @parent, @token, @operator, @address,
       @issuer, @recovered, @der)`,
    {
      serial: certificate.serial,
      device: holder.kind === 'device' ? holder.id : null,
      service: holder.kind === 'service' ? holder.name : null,
      server: holder.kind === 'server' ? holder.name : null,
      key: certificate.publicKeySha256,
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
      now: tx.now,
      parent: origin.parentSerial ?? null,
      token: origin.tokenId ?? null,
      operator: origin.operator ?? null,
      address: origin.address ?? null,
      issuer: certificate.issuerId ?? null,
      recovered: origin.recovered === undefined ? 0 : 1,
      der: certificate.der,
    },
  );
  if (holder.kind === 'device') {
    const end = { id: holder.id, at: certificate.notAfter };
    yield* tx.run('UPDATE devices SET certificate_ends_at = @at WHERE id = @id', end);
  }
  return {
    ...certificate,
    holder,
    issuedAt: tx.now,
    parentSerial: origin.parentSerial,
    tokenId: origin.tokenId,
    operator: origin.operator,
    address: origin.address,
    firstUsedAt: undefined,
    supersededAt: undefined,
    isRecovered: origin.recovered === true,
    revokedAt: undefined,
    revocationReason: undefined,
  };
}

export function* findCertificate(tx: Transaction, serial: string): Steps<CertificateRecord | undefined> {
  const row = yield* tx.get<CertificateRow>('SELECT * FROM certificates WHERE serial = @serial', { serial });
  return row && readRow(row);
}

/** Before a change that depends on the other certificates of the same holder. */
export function* lockHolderOf(tx: Transaction, serial: string): Steps<void> {
  const holder = (yield* findCertificate(tx, serial))?.holder;
  if (holder !== undefined && holder.kind !== 'server') yield* tx.lock('holder', [formatIdentity(holder)]);
}

/** The newest certificate ever issued for this key: of a device, a service, or the server itself. */
export function* findCertificateByKey(tx: Transaction, publicKeySha256: string): Steps<CertificateRecord | undefined> {
  const row = yield* tx.get<CertificateRow>(
    `SELECT * FROM (
       SELECT * FROM certificates WHERE public_key_sha256 = @key AND recovered = 1
       ORDER BY issued_at DESC, rowid DESC LIMIT 1
     ) AS recovered
     UNION ALL
     SELECT * FROM certificates WHERE public_key_sha256 = @key AND server_name IS NULL AND recovered = 0
     UNION ALL
     SELECT * FROM certificates WHERE public_key_sha256 = @key AND server_name IS NOT NULL
     LIMIT 1`,
    { key: publicKeySha256 },
  );
  return row && readRow(row);
}

/** Every certificate that was issued to this holder, oldest first. */
export function* certificatesOf(
  tx: Transaction,
  holder: Identity,
  newest = Number.MAX_SAFE_INTEGER,
): Steps<readonly CertificateRecord[]> {
  const newestFirst = 'ORDER BY issued_at DESC, rowid DESC LIMIT @newest';
  const rows =
    holder.kind === 'device'
      ? yield* tx.all<CertificateRow>(`SELECT * FROM certificates WHERE device_id = @name ${newestFirst}`, {
          name: holder.id,
          newest,
        })
      : yield* tx.all<CertificateRow>(`SELECT * FROM certificates WHERE service_name = @name ${newestFirst}`, {
          name: holder.name,
          newest,
        });
  return rows.map(readRow).reverse();
}

/** Unrevoked certificates, also expired ones, oldest first. */
export function* unrevokedSerialsOf(tx: Transaction, holder: Identity): Steps<readonly string[]> {
  const rows =
    holder.kind === 'device'
      ? yield* tx.all<{ serial: string }>(
          'SELECT serial FROM certificates WHERE device_id = @name AND revoked_at IS NULL ORDER BY issued_at, rowid',
          { name: holder.id },
        )
      : yield* tx.all<{ serial: string }>(
          'SELECT serial FROM certificates WHERE service_name = @name AND revoked_at IS NULL ORDER BY issued_at, rowid',
          { name: holder.name },
        );
  return rows.map((row) => row.serial);
}

export function isLive(certificate: CertificateRecord, now: number): boolean {
  const { revokedAt, notAfter, supersededAt } = certificate;
  return revokedAt === undefined && notAfter > now && (supersededAt === undefined || supersededAt > now);
}

export async function recordServerCertificate(
  database: RegistryDatabase,
  name: string,
  certificate: IssuedCertificate,
): Promise<void> {
  await database.write(function* (tx) {
    yield* insertCertificate(tx, { kind: 'server', name }, certificate, { operator: 'server/enroll' });
    recordDone(tx, {
      actor: 'server/enroll',
      action: 'certificate.recorded',
      subject: `server/${name}`,
      details: { serial: certificate.serial, notAfter: auditTime(certificate.notAfter) },
    });
  });
}

/** Certificates issued from this token, directly or by renewal, oldest first. */
export function* certificatesIssuedFrom(tx: Transaction, tokenId: string): Steps<readonly CertificateRecord[]> {
  const sql = 'SELECT * FROM certificates WHERE token_id = @tokenId ORDER BY issued_at, rowid';
  return (yield* tx.all<CertificateRow>(sql, { tokenId })).map(readRow);
}

function checkIssued(certificate: IssuedCertificate): void {
  const { serial, publicKeySha256, notBefore, notAfter, der } = certificate;
  const sound =
    SERIAL.test(serial) &&
    SHA256.test(publicKeySha256) &&
    Number.isSafeInteger(notBefore) &&
    Number.isSafeInteger(notAfter) &&
    notBefore < notAfter &&
    der.byteLength > 0;
  if (!sound) throw new Problem('internal', { reason: 'expected a complete issued certificate, found another shape' });
}

function identityOf(row: Pick<CertificateRow, 'device_id' | 'service_name'>): Identity | undefined {
  if (row.device_id !== null) return { kind: 'device', id: row.device_id };
  if (row.service_name !== null) return { kind: 'service', name: row.service_name };
  return undefined;
}

function readRow(row: CertificateRow): CertificateRecord {
  return {
    serial: row.serial,
    der: row.der,
    issuerId: row.issuer_id ?? undefined,
    publicKeySha256: row.public_key_sha256,
    notBefore: row.not_before,
    notAfter: row.not_after,
    holder: identityOf(row) ?? { kind: 'server', name: row.server_name ?? '' },
    issuedAt: row.issued_at,
    parentSerial: row.parent_serial ?? undefined,
    tokenId: row.token_id ?? undefined,
    operator: row.operator ?? undefined,
    address: row.address ?? undefined,
    firstUsedAt: row.proven_at ?? undefined,
    supersededAt: row.superseded_at ?? undefined,
    isRecovered: row.recovered === 1,
    revokedAt: row.revoked_at ?? undefined,
    revocationReason: row.revocation_reason ?? undefined,
  };
}
