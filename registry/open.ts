/**
 * The SQLite registry: the interface of `registry.ts`, each method one transaction in the file of its noun.
 * Listeners are told here, after the commit.
 */

import { randomBytes } from 'node:crypto';
import type { PolicyScope } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { applyDeviceOperation, notifyListeners, type OperationListeners } from './apply-device-operations.ts';
import { auditHead, exportAudit, listAudit, recordAction, verifyAudit } from './audit.ts';
import { findCertificateStatus } from './certificate-status.ts';
import { certificatesIssuedFrom, certificatesOf, recordServerCertificate } from './certificates.ts';
import { openDatabase } from './database.ts';
import type { DeviceChange, TerminationReport } from './device-operation-types.ts';
import { setDevice } from './device-settings.ts';
import { findDevice, listDevices } from './devices.ts';
import { admitEnrollment, commitEnrollment } from './enrollment.ts';
import { createExpiryStore } from './expiry.ts';
import { createGroupProfileStore } from './group-profiles.ts';
import { createIssuerStore } from './issuers.ts';
import { Listeners } from './listeners.ts';
import { findPolicy, setPolicy } from './policies.ts';
import { createPublishedStatusStore } from './published-status.ts';
import { createRecoveryStore, DEFAULT_RECOVERY, type RecoveryLimits } from './recovery.ts';
import type { Registry, Revocation } from './registry.ts';
import { admitRenewal, commitRenewal } from './renewal.ts';
import { createRenewalWindowStore } from './renewal-windows.ts';
import { type CertificateRevocation, createCertificateRevocationStore } from './revoke-certificate.ts';
import { listRevoked, nextCrlNumber, revokeService } from './revoke-holder.ts';
import { selectDevices } from './select-devices.ts';
import { commitService, listServices } from './services.ts';
import { DEFAULT_OVERLAP_MS, recordFirstUse } from './supersession.ts';
import { createToken, listTokens, revokeToken } from './tokens.ts';

export interface RegistryOptions {
  /** Path of the database; created with mode 0600 when it does not exist. Its directory must exist. */
  readonly file: string;
  /** `inspectRegistry()` has read every page of the file. */
  readonly isInspected?: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** How long a certificate counts beside its successor that nobody has used yet, milliseconds; 7 days. */
  readonly overlapMs?: number;
  /** How certificates that have ended may be recovered; `DEFAULT_RECOVERY`. */
  readonly recovery?: RecoveryLimits;
  /** Seconds from the commit of an operation that ends or restricts sessions until every broker confirmed it. */
  readonly observeTermination?: (seconds: number) => void;
  /** Where token ids and secrets come from; `node:crypto` unless a test says otherwise. */
  readonly randomBytes?: (size: number) => Buffer;
}

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export async function openRegistry(options: RegistryOptions): Promise<Registry> {
  const { log } = options;
  const random = options.randomBytes ?? randomBytes;
  const overlapMs = options.overlapMs ?? DEFAULT_OVERLAP_MS;
  const database = openDatabase(options);
  const revocations = new Listeners<Revocation, TerminationReport>('revocation', log);
  const changes = new Listeners<DeviceChange, TerminationReport>('device change', log);
  const certificateRevocations = new Listeners<CertificateRevocation, TerminationReport>(
    'revocation of a certificate',
    log,
  );
  const { observeTermination = () => {} } = options;
  const listeners: OperationListeners = { revocations, changes, observeTermination };
  const policyChanges = new Listeners<PolicyScope>('policy change', log);
  // Logs usually leave the machine: a copy of the chain's end that nobody who changes the file can change.
  log.info({ audit: auditHead(database) }, 'audit opened');

  return {
    createToken: async (order, actor) => createToken(database, random, order, actor),
    listTokens: async () => listTokens(database),
    revokeToken: async (id, actor) => revokeToken(database, id, actor),

    admitEnrollment: async (claim) => admitEnrollment(database, claim),
    commitEnrollment: async (enrollment) => {
      const { outcome, superseded } = commitEnrollment(database, enrollment);
      // The device is enrolled, whatever a listener makes of its old certificates; `tell` has logged what failed.
      if (superseded !== undefined) await revocations.notify([superseded]).catch(() => undefined);
      return outcome;
    },
    admitRenewal: async (parentSerial, publicKeySha256) => admitRenewal(database, parentSerial, publicKeySha256),
    commitRenewal: async (renewal) => commitRenewal(database, renewal, overlapMs),
    recordFirstUse: async (serial) => recordFirstUse(database, serial),
    recordServerCertificate: async (name, certificate) => recordServerCertificate(database, name, certificate),

    findDevice: async (id) => database.read((tx) => findDevice(tx, id)),
    listDevices: async (filter) => listDevices(database, filter),
    listCertificates: async (holder, newest) => database.read((tx) => certificatesOf(tx, holder, newest)),
    listIssuedFrom: async (tokenId) => database.read((tx) => certificatesIssuedFrom(tx, tokenId)),
    selectDevices: async (selector, order) => selectDevices(database, selector, order),
    applyDeviceOperation: async (ids, order, actor) => applyDeviceOperation(database, listeners, ids, order, actor),
    revokeDevices: async (ids, reason, actor) => {
      const proofs = await applyDeviceOperation(database, listeners, ids, { kind: 'revoke', reason }, actor);
      return proofs.map(({ device, serials, reason: recorded = reason, at }) => ({
        holder: { kind: 'device', id: device },
        serials,
        reason: recorded,
        revokedAt: at,
      }));
    },
    setDevice: async (id, settings, actor) => {
      const { device, isChanged } = setDevice(database, id, settings, actor);
      const change: DeviceChange = { device: id, operation: 'set', status: device.status, at: options.now() };
      if (isChanged) await notifyListeners(listeners, { change, revocation: undefined }, performance.now());
      return device;
    },

    commitService: async (name, certificate, actor) => commitService(database, name, certificate, actor),
    listServices: async () => listServices(database),
    revokeService: async (name, reason, actor) => {
      const committed = revokeService(database, name, { reason, actor });
      await revocations.notify([committed]);
      return committed;
    },

    certificateStatus: async (serial) => findCertificateStatus(database, serial),
    listRevoked: async () => listRevoked(database),
    nextCrlNumber: async () => nextCrlNumber(database),

    findPolicy: async (scope) => findPolicy(database, scope),
    setPolicy: async (scope, policy, actor) => {
      setPolicy(database, scope, policy, actor);
      await policyChanges.notify([scope]);
    },

    ...createIssuerStore(database),
    ...createPublishedStatusStore(database),
    ...createCertificateRevocationStore(database, { listeners: certificateRevocations, observeTermination }),
    ...createRenewalWindowStore(database),
    ...createGroupProfileStore(database),
    ...createExpiryStore(database),
    ...createRecoveryStore(database, options.recovery ?? DEFAULT_RECOVERY),

    listAudit: async (filter) => listAudit(database, filter),
    exportAudit: async (page) => exportAudit(database, page),
    verifyAudit: async (kept) => verifyAudit(database, kept),
    recordAction: async (act) => recordAction(database, act),
    onRevocation: (listener) => revocations.add(listener),
    onDeviceChange: (listener) => changes.add(listener),
    onPolicyChange: (listener) => policyChanges.add(listener),
    close: async () => database.close(),
  };
}
