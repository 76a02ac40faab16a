/**
 * The long crash test: `node bin/pinned.js test/crash/main.ts [KILLS] [DEVICES] [visited]`, 200 and 25 if not said. With `visited` another
 * process opens and closes every database all the time. Exit code 1 when anything was lost.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crash } from './crashes.ts';

const [kills = '200', devices = '25', visited] = process.argv.slice(2);
const data = mkdtempSync(join(tmpdir(), 'rollcall-crash-'));
try {
  const result = await crash({
    data,
    kills: Number(kills),
    devices: Number(devices),
    inflight: 10,
    longestLife: 500,
    random: Math.random,
    isVisited: visited === 'visited',
    progress: (kill, acknowledged) => {
      if (kill % 10 === 0) process.stderr.write(`${kill} kills, ${acknowledged} acknowledged\n`);
    },
  });
  const { lost, duplicates, misplaced } = result;
  process.stdout.write(
    `${result.kills} kills, ${result.acknowledged} acknowledged, ${result.stored} stored, ${result.retried} sent again, ` +
      `${result.visits} visits by another process: ` +
      `${lost.length} lost, ${duplicates.length} stored twice, ${misplaced.length} out of order\n`,
  );
  for (const one of [...lost, ...duplicates, ...misplaced].slice(0, 20)) process.stdout.write(`${one}\n`);
  if (lost.length + duplicates.length + misplaced.length > 0) process.exitCode = 1;
} finally {
  rmSync(data, { recursive: true, force: true });
}
