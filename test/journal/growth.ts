/**
 * How the journal's costs grow with its size: `node bin/pinned.js test/journal/growth.ts [MILLIONS]`, 10 if not said. At 1,
 * 2, 5, ... million messages, then export, then latency at two rates. `growing.ts` says what is measured.
 */

import { DEVICES, GrowingJournal } from './growing.ts';

const millions = Number(process.argv[2] ?? 10);
const growing = await GrowingJournal.open(millions * 1e6);
const say = (line: string) => process.stdout.write(`${line}\n`);
try {
  for (const size of [0.1, 1, 2, 5, 10, 20, 50, 100].filter((one) => one <= millions)) {
    const { cpuPerMessage, newest, range, lastOfOne, lastOfAll } = await growing.growTo(size * 1e6);
    const ms = (value: number) => `${value.toFixed(2)} ms`;
    say(
      `${size} million: ${cpuPerMessage.toFixed(2)} us of CPU per message; newest 100 of a device ${ms(newest)}, ` +
        `a range ${ms(range)}; last of a device ${ms(lastOfOne)}, of all ${DEVICES} ${ms(lastOfAll)}`,
    );
  }
  say(`export: ${Math.round(await growing.exportRate(1e6))} messages per second`);
  for (const perSecond of [5000, 25_000]) {
    const { p50, p99, loopP99, loopLongest } = await growing.latency(perSecond, 10);
    const ms = (value: number) => `${value.toFixed(1)} ms`;
    say(
      `${perSecond} messages/s: acknowledged p50 ${ms(p50)}, p99 ${ms(p99)}; ` +
        `event loop p99 ${ms(loopP99)}, longest ${ms(loopLongest)}`,
    );
  }
} finally {
  await growing.close();
}
