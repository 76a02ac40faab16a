/**
 * Which roots a device trusts, how one follows another, and which revocation lists of theirs it holds. It starts with the
 * root that its token pinned. A holder of an issuing CA's key can send any bundle over a connection that looks right, so
 * the connection counts for nothing: only what a root's key has signed does. It stores nothing.
 *
 * - A root is added when a trusted root vouches for it with a cross certificate (its name and key, made for a CA that has
 *   CAs below it), and when the list of that trusted root, if it has a statement, names it.
 * - A root that was added is confirmed when the list of a confirmed root names it. The first root is confirmed.
 * - A root is dropped when its own list or that of a confirmed root says that it is retired, and a confirmed root stays.
 *   That a bundle lacks it says nothing.
 * - A list takes the place of one with a lower number, never of one with a higher.
 */

import type { X509Certificate } from 'node:crypto';
import { fingerprintOf, parseCertificates } from './certificate-chain.ts';
import { caError, isIssuedBy, isSame } from './certification-path.ts';
import { isListOf, isRevoked, parseRevocationLists, type RevocationList } from './revocation-list.ts';
import { caFields } from './x509-fields.ts';

/** What a device trusts, as it is stored. */
export interface TrustedRoots {
  /** PEM, confirmed ones first. */
  readonly rootPem: string;
  /** PEM of the newest revocation list of each; empty, or undefined, while none came. */
  readonly rootCrlPem?: string;
}

export type TrustUpdate =
  | { readonly verdict: 'same'; readonly notice?: string }
  /** `trusted` takes the place of what was trusted before. `notice`: what was not followed, and why. */
  | {
      readonly verdict: 'changed';
      readonly trusted: Required<TrustedRoots>;
      readonly added: number;
      readonly dropped: number;
      readonly notice?: string;
    }
  | { readonly verdict: 'refused'; readonly reason: string };

/** Field `event` of log lines about an offered trust bundle; they stay when the sentences beside them change. */
export const TRUST_EVENTS = {
  changed: 'trusted_roots_changed',
  refused: 'trust_bundle_refused',
  unanswered: 'trust_bundle_not_found',
} as const;

/** Bytes and certificates of one bundle, at most. */
const BUNDLE_MAX = 64 * 1024;
const CERTIFICATES_MAX = 16;
/** Under a root: the issuing CA. */
const BELOW_NEW_ROOT = 1;

/** What becomes of the trusted roots when a bundle is offered, PEM: roots, cross certificates, lists; others are passed over. */
export function evaluateBundle(trusted: TrustedRoots, offeredPem: string): TrustUpdate {
  if (offeredPem.length > BUNDLE_MAX) return refused(`expected at most ${BUNDLE_MAX} bytes`);
  let offered: readonly X509Certificate[];
  try {
    offered = parseCertificates(offeredPem);
  } catch {
    return refused('expected certificates in PEM');
  }
  if (offered.length > CERTIFICATES_MAX) return refused(`expected at most ${CERTIFICATES_MAX} certificates`);
  return evaluateCertificates(trusted, offered, offeredPem);
}

/** As {@link evaluateBundle}, of certificates and a PEM text with lists. */
export function evaluateCertificates(
  { rootPem, rootCrlPem = '' }: TrustedRoots,
  offered: readonly X509Certificate[],
  offeredLists: string,
): TrustUpdate {
  const before = parseCertificates(rootPem);
  const held = parseRevocationLists(rootCrlPem) ?? [];
  const lists = parseRevocationLists(offeredLists);
  const notices: string[] =
    lists === undefined ? ['expected revocation lists of CAs, version 2, that can be read'] : [];

  // 1. Newer lists of roots that are trusted: they may take back what follows.
  let newest = merge(before, held, lists ?? [], notices);

  // 2. New roots.
  const roots = offered.filter((certificate) => isIssuedBy(certificate, certificate));
  const fresh = roots.filter((root) => !before.some((other) => isSame(root, other)));
  const stated = statedRetired(before, newest);
  const faults = fresh.map((root) => rootError(root, { trusted: before, offered, lists: newest, retired: stated }));
  const fault = faults.find((each) => each !== undefined);
  const added = fault === undefined ? fresh : [];
  if (fault !== undefined) notices.push(fault);
  const together = [...before, ...added];
  newest = merge(together, newest, lists ?? [], []);

  // 3. Roots that are retired, by the word of those that count.
  const { staying, isInOrder } = separateRetired(together, newest);
  const dropped = together.length - staying.length;
  const kept = newest.filter((list) => staying.some((root) => isListOf(list, root)));

  const isSaying = roots.length > 0 || (lists ?? []).length > 0;
  const rootCrlPem_ = kept.map(({ pem }) => pem).join('');
  const hasChanged =
    added.length > 0 || dropped > 0 || !isInOrder || rootCrlPem_ !== held.map(({ pem }) => pem).join('');
  const [notice] = notices;
  if (!hasChanged) {
    if (!isSaying) return refused('expected a root or a revocation list');
    if (notice === undefined) return { verdict: 'same' };
    return fault === undefined ? { verdict: 'same', notice } : refused(fault);
  }
  return {
    verdict: 'changed',
    trusted: { rootPem: staying.map((root) => root.toString()).join(''), rootCrlPem: rootCrlPem_ },
    added: added.length,
    dropped,
    ...(notice !== undefined && { notice }),
  };
}

