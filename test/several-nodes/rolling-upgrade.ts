/**
 * `.ci/rolling-upgrade [COMMIT] [--devices N] [--incompatible]`: three nodes of one release behind HAProxy are upgraded to another one, one
 * after the other, while devices publish. Exit code 1 when something acknowledged is not stored once and in order, when a node does not come
 * back, or when a revocation is not confirmed by every node; and, with `--incompatible`, when the upgrade is not refused.
 */

import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { parseDecimal } from '@rollcall/protocol';
import type { NodeProcess } from '../../cli/demo/node-process.ts';
import { PostgresQuorum } from '../../cli/demo/postgres-quorum.ts';
import { mergedSettings } from '../../cli/merged-settings.ts';
import { addIncompatibleMigration, type Checkout, checkOut, newestTag, ownTree } from './checkout.ts';
import { BEHIND_HAPROXY } from './haproxy.ts';
import { LoadedNodes } from './loaded-nodes.ts';
import { restartNode } from './restarted-node.ts';
import { concludeScript } from './stored-messages.ts';

const DRAIN = { within: 10_000, perSecond: 20 };
const PUBLISHES_MS = 3_000;
const REFUSED_WITHIN_MS = 60_000;
const LOOK_MS = 250;
const REFUSAL = /upgrade_blocked|node_release_too_far/;

const { values, positionals } = parseArgs({
  options: { devices: { type: 'string', default: '60' }, incompatible: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const devices = parseDecimal(values.devices, 3, 5_000);
if (devices === undefined) throw new Error(`--devices: expected a number from 3 to 5000, found ${values.devices}`);
const from = positionals[0] ?? (values.incompatible ? 'HEAD' : newestTag());
if (from === undefined) throw new Error('expected a commit to upgrade from: there is no tag');

const directory = mkdtempSync(join(tmpdir(), 'rollcall-upgrade-'));
// The user of PostgreSQL enters it.
chmodSync(directory, 0o711);
const say = (line: string) => void process.stdout.write(`${new Date().toISOString().slice(11, 23)} ${line}\n`);
const failures: string[] = [];
let postgres: PostgresQuorum | undefined;
let loaded: LoadedNodes | undefined;
try {
  const older = checkOut(from, join(directory, 'older'));
  const isCopied = values.incompatible && positionals.length === 0;
  const newer = isCopied ? checkOut('HEAD', join(directory, 'newer')) : ownTree();
  if (isCopied) addIncompatibleMigration(newer);
  postgres = await PostgresQuorum.start({
    directory: join(directory, 'postgres'),
    path: process.env.PATH,
    onChange: say,
  });
  const { url, passwordFile } = postgres;
  loaded = await LoadedNodes.start({
    ...{ nodes: 3, directory, store: { url, passwordFile, standbys: 1 }, devices, rate: 1, say, main: older.main },
    balancer: 'haproxy',
    settings: mergedSettings(BEHIND_HAPROXY, {
      drain: { within: `${DRAIN.within / 1_000}s`, sessionsPerSecond: DRAIN.perSecond },
      mqtt: { limits: { handshakesPerAddress: 0 } },
    }),
  });
  say(`${devices} devices are connected to three nodes of ${older.commit}`);
  await delay(PUBLISHES_MS);
  if (values.incompatible) await beRefused(loaded, older, newer);
  else await upgrade(loaded, older, newer);
  concludeScript(await loaded.compare(), failures, say);
} finally {
  await loaded?.close();
  await postgres?.close();
  rmSync(directory, { recursive: true, force: true });
}

/** One after the other; then one goes back, and forward. */
async function upgrade(load: LoadedNodes, older: Checkout, newer: Checkout): Promise<void> {
  const [first, second] = load.cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
  for (const node of load.cluster.nodes) await change(load, node, newer);
  await change(load, second, older);
  await change(load, second, newer);
  await change(load, first, older);
  await change(load, first, newer);
}

async function change(load: LoadedNodes, node: NodeProcess, to: Checkout): Promise<void> {
  node.main = to.main;
  const { sessions, took } = await restartNode(load, node, DRAIN).catch((error: unknown) => {
    say(
      `${node.name} of ${to.commit}: ${readFileSync(join(directory, `${node.name}.log`), 'utf8')
        .trim()
        .split('\n')
        .at(-1)}`,
    );
    throw error;
  });
  say(
    `${node.name} runs ${to.commit}; its ${sessions} devices were connected again ${(took / 1_000).toFixed(1)} s after SIGTERM`,
  );
  await delay(PUBLISHES_MS);
  // By a node of either release, about a device that enrolled at this one.
  for (const [index, other] of load.cluster.nodes.entries())
    await revoke(node, other, `revoked-${node.name}-${index}-${Date.now()}`);
}

/** The order has to be confirmed by all nodes. */
async function revoke(enrolledAt: NodeProcess, by: NodeProcess, id: string): Promise<void> {
  const { text: token } = await enrolledAt.operator.createToken({});
  await enrollOnce(memoryIdentityStore(), { token, deviceId: id });
  const { nodes } = await by.operator.revokeDevices({ ids: [id], reason: 'unspecified' });
  const states = nodes.map(({ name, state }) => `${name} ${state}`);
  if (states.length === 3 && states.every((state) => state.endsWith('confirmed'))) return;
  failures.push(`${id}: expected a revocation by ${by.name} to be confirmed by all nodes, found ${states.join(', ')}`);
}

/** The newer release does not start beside the older one, which goes on; once all nodes are stopped it does. */
async function beRefused(load: LoadedNodes, older: Checkout, newer: Checkout): Promise<void> {
  const { nodes, watch } = load.cluster;
  const [first, ...others] = nodes as [NodeProcess, NodeProcess, NodeProcess];
  first.main = newer.main;
  const { pid } = first;
  process.kill(pid as number, 'SIGTERM');
  const log = () => readFileSync(join(directory, `${first.name}.log`), 'utf8');
  const refused = await until(() => REFUSAL.test(log()), REFUSED_WITHIN_MS);
  if (!refused) failures.push('expected the newer release to be refused');
  const [line] = log()
    .split('\n')
    .filter((text) => REFUSAL.test(text));
  say(
    `${first.name} of the newer release is refused: ${line === undefined ? '-' : (JSON.parse(line) as { detail: string }).detail}`,
  );
  say(`devices that are connected meanwhile: ${load.fleet.counts().connected} of ${load.fleet.counts().devices}`);
  first.main = older.main;
  if (!(await until(() => watch.isReady(first), REFUSED_WITHIN_MS)))
    failures.push('expected the older release to start again');
  say(`${first.name} runs ${older.commit} again`);
  await delay(PUBLISHES_MS);
  for (const node of nodes) node.main = newer.main;
  const former = new Map(nodes.map((node) => [node, node.pid]));
  for (const node of [first, ...others]) process.kill(node.pid as number, 'SIGTERM');
  const isBack = () => nodes.every((node) => node.pid !== former.get(node) && watch.isReady(node));
  if (!(await until(isBack, 2 * REFUSED_WITHIN_MS)))
    failures.push('expected the newer release to start once all nodes were stopped');
  const { connected, devices: all } = load.fleet.counts();
  await until(() => load.fleet.counts().connected === all, REFUSED_WITHIN_MS);
  say(
    `all nodes were stopped and run the newer release; ${connected} of ${all} devices were connected when the last one was ready`,
  );
}

async function until(isSo: () => boolean, ms: number): Promise<boolean> {
  const deadline = performance.now() + ms;
  while (!isSo()) {
    if (performance.now() > deadline) return false;
    await delay(LOOK_MS);
  }
  return true;
}
