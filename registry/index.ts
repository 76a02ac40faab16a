/** Devices, services, tokens, certificates, policies and the audit. `open.ts` opens the SQLite engine behind the interface. */

export { actOutside } from './announced-actions.ts';
export { type AuditHead, ChainCheck, readExportedEntry } from './audit-chain.ts';
export type { AuditEntry } from './audit-interface.ts';
export { activeIssuerIn, auditHeadIn, wholeAuditHeadIn } from './backup-facts.ts';
export { inspectRegistry } from './database.ts';
export {
  DEVICE_ACTS,
  type DeviceAct,
  type DeviceChange,
  type DeviceOrder,
  type DeviceProof,
  type DeviceSelection,
  type DeviceSelector,
  type Histogram,
} from './device-operations.ts';
export type { ExpiryMemory } from './expiry.ts';
export type { IssuerMemory, IssuerRecord, NewIssuer } from './issuers.ts';
export { type GroupProfile, KEY_ALGORITHMS, type KeyAlgorithm, MOST_DEVICES, type ProfileMemory } from './profiles.ts';
export type { CertificateStatus, HeldEntry, PublishedStatusMemory } from './published-status.ts';
export type { RecoveryMemory } from './recovery.ts';
export {
  type Actor,
  type CertificateRecord,
  DEVICE_STATUSES,
  type DeviceRecord,
  type DeviceStatus,
  type EnrollmentRefusal,
  type IssuedCertificate,
  type MintedToken,
  REVOCATION_REASONS,
  type RecoveryRefusal,
  type Registry,
  type RenewalRefusal,
  type Revocation,
  type RevocationReason,
  type RevokedEntry,
  type ServiceRecord,
  type Standing,
  type TokenRecord,
} from './registry.ts';
export type { CurrentCertificate, PulledWindow, RenewalWindowMemory } from './renewal-windows.ts';
