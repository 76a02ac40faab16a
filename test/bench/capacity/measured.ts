/** What `run.ts` measured, and on which machine: `measured.json`, which `run.ts --write` writes. */

import { readFileSync } from 'node:fs';
import type { NodeMemory } from './memory.ts';
import type { Run } from './model.ts';
import type { Observations } from './observe.ts';

export interface Measurements {
  /** In the words of the page. */
  readonly machine: string;
  /** Load averages at the beginning and between the parts: the lowest and the highest. */
  readonly load: readonly [number, number];
  /** A server with a store of its own, the only node of a database, and two nodes. */
  readonly observed: { readonly server: Observations; readonly one: Observations; readonly two: Observations };
  readonly memory: { readonly server: readonly NodeMemory[]; readonly nodes: readonly NodeMemory[] };
  readonly runs: readonly Run[];
}

export const MEASURED_FILE: URL = new URL('measured.json', import.meta.url);

export function readMeasured(): Measurements {
  return JSON.parse(readFileSync(MEASURED_FILE, 'utf8')) as Measurements;
}
