/** Parts of the device SDK for the simulator, the command line and tests of this repository. */

export { parseSettings, SettingsError } from './agent/settings.ts';
export { backoffDelay, retryAfterDelay } from './backoff.ts';
export { leafOf } from './certificate-chain.ts';
export { findPath } from './certification-path.ts';
export { readCertsOnly } from './certs-only.ts';
export { writeCsr } from './csr.ts';
export { BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, oid, SET, sequence, UTF8_STRING, writeElement } from './der.ts';
export { asDeviceError } from './device-error.ts';
export { TRUST_EVENTS } from './trust-bundle.ts';
export { caFields } from './x509-fields.ts';
