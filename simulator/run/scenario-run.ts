/**
 * One run of a scenario, from the first token to the verdict: prepares, starts, lets happen what the timeline says, waits
 * for the last acknowledgements, compares what was said with what arrived, and judges.
 */

import { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, isIP } from 'node:net';
import { availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseServiceName } from '../../contract/identity.ts';
import { writeCsr } from '../../device-sdk/csr.ts';
import { judge, parseExpectation } from '../scenario/expectation.ts';
import type { Scenario } from '../scenario/schema.ts';
import { Agenda, preciseNow } from '../swarm/agenda.ts';
import { EstDoor, findEstPlace, keyPem, newKey } from '../swarm/est-door.ts';
import { SequenceSet } from '../swarm/sequence-set.ts';
import type { ShardGroup, ShardOrder } from '../swarm/shard-messages.ts';
import { Tally } from '../swarm/tally.ts';
import { type LineIdentity, type Target, TlsLines } from '../swarm/tls-line.ts';
import { machineCapacity, shortfall } from './capacity.ts';
import { type SecondReport, Shards } from './crewing.ts';
import type { OperatorDoor, ServerDoor } from './doors.ts';
import { Incidents } from './incidents.ts';
import { Observer } from './observer.ts';
import { RunRecord, type RunSnapshot } from './record.ts';
import { RESULT_FORMAT, type RunResult } from './result.ts';
import { Roster } from './roster.ts';
import { missingOf, readJournal } from './truth.ts';

export interface RunOptions {
  readonly scenario: Scenario;
  /** Text of each recording, by the path in the scenario. */
  readonly recordings: ReadonlyMap<string, string>;
  /** `mqtts://host:port`; without it, what the enroll server announces. */
  readonly mqttUrl?: string | undefined;
  readonly operator?: OperatorDoor | undefined;
  readonly server?: ServerDoor | undefined;
  /** Devices that were enrolled before, by id; taken in their order. */
  readonly identities?: ReadonlyMap<string, LineIdentity> | undefined;
  /** PEM; needed where no bootstrap token names it. */
  readonly rootPem?: string | undefined;
  /** Of the subscribed service, where no operator can issue one. */
  readonly serviceIdentity?: LineIdentity | undefined;
  /** Before the names of all devices: runs on one server must not share it. */
  readonly prefix: string;
  readonly workers?: number;
  readonly sourceAddresses?: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
  readonly onSecond?: (snapshot: RunSnapshot) => void;
  /** Ends the run early, with a verdict. */
  readonly signal?: AbortSignal;
  readonly keepIdentities?: (identities: ReadonlyMap<string, LineIdentity>, rootPem: string) => void;
}

/** A run that can't begin: the message says what was expected. */
export class RunRefused extends Error {
  override readonly name = 'RunRefused';
}

const SERVICE_PATIENCE_MS = 15_000;

interface Tokens {
  readonly byGroup: ReadonlyMap<string, { readonly id: string; readonly text: string }>;
}

