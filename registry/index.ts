/** Devices, services, tokens, certificates, policies and the audit. `open.ts` opens the SQLite engine behind the interface. */

export { performAnnouncedAction } from './announced-actions.ts';
export { AuditChainVerifier, type AuditHead, readExportedEntry } from './audit-chain.ts';
export type { AuditEntry } from './audit-store.ts';
export { readActiveIssuer, readAuditHead, readVerifiedAuditHead } from './backup-inspection.ts';
export { inspectRegistry } from './database.ts';
export {
  DEVICE_OPERATION_KINDS,
  type DeviceChange,
  type DeviceOperation,
  type DeviceOperationKind,
  type DeviceOperationResult,
  type DeviceSelection,
  type DeviceSelector,
  type TerminationReport,
} from './device-operation-types.ts';
export type { ExpiryStore } from './expiry.ts';
export {
  type GroupProfile,
  type GroupProfileStore,
  KEY_ALGORITHMS,
  type KeyAlgorithm,
  MAX_GROUP_DEVICES,
} from './group-profiles.ts';
export type { IssuerRecord, IssuerStore, NewIssuer } from './issuers.ts';
export type { OnHoldEntry, PublishedStatus, PublishedStatusStore } from './published-status.ts';
export type { RecoveryStore } from './recovery.ts';
export {
  type Actor,
  type CertificateRecord,
  type CertificateStatus,
  type CreatedToken,
  DEVICE_STATUSES,
  type DeviceRecord,
  type DeviceStatus,
  type EnrollmentRefusal,
  type IssuedCertificate,
  REVOCATION_REASONS,
  type RecoveryRefusal,
  type Registry,
  type RenewalRefusal,
  type Revocation,
  type RevocationReason,
  type RevokedEntry,
  type ServiceRecord,
  type TokenRecord,
} from './registry.ts';
export type { CurrentCertificate, PulledWindow, RenewalWindowStore } from './renewal-windows.ts';
