/** Devices, services, tokens, certificates, policies and the audit. `open.ts` opens the SQLite engine behind the interface. */

export { type AddressRange, parseAddressRange } from './address-range.ts';
export { performAnnouncedAction } from './announced-actions.ts';
export { AuditChainVerifier, type AuditHead, readExportedEntry } from './audit-chain.ts';
export type { AuditEntry, AuditFilter } from './audit-store.ts';
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
export { DEVICE_SORTS, type DeviceCriteria, type DeviceFilter, type DeviceSort, deviceCursor } from './device-query.ts';
export type { DeviceSettings } from './device-settings.ts';
export {
  AUTHORITY_EXPIRING_KINDS,
  compareExpiryCursors,
  EXPIRING_KINDS,
  type ExpiringItem,
  type ExpiringKind,
  type ExpiringRecord,
  type ExpiryCursor,
  type ExpiryFilter,
  expiryCursor,
  isLate,
  lateSince,
  RECORDED_EXPIRING_KINDS,
  RENEWED_BY,
  type RecordedExpiringKind,
  type RenewedBy,
} from './expiring-items.ts';
export type { ExpiryStore } from './expiry.ts';
export {
  type GroupProfile,
  type GroupProfileStore,
  KEY_ALGORITHMS,
  type KeyAlgorithm,
  MAX_GROUP_DEVICES,
} from './group-profiles.ts';
export { IDEMPOTENCY_KEY_LIFE_MS, type KeyedAct, type RecordedAct } from './idempotency-keys.ts';
export type { EnrollmentRefusal, RecoveryRefusal, RenewalRefusal } from './issuance-store.ts';
export type { IssuerRecord, IssuerStore, NewIssuer } from './issuers.ts';
export type { AdmittedOperator, CreatedOperatorKey, OperatorKeyRecord } from './operator-keys.ts';
export type { OperatorCredentials } from './operator-passwords.ts';
export { isRoleWithin, OPERATOR_ROLES, type OperatorRole } from './operator-roles.ts';
export type { AdmittedSession, BegunOperatorSession, OperatorSessionRecord } from './operator-sessions.ts';
export type { OperatorAccessEnded, OperatorRecord } from './operators.ts';
export type { NewPasskey, PasskeyRecord } from './passkeys.ts';
export type { PolicyVersionStore, Version } from './policy-versions.ts';
export { type DevicePresence, type PresenceChange, type PresenceStore, SERVER_LOST } from './presence.ts';
export type { OnHoldEntry, PublishedStatus, PublishedStatusStore } from './published-status.ts';
export type { RecoveryStore } from './recovery.ts';
export {
  type Actor,
  type CertificateRecord,
  type CertificateStatus,
  type ChangeCheck,
  DEVICE_STATUSES,
  type DeviceRecord,
  type DeviceStatus,
  type IssuedCertificate,
  REVOCATION_REASONS,
  type Registry,
  type Revocation,
  type RevocationReason,
  type RevokedEntry,
  type ServiceRecord,
} from './registry.ts';
export type { CurrentCertificate, PulledWindow, RenewalWindowStore } from './renewal-windows.ts';
export { type RequestOrigin, runWithOrigin } from './request-origin.ts';
export type { SecondFactor, TotpState } from './second-factors.ts';
export type { CreatedSignInLink, SignInLinkRecord } from './sign-in-links.ts';
export type { CreatedToken, TokenRecord } from './tokens.ts';
