/**
 * `.ci/rolling-restart [--devices N]`: three nodes behind HAProxy are stopped by SIGTERM one after the other, and started again, while
 * devices publish; 120 devices if not said. Exit code 1 when a device is not back within the drain plan, when something acknowledged is not
 * stored, or when a node refused a connection for its limit of handshakes.
 */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { parseDecimal } from '@rollcall/protocol';
import type { NodeProcess } from '../../cli/demo/node-process.ts';
import { PostgresQuorum } from '../../cli/demo/postgres-quorum.ts';
import { mergedSettings } from '../../cli/merged-settings.ts';
import { MetricSamples } from '../../cli/top/metric-samples.ts';
import { BEHIND_HAPROXY } from './haproxy.ts';
import { LoadedNodes } from './loaded-nodes.ts';
import { restartNode } from './restarted-node.ts';
import { concludeScript } from './stored-messages.ts';

const DRAIN_PER_SECOND = 10;
const DRAIN_WITHIN_MS = 10_000;
/** The limit of each node: what the drain rate brings in two seconds, and less than the devices of a node. */
const HANDSHAKES = 2 * DRAIN_PER_SECOND;
/** A device waits up to a second before it connects again, and up to two more when its first try met a node that stops. */
const DEVICE_DELAY_MS = 3_000;

const { values } = parseArgs({ options: { devices: { type: 'string', default: '120' } } });
const devices = parseDecimal(values.devices, 3, 5_000);
if (devices === undefined) throw new Error(`--devices: expected a number from 3 to 5000, found ${values.devices}`);

const directory = mkdtempSync(join(tmpdir(), 'rollcall-rolling-'));
// The user of PostgreSQL enters it.
chmodSync(directory, 0o711);
const say = (line: string) => void process.stdout.write(`${new Date().toISOString().slice(11, 23)} ${line}\n`);
let postgres: PostgresQuorum | undefined;
let loaded: LoadedNodes | undefined;
try {
  postgres = await PostgresQuorum.start({
    directory: join(directory, 'postgres'),
    path: process.env.PATH,
    onChange: say,
  });
  const { url, passwordFile } = postgres;
  loaded = await LoadedNodes.start({
    ...{ nodes: 3, directory, store: { url, passwordFile, standbys: 1 }, devices, rate: 1, say },
    balancer: 'haproxy',
    settings: mergedSettings(BEHIND_HAPROXY, {
      drain: { within: `${DRAIN_WITHIN_MS / 1_000}s`, sessionsPerSecond: DRAIN_PER_SECOND },
      mqtt: { limits: { handshakes: HANDSHAKES, handshakesPerAddress: 0 } },
    }),
  });
  say(`${devices} devices are connected`);
  await delay(3_000);
  const { nodes } = loaded.cluster;
  const failures: string[] = [];
  for (const node of nodes) {
    const others = nodes.filter((other) => other !== node);
    const before = await refusedHandshakes(others);
    const { sessions, plan, took, pending } = await restartNode(loaded, node, {
      within: DRAIN_WITHIN_MS,
      perSecond: DRAIN_PER_SECOND,
    });
    const refused = (await refusedHandshakes(others)) - before;
    const line =
      `${node.name}: ${sessions} sessions, drain plan ${seconds(plan)}; all devices connected again ${seconds(took)} after SIGTERM, ` +
      `another node had at most ${pending} pending connections, and refused ${refused} for its limit of ${HANDSHAKES}`;
    say(line);
    if (took > plan + DEVICE_DELAY_MS) failures.push(`not back within the drain plan: ${line}`);
    if (refused > 0) failures.push(`refused for the limit of handshakes: ${line}`);
  }
  concludeScript(await loaded.compare(), failures, say);
} finally {
  await loaded?.close();
  await postgres?.close();
  rmSync(directory, { recursive: true, force: true });
}

async function refusedHandshakes(nodes: readonly NodeProcess[]): Promise<number> {
  const refused = async ({ operator }: NodeProcess) =>
    new MetricSamples(await operator.metrics()).valueOf(
      'rollcall_connections_refused_total',
      'reason',
      'too_many_handshakes',
    ) ?? 0;
  return (await Promise.all(nodes.map(refused))).reduce((sum, count) => sum + count, 0);
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