export async function runScenario(options: RunOptions): Promise<RunResult> {
  const { scenario } = options;
  // 1. What can be refused before anybody is asked.
  const count = Object.values(scenario.devices).reduce((sum, group) => sum + group.count, 0);
  checkPlace(options, count);

  // 2. Who may come in, and where the doors are.
  const tokens = await mintTokens(options);
  const place = await findPlace(options, tokens);
  const target = await reachable(targetOf(place.mqttUrl));
  const roster = new Roster(scenario, options.prefix, options.identities);

  // 3. The service that hears everything, before anybody speaks.
  const memoryBefore = process.memoryUsage.rss();
  const tally = new Tally();
  const lag = new Agenda((late) => tally.record('lag', late));
  const lagProbe = keepLooking(lag);
  const lines = new TlsLines(place.rootPem);
  const service = await openService(options, { target, lines, tally });

  // 4. The shards, each with its part of the fleet.
  const workers = options.workers ?? Math.max(1, Math.min(availableParallelism(), Math.ceil(count / 50)));
  const record = new RunRecord(count, workers, memoryBefore);
  const onSecond = (report: SecondReport) => {
    record.own(tally.take());
    if (record.second(report)) options.onSecond?.(record.snapshot());
  };
  const orders = shardOrders(options, { workers, roster, tokens, target, place });
  let shards: Shards;
  try {
    shards = await Shards.open(orders, onSecond);
  } catch (error) {
    service?.close();
    lag.close();
    throw error;
  }

  // 5. The run.
  const startedAt = new Date();
  try {
    record.start(preciseNow());
    shards.start(preciseNow());
    const incidents = new Incidents({ scenario, shards, roster, record, service, options, tally });
    await Promise.race([incidents.play(), shards.failed]);
    shards.silence();
    await settled(scenario.settle, record, options.signal);

    // 6. What was said, and what arrived.
    const ends = await shards.end();
    for (const end of ends) record.own(end.tally);
    record.own(tally.take());
    const acknowledged = new Map(
      ends.flatMap((end) =>
        Object.entries(end.acknowledged).map(([key, ranges]) => [key, SequenceSet.fromRanges(ranges)]),
      ),
    );
    const undelivered = service && (await missingInTheEnd(acknowledged, service, scenario.settle));
    record.own(tally.take());
    const values = record.values();
    if (undelivered !== undefined) values['lost.service'] = undelivered;
    if (options.operator !== undefined) await askServer(options, roster, acknowledged, tokens, startedAt, values);
    if (options.keepIdentities !== undefined) {
      const kept = new Map(ends.flatMap((end) => Object.entries(end.identities)));
      options.keepIdentities(new Map([...kept].sort(([a], [b]) => (a < b ? -1 : 1))), place.rootPem);
    }
    return resultOf(options, { record, values, workers, startedAt, target: place.mqttUrl, incidents });
  } finally {
    clearInterval(lagProbe);
    lag.close();
    service?.close();
    if (service !== undefined && options.operator !== undefined) await revokeQuietly(options);
    await shards.close();
  }
}

function checkPlace({ scenario, identities, operator, sourceAddresses = [] }: RunOptions, count: number): void {
  const behindProxy = Object.entries(scenario.devices)
    .filter(
      ([name, group]) =>
        group.network !== undefined ||
        scenario.timeline.some(({ network, of }) => network !== undefined && (of === undefined || of === name)),
    )
    .reduce((sum, [, group]) => sum + group.count, 0);
  const missing = shortfall(
    { devices: count, behindProxy, sourceAddresses: sourceAddresses.length },
    machineCapacity(),
  );
  if (missing !== undefined) throw new RunRefused(missing);
  if (identities !== undefined && identities.size < count) {
    throw new RunRefused(`expected identities of ${count} devices, found ${identities.size}`);
  }
  if (identities === undefined && operator === undefined) {
    throw new RunRefused('expected a server that enrolls devices, or identities that were kept');
  }
  if (identities !== undefined && Object.values(scenario.devices).some((group) => group.kind === 'true')) {
    throw new RunRefused('expected devices of kind swarm with identities that were kept');
  }
}

async function mintTokens({ scenario, operator, identities }: RunOptions): Promise<Tokens> {
  const byGroup = new Map<string, { readonly id: string; readonly text: string }>();
  if (operator === undefined || identities !== undefined) return { byGroup };
  for (const [name, { count, group, labels }] of Object.entries(scenario.devices)) {
    byGroup.set(name, await operator.mintToken({ uses: count, group, labels }));
  }
  return { byGroup };
}

interface Place {
  readonly enrollUrl: string | undefined;
  readonly rootPem: string;
  readonly mqttUrl: string;
}

