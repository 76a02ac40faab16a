/** Enrollment over Secure Transport as both ends speak it (RFC 7030, corrected by RFC 8951). */

export const EST_PATHS = {
  cacerts: '/.well-known/est/cacerts',
  simpleenroll: '/.well-known/est/simpleenroll',
  simplereenroll: '/.well-known/est/simplereenroll',
  csrattrs: '/.well-known/est/csrattrs',
} as const;

/** The certificate revocation list of the issuing CA, DER (RFC 5280, section 5). */
export const CRL_PATH = '/crl/issuing.crl';

/** And everything else that lies beside it: lists and deltas of every CA by its id, all of them in PEM. */
export const CRL_PATH_PATTERN = '/crl/:list';

export const EST_MEDIA_TYPES = {
  /** PKCS#10 request, base64 of DER. */
  request: 'application/pkcs10',
  /** certs-only PKCS#7, base64 of DER. */
  certificates: 'application/pkcs7-mime; smime-type=certs-only',
  attributes: 'application/csrattrs',
  crl: 'application/pkix-crl',
} as const;

/** Header of an answer that carries a certificate: where its holder finds the broker. EST itself has no place for it. */
export const MQTT_URL_HEADER = 'rollcall-mqtt-url';

/** User names by which a client says that it has no device id of its own and the server shall choose one. */
export const GENERIC_USER_NAMES: ReadonlySet<string> = new Set(['', 'device', 'token', 'rollcall']);

/** Longest PKCS#10 body read, in bytes of base64. A request with a 4096-bit RSA key and a chain of names stays under 4 KiB. */
export const CSR_BODY_MAX = 16_384;
