/** Services: back-end applications with a certificate. Issued, listed and revoked. */

import { type Identity, Problem, type ServiceName } from '@rollcall/protocol';
import { auditTime, recordDone } from './audit.ts';
import { findCertificateByKey, insertCertificate } from './certificates.ts';
import { overlapsOthers } from './client-id-ownership.ts';
import type { RegistryDatabase } from './database.ts';
import type { TerminationReport } from './device-operation-types.ts';
import type { Listeners } from './listeners.ts';
import type { Actor, IssuedCertificate, Revocation, RevocationReason, ServiceRecord } from './registry.ts';
import { type RevocationRequest, recordedRevocation, revokeHolder } from './revoke-holder.ts';
import type { Transaction } from './transaction.ts';

export interface ServiceStore {
  /** Records a service with its certificate; Problem `service_exists` when the name is taken or overlaps another. */
  commitService(name: ServiceName, certificate: IssuedCertificate, actor: Actor): Promise<ServiceRecord>;
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
    commitService: async (name, certificate, actor) => commitService(database, name, certificate, actor),
    listServices: async () => listServices(database),
    revokeService: async (name, reason, actor) => {
      const committed = revokeService(database, name, { reason, actor });
      await revocations.notify([committed]);
      return committed;
    },
  };
}

interface ServiceRow {
  readonly name: ServiceName;
  readonly issued_at: number;
  readonly revoked_at: number | null;
  readonly revocation_reason: RevocationReason | null;
}

interface FoundService extends ServiceRecord {
  readonly revocationReason: RevocationReason | undefined;
}

/** Throws Problem `service_exists` when an active service has the name, or it overlaps a device or another service. */
function commitService(
  database: RegistryDatabase,
  name: ServiceName,
  certificate: IssuedCertificate,
  actor: Actor,
): ServiceRecord {
  return database.write((tx) => {
    if (findService(tx, name)?.status === 'active' || overlapsOthers(tx, name)) throw new Problem('service_exists');
    if (findCertificateByKey(tx, certificate.publicKeySha256) !== undefined) throw new Problem('csr_key_reused');
    tx.run(
      `INSERT INTO services (name, issued_at) VALUES (@name, @now)
       ON CONFLICT (name) DO UPDATE SET issued_at = excluded.issued_at, revoked_at = NULL, revocation_reason = NULL`,
      { name, now: tx.now },
    );
    insertCertificate(tx, { kind: 'service', name }, certificate, { operator: actor });
    recordDone(tx, {
      actor,
      action: 'service.issued',
      subject: `service/${name}`,
      details: { serial: certificate.serial, notAfter: auditTime(certificate.notAfter) },
    });
    return { name, status: 'active', issuedAt: tx.now, revokedAt: undefined };
  });
}

/** Throws Problem `service_unknown`. */
function revokeService(database: RegistryDatabase, name: ServiceName, request: RevocationRequest): Revocation {
  return database.write((tx) => {
    const service = findService(tx, name);
    if (service === undefined) throw new Problem('service_unknown', { reason: `found no service ${name}` });
    const holder: Identity = { kind: 'service', name };
    if (service.status === 'revoked') return recordedRevocation(tx, holder, service);
    tx.run('UPDATE services SET revoked_at = @now, revocation_reason = @reason WHERE name = @name', {
      name,
      now: tx.now,
      reason: request.reason,
    });
    return revokeHolder(tx, holder, 'service.revoked', request);
  });
}

/** In name order. */
function listServices(database: RegistryDatabase): readonly ServiceRecord[] {
  return database.read((tx) =>
    tx.all<ServiceRow>('SELECT * FROM services ORDER BY name', {}).map((row): ServiceRecord => {
      const { revocationReason: _, ...service } = readRow(row);
      return service;
    }),
  );
}

export function findService(tx: Transaction, name: ServiceName): FoundService | undefined {
  const row = tx.get<ServiceRow>('SELECT * FROM services WHERE name = @name', { name });
  return row && readRow(row);
}

function readRow(row: ServiceRow): FoundService {
  return {
    name: row.name,
    status: row.revoked_at === null ? 'active' : 'revoked',
    issuedAt: row.issued_at,
    revokedAt: row.revoked_at ?? undefined,
    revocationReason: row.revocation_reason ?? undefined,
  };
}
