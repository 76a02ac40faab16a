/** Starts `rollcall-device`. Everything it does stands in main.ts, which a test can import without starting it. */

import { main } from './main.ts';

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
