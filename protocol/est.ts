/** Paths, media types and limits of Enrollment over Secure Transport (RFC 7030, corrected by RFC 8951). */

export const EST_PATHS = {
  cacerts: '/.well-known/est/cacerts',
  simpleenroll: '/.well-known/est/simpleenroll',
  simplereenroll: '/.well-known/est/simplereenroll',
  csrattrs: '/.well-known/est/csrattrs',
} as const;

/** The certificate revocation list of the issuing CA, DER (RFC 5280, section 5). */
export const CRL_PATH = '/crl/issuing.crl';

/** Route pattern of all revocation lists: full and delta lists of every CA by its id, and all of them in PEM. */
export const CRL_PATH_PATTERN = '/crl/:list';

export const EST_MEDIA_TYPES = {
  /** PKCS#10 request, base64 of DER. */
  request: 'application/pkcs10',
  /** certs-only PKCS#7, base64 of DER. */
  certificates: 'application/pkcs7-mime; smime-type=certs-only',
  attributes: 'application/csrattrs',
  crl: 'application/pkix-crl',
} as const;

/** Response header beside an issued certificate and beside the time: the URL of the broker. EST has no field for it. */
export const MQTT_URL_HEADER = 'rollcall-mqtt-url';

/** User names of a client that has no device id; the server chooses one. */
export const GENERIC_USER_NAMES: ReadonlySet<string> = new Set(['', 'device', 'token', 'rollcall']);

/** Size limit of a PKCS#10 body, in bytes of base64. A request with a 4096-bit RSA key and a chain of names stays under 4 KiB. */
export const CSR_BODY_MAX = 16_384;
