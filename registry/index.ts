/**
 * Devices, services, tokens, certificates, policies and the audit. `open.ts` opens the engines behind the interface and reads files of a
 * registry: commands which only ask a server start without them.
 */

export { performAnnouncedAction } from './audit/announced-actions.ts';
export { AuditChainVerifier, type AuditHead, readExportedEntry } from './audit/audit-chain.ts';
export type { AuditEntry, AuditFilter } from './audit/audit-store.ts';
export { type RequestOrigin, runWithOrigin } from './audit/request-origin.ts';
export { type CertificateReader, openCertificateReader } from './certificates/certificate-reader.ts';
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
} from './certificates/expiring-items.ts';
export type { ExpiryStore } from './certificates/expiry.ts';
export type { EnrollmentRefusal, RecoveryRefusal, RenewalRefusal } from './certificates/issuance-store.ts';
export type { IssuerRecord, IssuerStore, NewIssuer } from './certificates/issuers.ts';
export type { OnHoldEntry, PublishedStatus, PublishedStatusStore } from './certificates/published-status.ts';
export type { RecoveryStore } from './certificates/recovery.ts';
export type { CurrentCertificate, PulledWindow, RenewalWindowStore } from './certificates/renewal-windows.ts';
export { type AddressRange, parseAddressRange } from './devices/address-range.ts';
export {
  DEVICE_OPERATION_KINDS,
  type DeviceChange,
  type DeviceOperation,
  type DeviceOperationKind,
  type DeviceOperationResult,
  type DeviceSelection,
  type DeviceSelector,
  type LastDeviceChange,
  type TerminationReport,
} from './devices/device-operation-types.ts';
export {
  DEVICE_SORTS,
  type DeviceCriteria,
  type DeviceFilter,
  type DeviceSort,
  deviceCursor,
} from './devices/device-query.ts';
export type { DeviceSettings } from './devices/device-settings.ts';
export {
  type GroupProfile,
  type GroupProfileStore,
  KEY_ALGORITHMS,
  type KeyAlgorithm,
  MAX_GROUP_DEVICES,
} from './devices/group-profiles.ts';
export { type DevicePresence, type PresenceChange, type PresenceStore, SERVER_LOST } from './devices/presence.ts';
export { mergeOutcomes, type NodeOutcome } from './node-outcome.ts';
export {
  type CreatedNodeToken,
  certificateName,
  type JoinedNode,
  type NodeCertificateRecord,
  type NodeStore,
  type NodeTokenRecord,
} from './nodes.ts';
export { IDEMPOTENCY_KEY_LIFE_MS, type KeyedAct, type RecordedAct } from './operators/idempotency-keys.ts';
export type { AdmittedOperator, CreatedOperatorKey, OperatorKeyRecord } from './operators/operator-keys.ts';
export type { OperatorCredentials } from './operators/operator-passwords.ts';
export { isRoleWithin, OPERATOR_ROLES, type OperatorRole } from './operators/operator-roles.ts';
export type { AdmittedSession, BegunOperatorSession, OperatorSessionRecord } from './operators/operator-sessions.ts';
export type { OperatorAccessEnded, OperatorRecord } from './operators/operators.ts';
export type { NewPasskey, PasskeyRecord } from './operators/passkeys.ts';
export type { SecondFactor, TotpState } from './operators/second-factors.ts';
export type { CreatedSignInLink, SignInLinkRecord } from './operators/sign-in-links.ts';
export type { PolicyVersionStore, Version } from './policies/policy-versions.ts';
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
export type { CreatedToken, TokenRecord } from './tokens/tokens.ts';
