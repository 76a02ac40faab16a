/** Nodes that are broken on purpose, by the names of what is broken: the checker has to find what they do. */

import { fileURLToPath } from 'node:url';
import type { ServedClusterOptions } from './served-cluster.ts';

export const SEEDED_FAULTS = {
  /** Others take over the sessions of a node without fencing it off, and it acts on. */
  'ignore-fences': { broken: new URL('ignore-fences.ts', import.meta.url) },
  /** A commit that no standby has counts as one that is stored. */
  'ignore-lost-quorum': { broken: new URL('ignore-lost-quorum.ts', import.meta.url) },
  /** A node that is cut off acts on. */
  'never-deaf': { program: fileURLToPath(new URL('never-deaf-node.ts', import.meta.url)) },
} as const satisfies Record<string, Pick<ServedClusterOptions, 'broken' | 'program'>>;

export type SeededFaultName = keyof typeof SEEDED_FAULTS;
