/** Certificates: the EST server, the certificate authority behind it, and the CRL and OCSP server. */

export { type Authority, openAuthority } from './ca/authority.ts';
export type { RemoteAuthority } from './ca/authority-options.ts';
export { caId, certificatesInPem } from './ca/ca-set.ts';
export type { CredentialFiles } from './ca/credential-files.ts';
export { signIssuingCaCsr } from './ca/offline-root.ts';
export { openPkcs11Token } from './ca/pkcs11-token.ts';
export { REFUSED_PIN_FILE } from './ca/refused-pin.ts';
export { readSecretFile } from './ca/secret-file.ts';
export type { ObtainedCertificate, ServerName } from './ca/server-certificates.ts';
export { keySigner } from './ca/signer.ts';
export { NO_ENROLL_LIMITS } from './est/limits.ts';
export type { RefusedRequest } from './est/refused-request.ts';
export { createRenewalSchedule, type RenewalSchedule } from './est/renewal-schedule.ts';
export { createEnrollServer, type EnrollServer } from './est/server.ts';
export { issueServiceCertificate } from './est/service-certificates.ts';
export { createExpiryList } from './expiry/expiry-list.ts';
export { createExpiryMonitor } from './expiry/expiry-monitor.ts';
export { createExpiryWeeks, type ExpiryWeeks } from './expiry/expiry-weeks.ts';
export type { NodeProof } from './nodes/ca-key-request.ts';
export type { CaKeySharing, SharingFleet } from './nodes/ca-key-sharing.ts';
export { createTransferKey, decryptKeys, encryptKeys } from './nodes/key-transfer.ts';
export { writeNodeCsr } from './nodes/node-csr.ts';
export type { JoinOrder, NodeEnrollment } from './nodes/node-routes.ts';
export { createStatusServer, type StatusServer } from './status/status-server.ts';
