/** Writes the tables of docs/capacity.md anew: `node bin/pinned.js test/bench/capacity/write-page.ts`, after `measured.ts` or the model changed. */

import { readFileSync, writeFileSync } from 'node:fs';
import { withTables } from './tables.ts';

const PAGE = new URL('../../../docs/capacity.md', import.meta.url);

writeFileSync(PAGE, withTables(readFileSync(PAGE, 'utf8')));
