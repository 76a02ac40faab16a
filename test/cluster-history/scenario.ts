/**
 * Devices publish to the nodes of a cluster while faults are injected one after the other. Returns the history, what the database has in
 * the end, and the verdict on both.
 */

import { setTimeout as passed } from 'node:timers/promises';
import type { DeviceId } from '@rollcall/protocol';
import { seededRandom } from '../../simulator/seeded-random.ts';
import { checkHistory, type Verdict } from './check-history.ts';
import { issueCommanders, sendCommands } from './commanding-service.ts';
import { FAULTS, type FaultName } from './faults.ts';
import type { StoredState } from './history.ts';
import { PublishingDevice, STREAM } from './publishing-device.ts';
import { HistoryRecorder } from './recorder.ts';
import { ServedCluster } from './served-cluster.ts';

export interface ScenarioOptions {
  readonly nodes: readonly string[];
  readonly standbys: number;
  readonly patroni?: boolean | undefined;
  /** Nodes on hosts of their own, for faults of the network. */
  readonly ownHosts?: boolean | undefined;
  readonly devices: number;
  /** Milliseconds between two messages of a device. */
  readonly every: number;
  readonly seed: number;
  /** The next fault, so many milliseconds after the first message; undefined: there is none any more. */
  readonly nextFault: (random: () => number, elapsed: number) => FaultName | undefined;
  /** Milliseconds between two faults. */
  readonly pause: number;
  /** The longest time that it takes, ms: what runs longer is ended. */
  readonly longest: number;
  readonly historyFile?: string | undefined;
  /** A module that each node loads first, to break a part of it. */
  readonly broken?: URL | undefined;
  /** What each node runs in place of `bin/rollcall`. */
  readonly program?: string | undefined;
  progress?(line: string): void;
  /** The log of each node, at the end. */
  ended?(node: string, log: string): void;
}

export interface ScenarioResult {
  readonly verdict: Verdict;
  readonly faults: number;
  /** Devices whose messages were not all acknowledged once everything ran again. */
  readonly stuck: readonly string[];
}

/** How long devices may take until everything is acknowledged, ms. */
const SETTLED_WITHIN_MS = 60_000;
const CLAIMS_READ_EVERY_MS = 200;
const PAGE = 1_000;

export async function runScenario(options: ScenarioOptions): Promise<ScenarioResult> {
  const { seed, pause, progress } = options;
  const random = seededRandom(seed);
  const recorder = new HistoryRecorder(options.historyFile);
  const cluster = await ServedCluster.start(options);
  try {
    const devices = await enrollDevices(cluster, recorder, options);
    const commanders = await issueCommanders(cluster);
    const stopped = new AbortController();
    const reading = readClaims(cluster, recorder, stopped.signal);
    const commanding = commanders.map((commander, index) =>
      sendCommands(commander, devices, recorder, seededRandom(seed + 1_000 + index), stopped.signal),
    );
    const running = devices.map((device) => device.run());
    const began = recorder.now();
    let faults = 0;
    for (;;) {
      await passed(pause);
      const name = options.nextFault(random, recorder.now() - began);
      if (name === undefined) break;
      faults += 1;
      progress?.(`${name}; ${recorder.count('acknowledged')} acknowledged before`);
      recorder.record({ type: 'fault', name });
      await FAULTS[name]({ cluster, devices, recorder, random, ...(progress && { progress }) });
      recorder.record({ type: 'fault ended', name });
    }
    for (const device of devices) device.settle();
    for (const device of devices.filter(({ isRevoked }) => isRevoked)) device.end();
    await Promise.race([Promise.all(running), passed(SETTLED_WITHIN_MS, undefined, { ref: false })]);
    const stuck = devices.filter(({ unanswered, isRevoked }) => unanswered > 0 && !isRevoked).map(({ id }) => id);
    for (const device of devices) device.end();
    stopped.abort();
    await Promise.all([reading, ...commanding]);
    recorder.flush();
    const verdict = checkHistory(recorder.history, await readStored(cluster, devices));
    return { verdict, faults, stuck };
  } finally {
    await cluster.dispose();
    for (const { name, log } of cluster.nodes) options.ended?.(name, log);
  }
}

/** Half of them with numbered keys, half with persistent sessions, half with MQTT 5, in all combinations. */
async function enrollDevices(
  cluster: ServedCluster,
  recorder: HistoryRecorder,
  { devices, every, seed }: ScenarioOptions,
): Promise<readonly PublishingDevice[]> {
  const ids = Array.from({ length: devices }, (_, index) => `dev-${index + 1}`);
  return (await cluster.enroll(ids)).map(
    (identity, index) =>
      new PublishingDevice({
        ...{ identity, recorder, every, nodes: cluster.nodes },
        random: seededRandom(seed + index + 1),
        keys: index % 2 === 0 ? 'numbered' : 'named',
        session: index % 4 < 2 ? 'clean' : 'persistent',
        protocolVersion: index % 8 < 4 ? 5 : 4,
      }),
  );
}

async function readClaims(cluster: ServedCluster, recorder: HistoryRecorder, signal: AbortSignal): Promise<void> {
  const sql = 'SELECT client_id AS device, node FROM SCHEMA.session_claims';
  while (!signal.aborted) {
    const askedAt = recorder.now();
    // While there is no primary nobody can be asked.
    const claims = await cluster.ask<{ device: string; node: string }>(sql).catch(() => []);
    for (const { device, node } of claims) recorder.record({ type: 'claim read', device, node, askedAt });
    await passed(CLAIMS_READ_EVERY_MS);
  }
}

async function readStored(cluster: ServedCluster, devices: readonly PublishingDevice[]): Promise<StoredState> {
  const messages = new Map<string, readonly string[]>();
  for (const { id } of devices) messages.set(id, await readKeys(cluster, id));
  return { messages, tokens: await readTokens(cluster) };
}

/** By queries of one device, newest page first: they have its order over all nodes, which an export has not. */
async function readKeys({ anyNode: { operator } }: ServedCluster, device: DeviceId): Promise<readonly string[]> {
  const keys: string[] = [];
  let before: number | undefined;
  for (;;) {
    const page = await operator.queryTelemetry({
      device,
      stream: STREAM,
      limit: PAGE,
      ...(before !== undefined && { before }),
    });
    keys.unshift(...page.map(({ payload }) => payload as string));
    if (page.length < PAGE) return keys;
    before = page[0]?.position;
  }
}

async function readTokens(cluster: ServedCluster): Promise<StoredState['tokens']> {
  const rows = await cluster.ask<{ token: string; maximum: number; used: number; devices: DeviceId[] }>(
    `SELECT t.id AS token, t.max_uses::int AS maximum, t.uses::int AS used,
       array(SELECT DISTINCT c.device_id FROM SCHEMA.certificates AS c WHERE c.token_id = t.id) AS devices
     FROM SCHEMA.tokens AS t`,
  );
  return rows;
}
