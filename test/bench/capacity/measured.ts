/** What `run.ts` measured, and on which machine: `measured.json`, which `run.ts --write` writes. */

import { readFileSync } from 'node:fs';
import type { Costs, Run } from './model.ts';

export interface Measurements {
  /** In the words of the page. */
  readonly machine: string;
  readonly costs: { readonly embedded: Costs; readonly shared: Costs };
  readonly runs: readonly Run[];
}

export const MEASURED_FILE: URL = new URL('measured.json', import.meta.url);

export function readMeasured(): Measurements {
  return JSON.parse(readFileSync(MEASURED_FILE, 'utf8')) as Measurements;
}
