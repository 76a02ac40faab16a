/**
 * Several nodes over one PostgreSQL with a quorum: what a connect costs a node beside a server with its own store, how long a session takes
 * to move between nodes, how long a revocation takes on all of them and while one does not answer, and how long a message takes to be stored.
 */

import { setTimeout as delay } from 'node:timers/promises';
import type { Bench } from './bench.ts';
import { alternate, type Bursts, overEach } from './compare.ts';
import type { LoadReport } from './load/orders.ts';
import { quorumIngest } from './quorum-ingest.ts';
import type { Result } from './results.ts';
import { type SharedNodes, startSharedNodes } from './shared-nodes.ts';
import { postgresPrograms } from './sink-targets.ts';
import { percentile, type Spread, spread } from './statistics.ts';

/** To reach. */
const CONNECT_AT_MOST = 1.5;
const TAKEOVER_P99_MS = 50;
const REVOKE_P99_MS = 100;
const PUBACK_P99_MS = 25;

const WARM_UPS = 10;
const IN_FLIGHT = 16;
/** Devices that are connected to each node in turn, so that the last ones are of all nodes. */
const CONNECTED_IN_TURN = 4;
/** Seconds between two messages of a device through TLS, and how long they are sent. */
const PACE_SECONDS = 2;
const PACED_SECONDS = 4;
const INGEST_PER_SECOND = 25_000;
/** After this the others know that a node does not answer. */
const KNOWN_DEAF_MS = 2_000;
/** One that has just stopped is waited for a second. */
const DEAF_SAMPLES = 30;
const PIECE = 30;
const AS = 'nodes';

export async function cluster(bench: Bench): Promise<readonly Result[]> {
  if (postgresPrograms() === undefined) return [];
  const { sizes } = bench;
  const connected = 3 * Math.ceil(sizes.connectedPerNode / CONNECTED_IN_TURN) * CONNECTED_IN_TURN;
  const shared = await startSharedNodes(bench, Math.max(connected, (sizes.connectRounds + WARM_UPS) * sizes.connects));
  try {
    return [
      await connects(bench, shared),
      ...(await takeovers(bench, shared)),
      ...(await revocations(bench, shared, connected)),
      ...(await ingest(sizes.rounds)),
    ];
  } finally {
    await shared.stop();
  }
}

/** Both in the same rounds. */
async function connects({ sizes, servers, load }: Bench, shared: SharedNodes): Promise<Result> {
  const embedded = await servers.startRollcall();
  const count = sizes.connects;
  const loads = { embedded: load, shared: shared.load };
  const bursts: Bursts<keyof typeof loads> = await alternate(
    [
      { name: 'embedded', pid: embedded.pid, mqttPort: embedded.mqttPort },
      { name: 'shared', pid: shared.nodes[0].pid, mqttPort: shared.nodes[0].mqttPort },
    ],
    { warmUps: WARM_UPS, rounds: sizes.connectRounds, count },
    ({ name, mqttPort }) => loads[name].order({ kind: 'connect', port: mqttPort, count, inFlight: IN_FLIGHT }),
  );
  await embedded.stop();
  const [own, alone] = [bursts.get('shared') ?? [], bursts.get('embedded') ?? []];
  const ratio = percentile(overEach(own, alone), 50);
  const cpuOf = (bursts: typeof own) =>
    percentile(
      bursts.map(({ cpu }) => cpu),
      50,
    ).toFixed(0);
  return {
    row: 'mTLS connect to one of three nodes with a shared store',
    unit: 'µs CPU',
    figures: { rollcall: spread([own.map(({ cpu }) => cpu)]) },
    ratios: {},
    goals: [{ text: `at most ${CONNECT_AT_MOST} × the embedded store`, reached: ratio <= CONNECT_AT_MOST }],
    remarks: [
      `${ratio.toFixed(2)} × the embedded store, whose server took ${cpuOf(alone)} µs in the same rounds; the CPU of PostgreSQL is not in it`,
    ],
  };
}

async function takeovers({ sizes }: Bench, { nodes, load }: SharedNodes): Promise<readonly Result[]> {
  const ports = nodes.map(({ mqttPort }) => mqttPort);
  await load.order({ kind: 'takeOver', ports, count: Math.ceil(sizes.takeovers / 5) });
  const { samples = [] } = await inPieces(sizes.takeovers, (count) => load.order({ kind: 'takeOver', ports, count }));
  const row = 'takeover of a connected session by another node, CONNECT to CONNACK';
  return [
    milliseconds(`${row}, p50`, percentile(samples, 50)),
    milliseconds(`${row}, p99`, percentile(samples, 99), TAKEOVER_P99_MS),
  ];
}

