/**
 * Which roots a device trusts, and how one follows another. It starts with the root that its token pinned. Whoever holds
 * the broker's key, and not the CA's, can send any bundle over a connection that looks right, so the connection counts for
 * nothing here: a new root is accepted only with a certificate for its name and key that a trusted root has signed. It
 * stores nothing.
 */

import type { X509Certificate } from 'node:crypto';
import { certificatesIn, isIssuedBy } from './issued-chain.ts';

/** Bytes and certificates of one bundle, at most. */
const BUNDLE_MAX = 64 * 1024;
const CERTIFICATES_MAX = 16;

export type TrustJudgement =
  | { readonly verdict: 'same' }
  /** `rootsPem` takes the place of what was trusted before. */
  | { readonly verdict: 'changed'; readonly rootsPem: string; readonly added: number; readonly dropped: number }
  | { readonly verdict: 'refused'; readonly reason: string };

/**
 * What becomes of the trusted roots (PEM) when a bundle is offered (PEM: roots, and the certificates that vouch for them;
 * others are passed over). A root that is not in the bundle is dropped, as long as one stays that was trusted before: so
 * a root has to have been in one bundle before the one it replaces can be missing from another.
 */
export function judgeBundle(trustedPem: string, offeredPem: string): TrustJudgement {
  if (offeredPem.length > BUNDLE_MAX) return refused(`expected at most ${BUNDLE_MAX} bytes`);
  let offered: readonly X509Certificate[];
  try {
    offered = certificatesIn(offeredPem);
  } catch {
    return refused('expected certificates in PEM');
  }
  if (offered.length > CERTIFICATES_MAX) return refused(`expected at most ${CERTIFICATES_MAX} certificates`);
  return judgeRoots(certificatesIn(trustedPem), offered);
}

/** As {@link judgeBundle}, of certificates. */
export function judgeRoots(trusted: readonly X509Certificate[], offered: readonly X509Certificate[]): TrustJudgement {
  const roots = offered.filter((certificate) => isIssuedBy(certificate, certificate));
  const kept = trusted.filter((root) => roots.some((other) => isSame(root, other)));
  if (kept.length === 0) return refused('expected a root that is trusted already');
  const added = roots.filter((root) => !trusted.some((other) => isSame(root, other)));
  for (const root of added) {
    const isVouchedFor = offered.some(
      (certificate) =>
        certificate.subject === root.subject &&
        certificate.publicKey.equals(root.publicKey) &&
        trusted.some((old) => isIssuedBy(certificate, old)),
    );
    if (!isVouchedFor) return refused('a root is new, and no trusted one vouches for it');
  }
  const dropped = trusted.length - kept.length;
  if (added.length === 0 && dropped === 0) return { verdict: 'same' };
  const rootsPem = [...kept, ...added].map((root) => root.toString()).join('');
  return { verdict: 'changed', rootsPem, added: added.length, dropped };
}

function isSame(a: X509Certificate, b: X509Certificate): boolean {
  return a.fingerprint256 === b.fingerprint256;
}

function refused(reason: string): TrustJudgement {
  return { verdict: 'refused', reason };
}