async function findPlace({ mqttUrl, rootPem, operator, prefix }: RunOptions, tokens: Tokens): Promise<Place> {
  const [token] = tokens.byGroup.values();
  if (token === undefined) {
    if (mqttUrl === undefined) throw new RunRefused('expected --target mqtts://HOST:PORT');
    if (rootPem === undefined) throw new RunRefused('expected the root certificate of the broker, ca.pem');
    return { enrollUrl: undefined, rootPem, mqttUrl };
  }
  const est = await findEstPlace(token.text);
  if (mqttUrl !== undefined) return { ...est, mqttUrl };
  // The broker's address is told to those who enroll: somebody goes ahead.
  const scout = await (operator as OperatorDoor).mintToken({ uses: 1, group: 'default', labels: {} });
  const door = new EstDoor(est, 1);
  const answer = await door.enroll(`${prefix}-scout`, scout.text, newKey()).finally(() => door.close());
  if ('refused' in answer) throw new RunRefused(`expected a certificate for the first device, found ${answer.refused}`);
  if (answer.mqttUrl === undefined) throw new RunRefused('expected the enroll server to announce its broker');
  return { ...est, mqttUrl: answer.mqttUrl };
}

function targetOf(mqttUrl: string): Target {
  const url = new URL(mqttUrl);
  if (url.protocol !== 'mqtts:') throw new RunRefused(`expected mqtts://HOST:PORT, found ${url.protocol}//`);
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 8883 : Number(url.port) };
}

/** The first of its addresses at which somebody listens: a name looked up 10,000 times costs more than the handshakes. */
async function reachable(target: Target): Promise<Target> {
  const addresses = isIP(target.host) === 0 ? await lookup(target.host, { all: true }).catch(() => []) : [];
  for (const { address } of addresses) {
    const socket = connect({ host: address, port: target.port });
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isThere) return { ...target, host: address, servername: target.host };
  }
  return target;
}

async function openService(
  { operator, serviceIdentity, prefix }: RunOptions,
  parts: { readonly target: Target; readonly lines: TlsLines; readonly tally: Tally },
): Promise<Observer | undefined> {
  let identity = serviceIdentity;
  const name = serviceName(prefix);
  if (identity === undefined && operator !== undefined) {
    const key = newKey();
    const der = writeCsr(key, { commonName: name }).toString('base64');
    const lines = der.match(/.{1,64}/g)?.join('\n');
    const csr = `-----BEGIN CERTIFICATE REQUEST-----\n${lines}\n-----END CERTIFICATE REQUEST-----\n`;
    const { certificatePem } = await operator.issueService(name, csr);
    identity = { keyPem: keyPem(key), certificatePem: new X509Certificate(certificatePem).toString() };
  }
  if (identity === undefined) return undefined;
  const observer = new Observer({ clientId: name, identity, ...parts });
  const patience = new AbortController();
  const isOpen = await Promise.race([
    observer.open().then(() => true),
    delay(SERVICE_PATIENCE_MS, false, { signal: patience.signal }).catch(() => true),
  ]);
  patience.abort();
  if (isOpen) return observer;
  observer.close();
  throw new RunRefused(
    `expected the subscription of the service to be granted within ${SERVICE_PATIENCE_MS / 1_000} s`,
  );
}

function serviceName(prefix: string): string {
  const name = `${prefix}-observer`;
  if (parseServiceName(name) === undefined) throw new RunRefused(`expected a prefix for names, found ${prefix}`);
  return name;
}

function shardOrders(
  { scenario, recordings, sourceAddresses = [] }: RunOptions,
  parts: {
    readonly workers: number;
    readonly roster: Roster;
    readonly tokens: Tokens;
    readonly target: Target;
    readonly place: Place;
  },
): readonly ShardOrder[] {
  const groups: Record<string, ShardGroup> = {};
  for (const [name, settings] of Object.entries(scenario.devices)) {
    const token = parts.tokens.byGroup.get(name)?.text;
    const texts: Record<string, string> = {};
    for (const { stream, model } of settings.publish) {
      if (model.kind === 'replay') texts[stream] = recordings.get(model.file) ?? '';
    }
    groups[name] = { settings, recordings: texts, ...(token !== undefined && { token }) };
  }
  return Array.from({ length: parts.workers }, (_, shard) => ({
    shard,
    seed: scenario.seed,
    groups,
    devices: parts.roster.devices.filter(({ index }) => index % parts.workers === shard),
    enrollUrl: parts.place.enrollUrl,
    rootPem: parts.place.rootPem,
    mqtt: parts.target,
    sourceAddresses,
  }));
}

