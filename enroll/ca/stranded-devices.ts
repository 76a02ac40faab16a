/** Counts the devices and services that would not trust certificates of another issuing CA if it were activated. */

import { X509Certificate } from 'node:crypto';
import type { IssuerStore } from '../../registry/index.ts';
import { type CaSet, certificatesInPem } from './ca-set.ts';

/**
 * A device knows a new root when it received a certificate after that root joined the trust bundle, or when a root that it
 * knows cross-certifies the new one. Undefined when activation needs no root that devices may not know.
 */
export async function countStranded(
  id: string,
  cas: CaSet,
  registry: Pick<IssuerStore, 'countNotSeenSince'>,
): Promise<{ readonly count: number; readonly rootId: string } | undefined> {
  const required = rootRequiredBy(id, cas);
  if (required === undefined) return undefined;
  return { count: await registry.countNotSeenSince(required.since), rootId: required.rootId };
}

/**
 * The root that devices have to know before this CA is activated, and since when it is in the trust bundle. Undefined when a
 * root that they know is or certifies it.
 */
export function rootRequiredBy(
  id: string,
  { issuing, roots, root: activeRoot }: CaSet,
): { readonly rootId: string; readonly since: number } | undefined {
  const ca = issuing.find((each) => each.id === id);
  const root = roots.find((each) => each.id === ca?.record.rootId);
  if (ca === undefined || root === undefined || root.id === activeRoot.id) return undefined;
  const knownRoots = roots.filter((each) => each.id !== root.id);
  const isCrossCertified = certificatesInPem(ca.record.chain).some((der) => {
    const cross = new X509Certificate(der);
    return knownRoots.some(({ publicKey }) => cross.verify(publicKey));
  });
  return isCrossCertified ? undefined : { rootId: root.id, since: root.record.preparedAt };
}