/** Of these revocation lists those of these roots, PEM. */
export function revocationListsOf(listsPem: string, rootPem: string): string {
  const lists = merge(parseCertificates(rootPem), parseRevocationLists(listsPem) ?? [], [], []);
  return lists.map(({ pem }) => pem).join('');
}

/** The newest list of each root. */
function merge(
  roots: readonly X509Certificate[],
  held: readonly RevocationList[],
  offered: readonly RevocationList[],
  notices: string[],
): readonly RevocationList[] {
  return roots.flatMap((root) => {
    let newest = held.find((list) => isListOf(list, root));
    for (const list of offered) {
      if (!isListOf(list, root)) continue;
      if (newest !== undefined && list.number < newest.number)
        notices.push('found a revocation list older than the one held');
      if (newest === undefined || list.number > newest.number) newest = list;
    }
    return newest === undefined ? [] : [newest];
  });
}

/** Why a root is not trusted on the word of those that are; undefined when it is. */
function rootError(
  root: X509Certificate,
  by: {
    readonly trusted: readonly X509Certificate[];
    readonly offered: readonly X509Certificate[];
    readonly lists: readonly RevocationList[];
    readonly retired: ReadonlySet<string>;
  },
): string | undefined {
  const fields = caFields(root);
  if (fields === undefined || caError(fields, BELOW_NEW_ROOT) !== undefined)
    return 'a root is new, and no CA with CAs below it';
  if (by.retired.has(fingerprintOf(root))) return 'a root is new, and one that is trusted says that it is retired';
  const vouching = by.trusted.filter((old) =>
    by.offered.some((cross) => isCrossCertificate(cross, root, old, by.lists)),
  );
  if (vouching.length === 0) return 'a root is new, and no trusted one vouches for it';
  const isNamed = vouching.some((old) => {
    const statement = by.lists.find((list) => isListOf(list, old))?.statement;
    return statement === undefined || statement.roots.includes(fingerprintOf(root));
  });
  return isNamed ? undefined : 'a root is new, and the revocation list of the trusted one does not name it';
}

/**
 * A cross certificate (RFC 4210, section 4.4): signed by a trusted root for the name and key of the new one, and for a CA
 * that has CAs below it. An issuing CA's own certificate has path length 0, so it vouches for nobody.
 */
function isCrossCertificate(
  cross: X509Certificate,
  root: X509Certificate,
  by: X509Certificate,
  lists: readonly RevocationList[],
): boolean {
  const [fields, rootFields, byFields] = [caFields(cross), caFields(root), caFields(by)];
  if (fields === undefined || rootFields === undefined || byFields === undefined) return false;
  if (!fields.subject.equals(rootFields.subject) || !cross.publicKey.equals(root.publicKey)) return false;
  if (isSame(cross, root) || !isIssuedBy(cross, by)) return false;
  if (caError(fields, BELOW_NEW_ROOT) !== undefined || caError(byFields, BELOW_NEW_ROOT + 1) !== undefined)
    return false;
  return !isRevoked(cross, byFields.subject, lists);
}

/** Fingerprints of the roots that count: the first, and those that the list of one that counts names. */
function confirmedIn(roots: readonly X509Certificate[], lists: readonly RevocationList[]): ReadonlySet<string> {
  const confirmed = new Set(roots.slice(0, 1).map(fingerprintOf));
  for (let size = 0; size !== confirmed.size; ) {
    size = confirmed.size;
    for (const root of roots) {
      if (!confirmed.has(fingerprintOf(root))) continue;
      const named = lists.find((list) => isListOf(list, root))?.statement?.roots ?? [];
      for (const other of roots) if (named.includes(fingerprintOf(other))) confirmed.add(fingerprintOf(other));
    }
  }
  return confirmed;
}

/** Fingerprints of roots that are retired by the word of a confirmed one. */
function statedRetired(roots: readonly X509Certificate[], lists: readonly RevocationList[]): ReadonlySet<string> {
  const confirmed = confirmedIn(roots, lists);
  return new Set(
    roots
      .filter((root) => confirmed.has(fingerprintOf(root)))
      .flatMap((root) => lists.find((list) => isListOf(list, root))?.statement?.retiredRoots ?? []),
  );
}

function separateRetired(roots: readonly X509Certificate[], lists: readonly RevocationList[]) {
  const confirmed = confirmedIn(roots, lists);
  const retired = statedRetired(roots, lists);
  const isRetired = (root: X509Certificate) => {
    const own = lists.find((list) => isListOf(list, root))?.statement?.retiredRoots ?? [];
    return retired.has(fingerprintOf(root)) || own.includes(fingerprintOf(root));
  };
  const isConfirmed = (root: X509Certificate) => confirmed.has(fingerprintOf(root));
  const left = roots.filter((root) => !isRetired(root));
  // A device that trusts nobody can't be helped by anybody.
  const all = left.some(isConfirmed) ? left : roots;
  const staying = [...all.filter(isConfirmed), ...all.filter((root) => !isConfirmed(root))];
  return { staying, isInOrder: all.every((root, index) => root === staying[index]) };
}

function refused(reason: string): TrustUpdate {
  return { verdict: 'refused', reason };
}
