/**
 * `.ci/patroni`: three nodes over PostgreSQL under Patroni with the configuration of docs/grow-beyond-one-machine.md. The host of the primary
 * is killed while devices publish, comes back, and then the primary alone is killed. Exit code 1 when something acknowledged is not stored.
 */

import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LoadedNodes } from './loaded-nodes.ts';
import { PatroniCluster } from './patroni-cluster.ts';
import { describeStored, isWhole } from './stored-messages.ts';

const STEADY_MS = 10_000;
const GIVEN_UP_AFTER_MS = 180_000;

const directory = mkdtempSync(join(tmpdir(), 'rollcall-patroni-'));
// The user of PostgreSQL enters it.
chmodSync(directory, 0o711);
const say = (line: string) => void process.stdout.write(`${new Date().toISOString().slice(11, 23)} ${line}\n`);
let patroni: PatroniCluster | undefined;
let loaded: LoadedNodes | undefined;
try {
  patroni = await PatroniCluster.start(directory);
  const first = await patroni.untilPrimary();
  say(`${first.name} is the primary`);
  loaded = await LoadedNodes.start({ nodes: 3, directory, store: patroni.store, devices: 30, rate: 5, say });
  const { fleet } = loaded;
  say('30 devices are connected and publish five messages a second each');
  const cluster = patroni;
  const pauses: string[] = [];
  const measure = async (what: string, action: () => void, most = GIVEN_UP_AFTER_MS) => {
    const before = fleet.counts().acknowledged;
    say(`${what}; ${before} acknowledged before`);
    const ms = await (loaded as LoadedNodes).pauseAfter(action, { settledFor: STEADY_MS, most });
    pauses.push(`${what}: ${(ms / 1_000).toFixed(1)} s without an acknowledgement`);
    say(pauses.at(-1) as string);
  };
  await measure('nothing happens', () => {});
  const killedAt = performance.now();
  const promoted = cluster.untilPrimary(first).then((host) => {
    say(`${host.name} is the primary ${((performance.now() - killedAt) / 1_000).toFixed(1)} s later`);
    return host;
  });
  await measure('the host of the primary is killed', () => cluster.killHost(first));
  const second = await promoted;
  say(`${second.name} is the primary; ${first.name} comes back`);
  await measure('the former primary comes back', () => cluster.startHost(first));
  await cluster.untilWhole();
  say('three hosts take part again');
  const third = await cluster.untilPrimary();
  await measure('PostgreSQL of the primary is killed', () => cluster.killPostgres(third));
  await delay(STEADY_MS);
  const stored = await loaded.compare();
  for (const line of [...pauses, describeStored(stored)]) say(line);
  process.exitCode = isWhole(stored) ? 0 : 1;
} catch (error) {
  process.exitCode = 1;
  say((error as Error).stack ?? String(error));
  for (const host of ['db-1', 'db-2', 'db-3']) {
    try {
      say(
        `${host}: ${readFileSync(join(directory, host, 'patroni.log'), 'utf8')
          .trim()
          .split('\n')
          .slice(-15)
          .join('\n')}`,
      );
    } catch {} // it did not come so far
  }
} finally {
  await loaded?.close();
  await patroni?.dispose();
  rmSync(directory, { recursive: true, force: true });
}
