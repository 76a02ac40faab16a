/** Nodes that are deaf cannot answer what operators ask all nodes: they are named among those that did not. */

import type { Cluster } from './cluster.ts';

export async function withDeaf<Found extends { readonly unanswered: readonly string[] }>(
  found: Found,
  cluster: Pick<Cluster, 'nodes'> | undefined,
): Promise<Found> {
  if (cluster === undefined) return found;
  const deaf = (await cluster.nodes()).flatMap(({ name, liveness }) => (liveness.state === 'deaf' ? [name] : []));
  return { ...found, unanswered: [...new Set([...found.unanswered, ...deaf])].sort() };
}
