/** Counts the devices and services that would not trust certificates of another issuing CA if it were activated. */

import { X509Certificate } from 'node:crypto';
import type { IssuerStore } from '../../registry/index.ts';
import { type CaSet, certificatesInPem } from './ca-set.ts';

/**
 * A device knows a new root when it received a certificate after that root joined the trust bundle, or when a root that it
 * knows cross-certifies the new one. Undefined when the CA is under the active root.
 */
export async function countStranded(
  id: string,
  { issuing, roots, root: activeRoot }: CaSet,
  registry: Pick<IssuerStore, 'countNotSeenSince'>,
): Promise<{ readonly count: number; readonly rootId: string } | undefined> {
  const ca = issuing.find((each) => each.id === id);
  const root = roots.find((each) => each.id === ca?.record.rootId);
  if (ca === undefined || root === undefined || root.id === activeRoot.id) return undefined;
  const knownRoots = roots.filter((each) => each.id !== root.id);
  const isCrossCertified = certificatesInPem(ca.record.chain).some((der) => {
    const cross = new X509Certificate(der);
    return knownRoots.some(({ publicKey }) => cross.verify(publicKey));
  });
  const count = isCrossCertified ? 0 : await registry.countNotSeenSince(root.record.preparedAt);
  return { count, rootId: root.id };
}
