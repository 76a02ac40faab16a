/** Messages: what each costs, where it is only checked and where it is on disk before its PUBACK. */

import { type Bench, repeat, startAll, stopAll } from './bench.ts';
import { alternate, type Bursts, compare } from './compare.ts';
import type { Topic } from './load/orders.ts';
import { comparisonResult, type Result } from './results.ts';
import type { RunningServer, ServerName } from './servers.ts';

interface PublishRow {
  readonly row: string;
  readonly topic: Topic;
  /** On each connection. */
  readonly inFlight: number;
  /** Messages per burst, in units of what the options say: cheap ones need more to last as long. */
  readonly share: number;
  readonly atMost: Partial<Record<ServerName, number>>;
}

/** To reach: checks are nearly free, and a message on disk costs less than one that a plain broker forgets. */
const INGEST_AT_MOST = { aedes: 0.75, mosquitto: 1.4 };

const ROWS: readonly PublishRow[] = [
  {
    row: 'QoS 1 publish, event: checked, not stored',
    topic: 'events',
    inFlight: 1,
    share: 1,
    atMost: { aedes: 1.1 },
  },
  {
    row: 'durable QoS 1 ingest, one in flight: on disk before PUBACK (peers store nothing)',
    topic: 'telemetry',
    inFlight: 1,
    share: 1,
    atMost: INGEST_AT_MOST,
  },
  {
    row: 'durable QoS 1 ingest, ten in flight: on disk before PUBACK (peers store nothing)',
    topic: 'telemetry',
    inFlight: 10,
    share: 3,
    atMost: INGEST_AT_MOST,
  },
];

/** Messages are many more than connects, so they need fewer bursts before the first that counts. */
const WARM_UPS = 5;

export async function publish({ sizes, servers, load }: Bench): Promise<readonly Result[]> {
  const bursts = ROWS.map((): Bursts[] => []);
  await repeat(sizes.processes, async () => {
    const running = await startAll(servers);
    for (const { name, mqttPort } of running) {
      await load.order({ kind: 'open', as: name, port: mqttPort, count: sizes.publishers });
    }
    for (const [at, { topic, inFlight, share }] of ROWS.entries()) {
      const count = sizes.messages * share;
      const publishing = ({ name }: RunningServer) => load.order({ kind: 'publish', as: name, topic, count, inFlight });
      bursts[at]?.push(await alternate(running, { warmUps: WARM_UPS, rounds: sizes.rounds, count }, publishing));
    }
    for (const { name } of running) await load.order({ kind: 'close', as: name });
    await stopAll(running);
  });
  return ROWS.map(({ row, atMost }, at) => comparisonResult(row, compare(bursts[at] ?? []), atMost));
}
