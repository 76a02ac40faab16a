/**
 * The rules by which a chain of certificates leads to a root that a device trusts (RFC 5280, section 6.1): names,
 * signatures, basicConstraints, pathLenConstraint, keyUsage, critical extensions, dates and revocation, all of them here.
 * Every verification of a certificate in the SDK uses these rules.
 */

import type { X509Certificate } from 'node:crypto';
import { isRevoked, type RevocationList } from './revocation-list.ts';
import { BASIC_CONSTRAINTS, type CaFields, caFields, KEY_USAGE } from './x509-fields.ts';

export interface PathRules {
  /** Milliseconds since 1970; undefined where no clock is to be asked. */
  readonly at: number | undefined;
  /** Revocation lists of roots, each checked when it was accepted. */
  readonly lists: readonly RevocationList[];
  /** `elsewhere`: OpenSSL, or the server to which the path is shown, judges critical extensions such as nameConstraints. */
  readonly extensions: 'check' | 'ignore';
}

/** Leaf, issuing CA, a cross certificate, and one in between. */
const BELOW_ROOT_MAX = 4;
/** Certificates of the other side that are looked at. */
const OFFERED_MAX = 32;
/**
 * subjectAltName and extKeyUsage are judged by the caller. certificatePolicies restricts nothing for a verifier that accepts
 * any policy (RFC 5280, section 6.1.1).
 */
const UNDERSTOOD: ReadonlySet<string> = new Set([BASIC_CONSTRAINTS, KEY_USAGE, '551d11', '551d25', '551d20']);

/** A path without a fault, leaf first and root last; otherwise why the path that came nearest is none. */
export function findPath(
  leaf: X509Certificate,
  offered: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  rules: PathRules,
): readonly X509Certificate[] | string {
  let fault = 'expected a chain to a root that this device trusts';
  const climb = (path: readonly X509Certificate[]): readonly X509Certificate[] | undefined => {
    const top = path.at(-1) as X509Certificate;
    for (const root of roots) {
      if (!isIssuedBy(top, root)) continue;
      const found = pathError([...path, root], rules);
      if (found === undefined) return [...path, root];
      fault = found;
    }
    if (path.length === BELOW_ROOT_MAX) return undefined;
    for (const above of offered.slice(0, OFFERED_MAX)) {
      if (path.some((other) => isSame(other, above)) || !isIssuedBy(top, above)) continue;
      const found = climb([...path, above]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return climb([leaf]) ?? fault;
}

/** Why a path is none, leaf first and root last; undefined when it is one. Each is issued by the next. */
export function pathError(path: readonly X509Certificate[], { at, lists, extensions }: PathRules): string | undefined {
  /** CA certificates so far that are not self-issued (RFC 5280, section 4.2.1.9). */
  let below = 0;
  for (const [index, certificate] of path.entries()) {
    const fields = caFields(certificate);
    if (fields === undefined) return 'expected version 3 certificates';
    if (extensions === 'check' && fields.critical.some((oid) => !UNDERSTOOD.has(oid)))
      return 'found a critical extension that is not understood';
    if (at !== undefined && !isWithin(certificate, at)) return 'found a certificate that is not valid at this time';
    const under = path[index - 1];
    if (under === undefined) continue;
    const fault = caError(fields, below);
    if (fault !== undefined) return fault;
    if (!isIssuedBy(under, certificate)) return 'expected each certificate to be signed by the next';
    if (isRevoked(under, fields.subject, lists)) return 'found a certificate that its root has revoked';
    if (certificate.subject !== certificate.issuer) below += 1;
  }
  return undefined;
}

/** Why it can't be a CA with `below` CAs under it; undefined when it can. */
export function caError(fields: CaFields, below: number): string | undefined {
  if (!fields.isCa) return 'expected a CA (basicConstraints)';
  if (!fields.signsCertificates) return 'expected a CA that may sign certificates (keyUsage)';
  if (fields.pathLength !== undefined && fields.pathLength < below) return 'expected a path length that allows it';
  return undefined;
}

/** Signatures that were found to be good, by the fingerprints of both: servers show the same ones again and again. */
const good = new Set<string>();
const GOOD_MAX = 64;

/** Whether names, key usage and the signature of one certificate lead to another, as OpenSSL sees it; no dates. */
export function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  if (!issuer.ca || !certificate.checkIssued(issuer)) return false;
  const pair = certificate.fingerprint256 + issuer.fingerprint256;
  if (good.has(pair)) return true;
  if (!certificate.verify(issuer.publicKey)) return false;
  if (good.size === GOOD_MAX) good.clear();
  good.add(pair);
  return true;
}

export function isSame(a: X509Certificate, b: X509Certificate): boolean {
  return a.fingerprint256 === b.fingerprint256;
}

/** Whether a certificate is valid at `time`, milliseconds since 1970. */
export function isWithin(certificate: X509Certificate, time: number): boolean {
  return Date.parse(certificate.validFrom) <= time && time <= Date.parse(certificate.validTo);
}
