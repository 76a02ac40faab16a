/** Services: back-end applications with a certificate. Issued, listed and revoked. */

import { type Identity, Problem, type ServiceName } from '@rollcall/protocol';
import { auditTime, recordDone } from './audit/audit.ts';
import { findCertificateByKey, insertCertificate } from './certificates/certificates.ts';
import { type RevocationRequest, recordedRevocation, revokeHolder } from './certificates/revoke-holder.ts';
import type { RegistryDatabase } from './database.ts';
import { overlapsOthers } from './devices/client-id-ownership.ts';
import type { TerminationReport } from './devices/device-operation-types.ts';
import type { Listeners } from './listeners.ts';
import type { Actor, IssuedCertificate, Revocation, RevocationReason, ServiceRecord } from './registry.ts';
import type { Steps, Transaction } from './transaction.ts';

export interface ServiceOrder {
  readonly actor: Actor;
  readonly again?: boolean;
}

export interface ServiceStore {
  /**
   * Records a service with its certificate; Problem `service_exists` when the name is taken or overlaps another. With `again` an active
   * service gets another certificate, and its earlier ones stay valid.
   */
  commitService(name: ServiceName, certificate: IssuedCertificate, order: ServiceOrder): Promise<ServiceRecord>;
  /** In name order. */
  listServices(): Promise<readonly ServiceRecord[]>;
  /** Resolves when every broker has ended its sessions. Problem `service_unknown`. */
  revokeService(name: ServiceName, reason: RevocationReason, actor: Actor): Promise<Revocation>;
}

export function createServiceStore(
  database: RegistryDatabase,
  revocations: Listeners<Revocation, TerminationReport>,
): ServiceStore {
  return {
    commitService: async (name, certificate, order) => commitService(database, name, certificate, order),
    listServices: async () => listServices(database),
    revokeService: async (name, reason, actor) => {
      const committed = await database.write(function* (tx) {
        const revocation = yield* revokeService(tx, name, { reason, actor });
        revocations.publish(tx, revocation);
        return revocation;
      });
      await revocations.notify([committed]);
      return committed;
    },
  };
}

interface ServiceRow {
  readonly name: ServiceName;
  readonly issued_at: number;
  /** End of the certificate that ends last; null for a revoked service. */
  readonly expires_at: number | null;
  readonly revoked_at: number | null;
  readonly revocation_reason: RevocationReason | null;
}

interface FoundService extends ServiceRecord {
  readonly revocationReason: RevocationReason | undefined;
}

/** Throws Problem `service_exists` when an active service has the name, unless `again`, or when it overlaps a device or another service. */
async function commitService(
  database: RegistryDatabase,
  name: ServiceName,
  certificate: IssuedCertificate,
  { actor, again = false }: ServiceOrder,
): Promise<ServiceRecord> {
  return database.write(function* (tx) {
    yield* tx.lock('names');
    yield* tx.lock('holder', [`service/${name}`]);
    const earlier = yield* findService(tx, name);
    if ((earlier?.status === 'active' && !again) || (yield* overlapsOthers(tx, name)))
      throw new Problem('service_exists');
    if ((yield* findCertificateByKey(tx, certificate.publicKeySha256)) !== undefined)
      throw new Problem('csr_key_reused');
    if (earlier?.status !== 'active')
      yield* tx.run(
        `INSERT INTO services (name, issued_at) VALUES (@name, @now)
       ON CONFLICT (name) DO UPDATE SET issued_at = excluded.issued_at, revoked_at = NULL, revocation_reason = NULL`,
        { name, now: tx.now },
      );
    yield* insertCertificate(tx, { kind: 'service', name }, certificate, { operator: actor });
    recordDone(tx, {
      actor,
      action: 'service.issued',
      subject: `service/${name}`,
      details: { serial: certificate.serial, notAfter: auditTime(certificate.notAfter) },
    });
    return recordOf((yield* findService(tx, name)) as FoundService);
  });
}

/** Throws Problem `service_unknown`. */
function* revokeService(tx: Transaction, name: ServiceName, request: RevocationRequest): Steps<Revocation> {
  yield* tx.lock('holder', [`service/${name}`]);
  const service = yield* findService(tx, name);
  if (service === undefined) throw new Problem('service_unknown', { reason: `found no service ${name}` });
  const holder: Identity = { kind: 'service', name };
  if (service.status === 'revoked') return yield* recordedRevocation(tx, holder, service);
  yield* tx.run('UPDATE services SET revoked_at = @now, revocation_reason = @reason WHERE name = @name', {
    name,
    now: tx.now,
    reason: request.reason,
  });
  return yield* revokeHolder(tx, holder, 'service.revoked', request);
}

const SELECT = `SELECT services.*, (
    SELECT max(not_after) FROM certificates WHERE service_name = services.name AND certificates.revoked_at IS NULL
  ) AS expires_at FROM services`;

/** In name order. */
async function listServices(database: RegistryDatabase): Promise<readonly ServiceRecord[]> {
  return database.read(function* (tx) {
    return (yield* tx.all<ServiceRow>(`${SELECT} ORDER BY name`, {})).map((row) => recordOf(readRow(row)));
  });
}

export function* findService(tx: Transaction, name: ServiceName): Steps<FoundService | undefined> {
  const row = yield* tx.get<ServiceRow>(`${SELECT} WHERE name = @name`, { name });
  return row && readRow(row);
}

function readRow(row: ServiceRow): FoundService {
  return {
    name: row.name,
    status: row.revoked_at === null ? 'active' : 'revoked',
    issuedAt: row.issued_at,
    expiresAt: row.revoked_at === null ? (row.expires_at ?? undefined) : undefined,
    revokedAt: row.revoked_at ?? undefined,
    revocationReason: row.revocation_reason ?? undefined,
  };
}

function recordOf({ revocationReason: _, ...service }: FoundService): ServiceRecord {
  return service;
}
