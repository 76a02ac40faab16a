/**
 * The trust statement, a private extension of a root's revocation list: the active roots of the fleet, its retired roots,
 * and the tainted issuing CAs, whose server certificates are no longer accepted while device certificates remain valid.
 * The extension is not critical (RFC 5280, section 5.2): other clients read an ordinary list.
 *
 *     TrustStatement ::= SEQUENCE {
 *       roots          SEQUENCE OF OCTET STRING,  -- SHA-256 of the certificates of active roots
 *       retiredRoots   SEQUENCE OF OCTET STRING,  -- of retired roots
 *       taintedIssuers SEQUENCE OF INTEGER }      -- serial numbers issued by this root
 */

/** Content octets of 2.25.188100533164055200233269888247243604686, derived from a UUID (ITU-T X.667). */
export const TRUST_STATEMENT_OID = '69829b82ec93bac6929c8b8eacb28f918098854e';

/** Path of the revocation lists of all roots, PEM, at the enroll server. */
export const ROOT_CRLS_PATH = '/crl/roots.pem';