async function revocations(
  { sizes }: Bench,
  { nodes, load }: SharedNodes,
  connected: number,
): Promise<readonly Result[]> {
  const ports = nodes.map(({ mqttPort }) => mqttPort);
  for (let open = 0; open < connected; open += CONNECTED_IN_TURN * ports.length) {
    for (const port of ports) await load.order({ kind: 'open', as: AS, port, count: CONNECTED_IN_TURN });
  }
  const perSecond = Math.round(connected / PACE_SECONDS);
  const count = perSecond * PACED_SECONDS;
  const stored = await load.order({ kind: 'pace', as: AS, topic: 'telemetry', count, perSecond });
  const { socketPath } = nodes[0];
  const few = { kind: 'revoke', as: AS, socketPath } as const;
  const each = await inPieces(sizes.revoked, (count) => load.order({ ...few, count, until: 'closed and answer' }));
  const many = Math.min(sizes.revokedAtOnce, Math.floor(connected / 3));
  const bulk = await load.order({ kind: 'revokeAll', as: AS, socketPath, count: many });
  const [answered = Number.NaN, closed = Number.NaN] = bulk.samples ?? [];

  process.kill(nodes[2].pid, 'SIGSTOP');
  const first = await load.order({ ...few, count: 1, until: 'answer' });
  await delay(KNOWN_DEAF_MS);
  const deaf = await load.order({ ...few, count: Math.min(DEAF_SAMPLES, sizes.revoked), until: 'answer' });
  const continued = performance.now();
  process.kill(nodes[2].pid, 'SIGCONT');
  await load.order({ kind: 'untilRevokedClosed', as: AS });
  const caughtUp = performance.now() - continued;
  await load.order({ kind: 'close', as: AS });

  const row = `three nodes with ${connected} connected devices`;
  const of = (what: string, { samples = [] }: LoadReport, percent: number, under?: number) =>
    milliseconds(`${what}, p${percent}`, percentile(samples, percent), under);
  const puback = `PUBLISH to PUBACK at ${perSecond} messages a second: ${row}`;
  const closedAndConfirmed = `revoke until the socket is closed and all confirmed: ${row}`;
  const answeredByTwo = 'revoke while one of three nodes is deaf, until the answer';
  const all = `revoke ${many} in one order, until all sockets are closed and all confirmed: ${row}`;
  return [
    of(puback, stored, 50),
    of(puback, stored, 99),
    { ...of(closedAndConfirmed, each, 50), remarks: confirmedBy(nodes.length, each) },
    of(closedAndConfirmed, each, 99, REVOKE_P99_MS),
    { ...milliseconds(all, Math.max(answered, closed)), remarks: confirmedBy(nodes.length, bulk) },
    of('revoke when one of three nodes has just stopped, until the answer', first, 50),
    { ...of(answeredByTwo, deaf, 50), remarks: confirmedBy(nodes.length - 1, deaf) },
    of(answeredByTwo, deaf, 99),
    milliseconds('the deaf node goes on: until the connections of what was revoked are closed', caughtUp),
  ];
}

/** Telemetry alone, without TLS and MQTT, which would leave no core to PostgreSQL. */
async function ingest(rounds: number): Promise<readonly Result[]> {
  const turns = await quorumIngest({ rate: INGEST_PER_SECOND, rounds, hasKeys: false });
  return turns.flatMap(({ inFlight, p50, p99, most }) => {
    const row = `durable ingest over the quorum at ${INGEST_PER_SECOND} messages a second, ${inFlight} commits on their way`;
    const isOurs = inFlight > 1;
    return [
      {
        ...milliseconds(`${row}, p50`, spread([p50])),
        remarks: [`${percentile(most, 50).toFixed(0)} messages a second with 20,000 in flight`],
      },
      milliseconds(`${row}, p99 of a second`, spread([p99]), isOurs ? PUBACK_P99_MS : undefined),
    ];
  });
}

/** Orders are limited in time, which a busy machine may need for a few. */
async function inPieces(count: number, order: (count: number) => Promise<LoadReport>): Promise<LoadReport> {
  const reports: LoadReport[] = [];
  for (let done = 0; done < count; done += PIECE) reports.push(await order(Math.min(PIECE, count - done)));
  return {
    wallMs: reports.reduce((sum, { wallMs }) => sum + wallMs, 0),
    cpuMicros: reports.reduce((sum, { cpuMicros }) => sum + cpuMicros, 0),
    samples: reports.flatMap(({ samples = [] }) => samples),
    confirmed: reports.flatMap(({ confirmed = [] }) => confirmed),
  };
}

/** A node that the machine gives no core for a second is deaf: it confirms later. */
function confirmedBy(nodes: number, { confirmed = [] }: LoadReport): readonly string[] {
  const fewer = confirmed.filter((count) => count < nodes).length;
  return [`${confirmed.length - fewer} of ${confirmed.length} answers had the confirmations of ${nodes} nodes`];
}

function milliseconds(row: string, value: number | Spread, under?: number): Result {
  const figure = typeof value === 'number' ? spread([[value]]) : value;
  return {
    row,
    unit: 'ms',
    figures: { rollcall: figure },
    ratios: {},
    goals: under === undefined ? [] : [{ text: `under ${under} ms`, reached: figure.median < under }],
    remarks: [],
  };
}
