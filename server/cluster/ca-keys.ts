/** Which nodes with the role enroll lack the key of an issuing CA: they answer enrollments with 503 once it is the active one. */

import type { ListedNode } from '../../storage/postgres/index.ts';

/** Names of those that run, in their order. One whose release does not say what it has is not among them. */
export function nodesWithoutKey(nodes: readonly ListedNode[], ca: string): readonly string[] {
  return nodes
    .filter(({ roles, removedAt, liveness, caKeys }) => {
      const runs = removedAt === undefined && liveness.state !== 'gone';
      return runs && roles.includes('enroll') && caKeys !== undefined && !caKeys.includes(ca);
    })
    .map(({ name }) => name);
}
