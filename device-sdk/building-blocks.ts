/** Parts of the device SDK for the service SDK, the simulator, the command line and tests of this repository. */

export { parseSettings, SettingsError } from './agent/settings.ts';
export { backoffDelay, retryAfterDelay } from './backoff.ts';
export { findPinnedRoot, holderOf, leafOf, parseCertificates } from './certificate-chain.ts';
export { findPath, isIssuedBy } from './certification-path.ts';
export { readCertsOnly } from './certs-only.ts';
export { CredentialRenewer, isRenewalDue, renewCredentials } from './credential-renewer.ts';
export { writeCsr } from './csr.ts';
export { BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, oid, SET, sequence, UTF8_STRING, writeElement } from './der.ts';
export { asDeviceError, DeviceError, type DeviceErrorCode } from './device-error.ts';
export { type DeviceLog, SILENT_LOG } from './device-state.ts';
export { writeDurably } from './durable-file.ts';
export { requestRenewal } from './enrollment.ts';
export { fetchCaCertificates, fetchRootRevocationLists } from './est-client.ts';
export { fileCredentialStore } from './file-identity-store.ts';
export type { Credentials, IdentityStore } from './identity-store.ts';
export { encodePayload, type Payload } from './payload.ts';
export { fetchRenewalInfo } from './renewal-info.ts';
export { renewalTime } from './renewal-plan.ts';
export { Renewer, validityOf } from './renewer.ts';
export { realTimers, type Schedule } from './schedule.ts';
export { checkServers, type ServerCheck } from './server-check.ts';
export { type NextAttempt, nextAttemptAfter, type ServerReason, serverReason } from './server-reason.ts';
export { openTls, serverTrustError, type TlsConnectOptions } from './server-verification.ts';
export { evaluateBundle, evaluateCertificates, TRUST_EVENTS } from './trust-bundle.ts';
export { caFields } from './x509-fields.ts';
