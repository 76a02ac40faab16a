/** Certificates: the EST server, the certificate authority behind it, and the CRL and OCSP server. */

export { type Authority, openAuthority } from './ca/authority.ts';
export { caId, pemBlocks } from './ca/ca-set.ts';
export type { CredentialFiles } from './ca/credential-files.ts';
export { createExpiryWatch } from './ca/expiry-watch.ts';
export { signIssuingRequest } from './ca/offline-root.ts';
export { openToken } from './ca/pkcs11-token.ts';
export { readPrivateText } from './ca/private-file.ts';
export { REFUSED_PIN_FILE } from './ca/refused-pin.ts';
export type { ServerName } from './ca/server-credentials.ts';
export { keySigner } from './ca/signer.ts';
export { UNLIMITED_ENROLL } from './est/limits.ts';
export { createRenewals, type Renewals } from './est/renewal-schedule.ts';
export { createEnrollServer } from './est/server.ts';
export { issueServiceCertificate } from './est/service-certificates.ts';
export { createStatusServer, type StatusServer } from './status/status-server.ts';
