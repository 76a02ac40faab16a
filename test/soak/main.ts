/**
 * `node bin/pinned.js test/soak/main.ts [MINUTES] [DEVICES] [RATE]`: 10, 20 and 90 if not said. Exit code 1 when anything
 * acknowledged is not stored, or when the server used a tenth more memory in its last quarter than in its second.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { soak } from './soak.ts';

const GROWTH_AT_MOST = 1.1;

const [minutes = '10', devices = '20', rate = '90'] = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), 'rollcall-soak-'));
try {
  const { acknowledged, stored, stalls, resident } = await soak({
    directory,
    minutes: Number(minutes),
    devices: Number(devices),
    rate: Number(rate),
    progress: (line) => process.stderr.write(`${line}\n`),
  });
  const quarter = Math.floor(resident.length / 4);
  const median = (values: readonly number[]) =>
    values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
  const [second, last] = [median(resident.slice(quarter, 2 * quarter)), median(resident.slice(-quarter))];
  process.stdout.write(
    `${minutes} minutes: ${acknowledged} acknowledged, ${stored} stored, a reader stalled ${stalls} times; ` +
      `memory ${second} MiB in the second quarter, ${last} MiB in the last, ${Math.max(...resident)} MiB at most\n`,
  );
  if (stored < acknowledged || last > second * GROWTH_AT_MOST) process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
