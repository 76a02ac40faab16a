/**
 * An operator's prune in a process that kills itself right before or right after the journal is pruned; for
 * `killed-prune.test.ts`. Argument: `before` or `after`. Prints its directory, which it leaves behind.
 */

import { writeSync } from 'node:fs';
import { openTestbed, START } from './testbed.ts';

const DAY = 86_400_000;

const [, , when = ''] = process.argv;
const bed = await openTestbed();
writeSync(1, `${bed.dir}\n`);
await bed.say('dev-1', 's', 'early');
await bed.say('dev-1', 's', 'later', START + 3 * DAY);
bed.clock.now = START + 3 * DAY;
const { prune } = bed.telemetry;
Object.assign(bed.telemetry, {
  prune: async (...args: Parameters<typeof prune>) => {
    if (when === 'after') await prune.apply(bed.telemetry, args);
    process.kill(process.pid, 'SIGKILL');
    await new Promise(() => {}); // the signal may take a moment
  },
});
await bed.client.pruneTelemetry({ olderThanSeconds: 86_400 });
