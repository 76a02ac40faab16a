/**
 * One run of a scenario, from the first token to the verdict: prepares, starts, lets happen what the timeline says, waits
 * for the last acknowledgements, compares what was said with what arrived, and judges.
 */

import { Counters } from '../devices/counters.ts';
import { SequenceSet } from '../devices/sequence-set.ts';
import { preciseNow, TimerWheel } from '../devices/timer-wheel.ts';
import { TlsConnector } from '../devices/tls-connections.ts';
import type { Scenario } from '../scenario/schema.ts';
import { DeviceList } from './device-list.ts';
import { readServerMeasurements, waitForAcknowledgements, waitForDelivery } from './final-measurements.ts';
import { Incidents } from './incidents.ts';
import type { Observer } from './observer.ts';
import { RunRecord } from './record.ts';
import type { RunResult } from './result.ts';
import { type RunOptions, RunRefused } from './run-options.ts';
import { openService, revokeService } from './service.ts';
import { createShardConfigs } from './shard-configs.ts';
import { type FleetSize, localThreads } from './shard-placement.ts';
import { type SecondReport, ShardLost, Shards } from './shards.ts';
import {
  type BootstrapTokens,
  checkHostsCanReach,
  createTokens,
  findServer,
  parseTarget,
  resolveTarget,
} from './targets.ts';
import { createResult } from './verdict.ts';

/** Throws {@link RunRefused} for a run that can't begin. */
export async function runScenario(options: RunOptions): Promise<RunResult> {
  const { scenario } = options;
  // 1. What can be refused before anybody is asked.
  const size = sizeOf(scenario);
  const placement = (options.placement ?? localThreads())(size);
  checkIdentities(options, size.devices);

  // 2. Who may come in, and where the doors are.
  const tokens = await createTokens(options);
  const server = await findServer(options, tokens);
  const target = await resolveTarget(parseTarget(server.mqttUrl));
  checkHostsCanReach(target.host, placement.hosts());
  const devices = new DeviceList(scenario, options.prefix, options.identities);

  // 3. The service that hears everything, before anybody speaks.
  const record = new RunRecord(size.devices, placement.shards, () => placement.memory());
  const counters = new Counters();
  const lag = new TimerWheel((late) => counters.record('lag', late));
  const lagProbe = keepLooking(lag);
  const stopLooking = () => {
    clearInterval(lagProbe);
    lag.close();
  };
  const connector = new TlsConnector(server.rootPem);
  const service = await openService(options, { target, connector, counters }).catch((error) => {
    stopLooking();
    throw error;
  });

  // 4. The shards, each with its part of the fleet.
  const onSecond = (report: SecondReport) => {
    record.own(counters.take());
    if (record.second(report)) options.onSecond?.(record.snapshot());
  };
  let shards: Shards;
  try {
    shards = await Shards.open(
      createShardConfigs(options, { placement, devices, tokens, target, server }),
      placement,
      onSecond,
    );
  } catch (error) {
    service?.close();
    stopLooking();
    throw error instanceof ShardLost ? (error.cause ?? error) : error;
  }

  // 5. The run.
  const startedAt = new Date();
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const incidents = new Incidents({
    scenario,
    shards,
    devices,
    record,
    service,
    options: { ...options, signal },
    counters,
  });
  const problems: string[] = [];
  let values: Record<string, number> = {};
  try {
    const start = preciseNow() + placement.startDelay;
    record.start(start);
    shards.start(start);
    await Promise.race([incidents.play(), shards.failed]);
    shards.stopPublishing();
    await Promise.race([waitForAcknowledgements(scenario.settle, record, signal), shards.failed]);

    // 6. What was said, and what arrived.
    values = await gather(options, {
      shards,
      record,
      counters,
      service,
      devices,
      tokens,
      startedAt,
      rootPem: server.rootPem,
    });
  } catch (error) {
    if (!(error instanceof ShardLost)) throw error;
    problems.push(error.message);
    record.own(counters.take());
    values = record.values();
  } finally {
    over.abort(); // a timeline that waits for its next incident would hold the program
    stopLooking();
    service?.close();
    if (service !== undefined && options.operator !== undefined) await revokeService(options);
    await shards.close();
  }
  return createResult(options, { record, values, placement, problems, startedAt, target: server.mqttUrl, incidents });
}

function sizeOf({ devices, timeline }: Scenario): FleetSize {
  const groups = Object.entries(devices);
  const behindProxy = groups.filter(
    ([name, group]) =>
      group.network !== undefined ||
      timeline.some(({ network, of }) => network !== undefined && (of === undefined || of === name)),
  );
  const total = (some: typeof groups) => some.reduce((sum, [, group]) => sum + group.count, 0);
  return { devices: total(groups), behindProxy: total(behindProxy) };
}

function checkIdentities({ scenario, identities, operator }: RunOptions, count: number): void {
  if (identities !== undefined && identities.size < count) {
    throw new RunRefused(`expected identities of ${count} devices, found ${identities.size}`);
  }
  if (identities === undefined && operator === undefined) {
    throw new RunRefused('expected a server that enrolls devices, or identities that were kept');
  }
  if (identities !== undefined && Object.values(scenario.devices).some((group) => group.kind === 'sdk')) {
    throw new RunRefused('expected devices of kind light with identities that were kept');
  }
}

interface GatherParts {
  readonly shards: Shards;
  readonly record: RunRecord;
  readonly counters: Counters;
  readonly service: Observer | undefined;
  readonly devices: DeviceList;
  readonly tokens: BootstrapTokens;
  readonly startedAt: Date;
  readonly rootPem: string;
}

/** The last reports of all shards, and what the service and the server say to them. */
async function gather(options: RunOptions, parts: GatherParts): Promise<Record<string, number>> {
  const { shards, record, counters, service, devices, tokens, startedAt, rootPem } = parts;
  const ends = await shards.end();
  for (const end of ends) record.own(end.counters);
  record.own(counters.take());
  const acknowledged = new Map(
    ends.flatMap((end) =>
      Object.entries(end.acknowledged).map(([key, ranges]) => [key, SequenceSet.fromRanges(ranges)]),
    ),
  );
  const undelivered = service && (await waitForDelivery(acknowledged, service, options.scenario.settle));
  record.own(counters.take());
  const values = record.values();
  if (undelivered !== undefined) values['lost.service'] = undelivered;
  if (options.operator !== undefined)
    await readServerMeasurements(options, devices, acknowledged, tokens, startedAt, values);
  if (options.keepIdentities !== undefined) {
    const kept = new Map(ends.flatMap((end) => Object.entries(end.identities)));
    options.keepIdentities(new Map([...kept].sort(([a], [b]) => (a < b ? -1 : 1))), rootPem);
  }
  return values;
}

/** Without devices of its own an timers has nothing to be late for. */
function keepLooking(timers: TimerWheel): NodeJS.Timeout {
  return setInterval(() => timers.at(preciseNow() + 10, () => {}), 50);
}
