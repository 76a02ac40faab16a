/**
 * What a root says of its fleet, as a private extension of its revocation list: which roots the fleet has, which it has no
 * more, and which issuing CAs certify no server any more although certificates of theirs still count. It isn't critical
 * (RFC 5280, section 5.2): whoever doesn't know it reads an ordinary list.
 *
 *     TrustStatement ::= SEQUENCE {
 *       roots          SEQUENCE OF OCTET STRING,  -- SHA-256 of the certificate, those that count
 *       retiredRoots   SEQUENCE OF OCTET STRING,  -- those that count no more
 *       taintedIssuers SEQUENCE OF INTEGER }      -- serial numbers that this root gave
 */

/** Content octets of 2.25.188100533164055200233269888247243604686, an arc that a UUID makes (ITU-T X.667). */
export const TRUST_STATEMENT_OID = '69829b82ec93bac6929c8b8eacb28f918098854e';

/** The lists of all roots in PEM, at the enroll server. */
export const ROOT_CRLS_PATH = '/crl/roots.pem';
