/** docs/capacity.md with the tables and figures that the model has now. */

import { readFileSync, writeFileSync } from 'node:fs';
import { readMeasured } from './measured.ts';
import { withTables } from './tables.ts';

export const PAGE: URL = new URL('../../../docs/capacity.md', import.meta.url);

export function writePage(): void {
  writeFileSync(PAGE, withTables(readFileSync(PAGE, 'utf8'), readMeasured()));
}