/** Deliveries may come after the acknowledgement; what hasn't come when the time is up is lost. */
async function missingInTheEnd(
  acknowledged: ReadonlyMap<string, SequenceSet>,
  service: Observer,
  atMost: number,
): Promise<number> {
  const end = Date.now() + atMost;
  for (;;) {
    const missing = missingOf(acknowledged, service.seen);
    if (missing === 0 || Date.now() >= end) return missing;
    await delay(200);
  }
}

/** The last acknowledgements come before the time is up, or not at all. */
async function settled(atMost: number, record: RunRecord, signal: AbortSignal | undefined): Promise<void> {
  const end = Date.now() + atMost;
  await delay(Math.min(atMost, 1_500)); // for the standing of after the last message
  while (Date.now() < end && record.snapshot().unacknowledged > 0 && signal?.aborted !== true) await delay(200);
}

async function askServer(
  { operator }: RunOptions,
  roster: Roster,
  acknowledged: ReadonlyMap<string, SequenceSet>,
  tokens: Tokens,
  startedAt: Date,
  values: Record<string, number>,
): Promise<void> {
  if (operator === undefined) return;
  const ours = new Set(roster.devices.map((device) => device.id));
  const journal = await readJournal(operator.exportTelemetry(startedAt), (device) => ours.has(device));
  values['lost.journal'] = missingOf(acknowledged, journal.seen);
  values['duplicates.journal'] = journal.duplicates;
  if (tokens.byGroup.size === 0) return;
  const used = await operator.tokenUses([...tokens.byGroup.values()].map((token) => token.id));
  values['tokens.used'] = used;
  values['tokens.overspent'] = Math.max(0, used - (values['devices.enrolled'] ?? 0));
}

async function revokeQuietly({ operator, prefix }: RunOptions): Promise<void> {
  await operator?.revokeService(serviceName(prefix)).catch(() => {}); // a server that is gone needs no tidying
}

/** Without devices of its own an agenda has nothing to be late for. */
function keepLooking(agenda: Agenda): NodeJS.Timeout {
  return setInterval(() => agenda.at(preciseNow() + 10, () => {}), 50);
}

function resultOf(
  { scenario, versions }: RunOptions,
  run: {
    readonly record: RunRecord;
    readonly values: Record<string, number>;
    readonly workers: number;
    readonly startedAt: Date;
    readonly target: string;
    readonly incidents: Incidents;
  },
): RunResult {
  const { record, values } = run;
  const assertions = scenario.expect.map((text) => {
    const expectation = parseExpectation(text);
    if (typeof expectation === 'string') return { text, holds: false, reason: expectation };
    const { found, ...judgement } = judge(expectation, values);
    return { ...judgement, ...(found !== undefined && { found }) };
  });
  const problems = [...run.incidents.problems];
  const lag = values['simulator.lagP99'] ?? 0;
  if (lag > scenario.limits.lag) {
    problems.push(
      `the simulator was the bottleneck: its own delay was ${lag.toFixed(0)} ms at p99, more than the ${scenario.limits.lag} ms that the scenario allows; its figures say nothing about the server`,
    );
  }
  return {
    format: RESULT_FORMAT,
    scenario: {
      name: scenario.name,
      about: scenario.about,
      seed: scenario.seed,
      durationSeconds: scenario.duration / 1_000,
    },
    target: run.target,
    startedAt: run.startedAt.toISOString(),
    tookSeconds: (Date.now() - run.startedAt.getTime()) / 1_000,
    machine: {
      cores: availableParallelism(),
      cpu: cpus()[0]?.model ?? 'unknown',
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      system: `${type()} ${release()}`,
    },
    versions: { ...versions, node: process.versions.node, openssl: process.versions.openssl },
    workers: run.workers,
    values,
    latencies: record.latencies(),
    errors: record.errors(),
    timeline: [...record.timeline],
    marks: [...run.incidents.marks],
    assertions,
    problems,
    verdict: problems.length === 0 && assertions.every(({ holds }) => holds) ? 'passed' : 'failed',
  };
}
