/** Messages: what each costs, where it is only checked and where it is on disk before its PUBACK. */

import { type Bench, repeat, startAll, stopAll } from './bench.ts';
import { alternate, type Burdened, type Bursts, compare } from './compare.ts';
import type { Topic } from './load/orders.ts';
import { versions } from './mqtt-versions.ts';
import { type AtMost, comparisonResult, type Goal, type Result } from './results.ts';
import type { ServerName } from './servers.ts';
import { percentile, spread } from './statistics.ts';

interface PublishRow {
  readonly row: string;
  readonly topic: Topic;
  /** On each connection. */
  readonly inFlight: number;
  /** Messages per burst, in units of what the options say: cheap ones need more to last as long. */
  readonly share: number;
  readonly atMost: AtMost;
}

const ROWS: readonly PublishRow[] = [
  {
    row: 'QoS 1 publish, event: checked, not stored',
    topic: 'events',
    inFlight: 1,
    share: 1,
    atMost: { rollcall: { aedes: 1 } },
  },
  {
    row: 'durable QoS 1 ingest, one in flight: on disk before PUBACK (peers store nothing)',
    topic: 'telemetry',
    inFlight: 1,
    share: 1,
    atMost: { rollcall: { mosquitto: 1.5 }, rollcallOnBun: { mosquitto: 1.25 } },
  },
  {
    row: 'durable QoS 1 ingest, ten in flight: on disk before PUBACK (peers store nothing)',
    topic: 'telemetry',
    inFlight: 10,
    share: 3,
    atMost: { rollcall: { mosquitto: 0.35 } },
  },
];

/** To reach, at half load. */
const PUBACK_P99_MS = 25;
const LOOP_DELAY_MS = 10;
const PACED_SECONDS = 4;

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
      const publishing = ({ name }: Burdened<ServerName>) =>
        load.order({ kind: 'publish', as: name, topic, count, inFlight });
      bursts[at]?.push(await alternate(running, { warmUps: WARM_UPS, rounds: sizes.rounds, count }, publishing));
    }
    for (const { name } of running) await load.order({ kind: 'close', as: name });
    await stopAll(running);
  });
  const rows = ROWS.map(({ row, atMost }, at) => comparisonResult(row, compare(bursts[at] ?? []), atMost));
  return [...rows, ...(await versions({ sizes, servers, load })), ...(await halfLoad({ sizes, servers, load }))];
}

/** Half of what it takes at most, for as long as several commits and garbage collections. */
async function halfLoad({
  sizes,
  servers,
  load,
}: Pick<Bench, 'sizes' | 'servers' | 'load'>): Promise<readonly Result[]> {
  const found = {
    p50: [] as number[],
    p99: [] as number[],
    loop: [] as number[],
    own: [] as number[],
    plain: [] as number[],
  };
  await repeat(sizes.processes, async () => {
    const rollcall = await servers.start('rollcall');
    const as = rollcall.name;
    await load.order({ kind: 'open', as, port: rollcall.mqttPort, count: sizes.publishers });
    const full = { kind: 'publish', as, topic: 'telemetry', count: sizes.messages, inFlight: 1 } as const;
    for (let warmUp = 0; warmUp < WARM_UPS; warmUp += 1) await load.order(full);
    const { wallMs } = await load.order(full);
    const perSecond = (sizes.messages / wallMs / 2) * 1000;
    const count = Math.round(perSecond * PACED_SECONDS);
    const paced = (topic: Topic) => load.order({ kind: 'pace', as, topic, count, perSecond });
    let samples: readonly number[] = [];
    const delay = await rollcall.loopDelayDuring(async () => {
      samples = (await paced('telemetry')).samples ?? [];
    });
    const plain = await rollcall.loopDelayDuring(() => paced('events'));
    found.p50.push(percentile(samples, 50));
    found.p99.push(percentile(samples, 99));
    found.loop.push(delay.max);
    found.own.push(delay.ownMax);
    found.plain.push(plain.max);
    await load.order({ kind: 'close', as });
    await rollcall.stop();
  });
  const result = (row: string, values: readonly number[], most?: number, remark?: string): Result => {
    const figure = spread(values.map((value) => [value]));
    const goals: readonly Goal[] =
      most === undefined ? [] : [{ text: `under ${most} ms`, reached: figure.median < most }];
    const remarks = remark === undefined ? [] : [remark];
    return {
      row: `durable QoS 1 ingest at half load, ${row}`,
      unit: 'ms',
      figures: { rollcall: figure },
      ratios: {},
      goals,
      remarks,
    };
  };
  const plain = spread(found.plain.map((value) => [value])).median;
  return [
    result('PUBLISH to PUBACK, p50', found.p50),
    result('PUBLISH to PUBACK, p99', found.p99, PUBACK_P99_MS),
    result(
      'event loop held up at most',
      found.loop,
      LOOP_DELAY_MS,
      `${plain.toFixed(1)} ms with events, which no journal sees`,
    ),
    result('CPU of the event loop between two turns, at most', found.own, LOOP_DELAY_MS),
  ];
}
