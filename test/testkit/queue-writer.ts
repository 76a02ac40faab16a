/** Publishes into a queue on disk for ever, and reports each message that is safe: a process to be killed. */

import { journalFiles } from '../../device-sdk/journal-files.ts';
import { add, openQueue } from './queue-on-disk.ts';

const [directory = '', from = '0'] = process.argv.slice(2);
const outbox = openQueue(journalFiles(directory), {
  segmentBytes: 4_096,
  bytes: 1e9,
  rulesOf: () => ({ drop: 'newest', bytes: 1e9 }),
});
for (let n = Number(from); ; n += 10) {
  const numbers = Array.from({ length: 10 }, (_, index) => String(n + index));
  await Promise.all(numbers.map((text) => add(outbox, 't', text).then(() => process.stdout.write(`${text}\n`))));
}
