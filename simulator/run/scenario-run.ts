/**
 * One run of a scenario, from the first token to the verdict: prepares, starts, plays the timeline, waits for the last
 * acknowledgements, compares what was sent with what arrived, and judges.
 */

import type { Scenario } from '../scenario/schema.ts';
import { checkBroker } from './check-broker.ts';
import { DeviceList } from './device-list.ts';
import { measureRun } from './final-measurements.ts';
import { Incidents } from './incidents.ts';
import { OpenRun, type RunTarget } from './open-run.ts';
import type { RunResult } from './result.ts';
import { type RunOptions, RunRefused } from './run-options.ts';
import { type FleetSize, localThreads, type ShardPlacement } from './shard-placement.ts';
import { ShardLost } from './shards.ts';
import { checkHostsCanReach, createTokens, findServer, parseTarget, resolveTarget } from './targets.ts';
import { createResult } from './verdict.ts';

/** Throws {@link RunRefused} for a run that can't begin. */
export async function runScenario(options: RunOptions): Promise<RunResult> {
  const size = fleetSize(options.scenario);
  const placement = (options.placement ?? localThreads())(size);
  checkIdentities(options, size.devices);
  const run = await OpenRun.open(options, await findTarget(options, placement));
  const ending = new AbortController();
  const signal = AbortSignal.any([ending.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const incidents = new Incidents({ ...run.parts, options: { ...options, signal } });
  const startedAt = new Date();
  const problems: string[] = [];
  let values: Record<string, number>;
  try {
    await run.play(incidents, signal);
    values = await measureRun(options, { ...run.parts, startedAt });
  } catch (error) {
    if (!(error instanceof ShardLost)) throw error;
    problems.push(error.message);
    values = run.valuesSoFar();
  } finally {
    ending.abort(); // a timeline that waits for its next incident would keep the program running
    await run.close();
  }
  const { record, server } = run.parts;
  return createResult(options, { record, values, placement, problems, startedAt, target: server.mqttUrl, incidents });
}

async function findTarget(options: RunOptions, placement: ShardPlacement): Promise<RunTarget> {
  const { scenario, prefix, identities, targetBroker } = options;
  const tokens = await createTokens(options);
  const server = await findServer(options, tokens);
  const target = await resolveTarget({ ...parseTarget(server.mqttUrl), ...serverNameOf(options) });
  if (targetBroker !== undefined) {
    const [identity] = identities?.values() ?? [];
    await checkBroker({ target, rootPem: targetBroker.caPem ?? server.rootPem, identity });
  }
  checkHostsCanReach(target.host, placement.hosts());
  const nameOf = (group: string, number: number) => `${prefix}-${group}-${String(number).padStart(5, '0')}`;
  return { placement, tokens, server, target, devices: new DeviceList(scenario, nameOf, identities) };
}

function serverNameOf({ targetBroker }: RunOptions): { readonly servername?: string } {
  return targetBroker?.serverName === undefined ? {} : { servername: targetBroker.serverName };
}

function fleetSize({ devices, timeline }: Scenario): FleetSize {
  const groups = Object.entries(devices);
  const behindProxy = groups.filter(
    ([name, group]) =>
      group.network !== undefined ||
      timeline.some(({ network, of }) => network !== undefined && (of === undefined || of === name)),
  );
  const total = (some: typeof groups) => some.reduce((sum, [, group]) => sum + group.count, 0);
  return { devices: total(groups), behindProxy: total(behindProxy) };
}

function checkIdentities({ scenario, identities, operator, targetBroker }: RunOptions, count: number): void {
  if (identities !== undefined && identities.size < count) {
    throw new RunRefused(`expected identities of ${count} devices, found ${identities.size}`);
  }
  if (identities === undefined && operator === undefined) {
    throw new RunRefused('expected a server that enrolls devices, or saved identities');
  }
  if (identities !== undefined && Object.values(scenario.devices).some((group) => group.kind === 'sdk')) {
    throw new RunRefused('expected devices of kind light with saved identities');
  }
  if (targetBroker !== undefined && Object.values(scenario.devices).some((group) => group.kind === 'sdk')) {
    throw new RunRefused(
      'expected devices of kind light with --target: devices of the SDK connect to the broker of their fleet',
    );
  }
}
