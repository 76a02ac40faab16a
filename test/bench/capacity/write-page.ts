/** Writes the tables and figures of docs/capacity.md anew: `node bin/pinned.js test/bench/capacity/write-page.ts`, after the model changed. */

import { writePage } from './page.ts';

writePage();
