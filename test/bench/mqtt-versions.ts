/** A PUBLISH of MQTT 5 without properties beside one of MQTT 3.1.1: two halves of the devices take turns on one server. */

import { type Bench, repeat } from './bench.ts';
import { alternate, type Bursts, overEach } from './compare.ts';
import type { Goal, Result } from './results.ts';
import { spread } from './statistics.ts';

const AT_MOST = 1.03;
const WARM_UPS = 5;
const IN_FLIGHT = [1, 10] as const;
/** Messages in flight are cheaper, and need longer bursts. */
const SHARE = { 1: 1, 10: 4 } as const;

type Version = 'mqtt4' | 'mqtt5';

export async function versions({
  sizes,
  servers,
  load,
}: Pick<Bench, 'sizes' | 'servers' | 'load'>): Promise<readonly Result[]> {
  const half = Math.floor(sizes.publishers / 2);
  const bursts = { 1: [] as Bursts<Version>[], 10: [] as Bursts<Version>[] };
  await repeat(sizes.processes, async () => {
    const { pid, mqttPort, stop } = await servers.start('rollcall');
    const port = mqttPort;
    await load.order({ kind: 'open', as: 'mqtt4', port, count: half, version: 4 });
    await load.order({ kind: 'open', as: 'mqtt5', port, count: half, version: 5, skip: half });
    const both = (['mqtt4', 'mqtt5'] as const).map((name) => ({ name, pid, mqttPort }));
    for (const inFlight of IN_FLIGHT) {
      const count = sizes.messages * SHARE[inFlight];
      const size = { warmUps: WARM_UPS, rounds: sizes.rounds, count };
      bursts[inFlight].push(
        await alternate(both, size, ({ name }) =>
          load.order({ kind: 'publish', as: name, topic: 'telemetry', count, inFlight }),
        ),
      );
    }
    for (const { name } of both) await load.order({ kind: 'close', as: name });
    await stop();
  });
  return IN_FLIGHT.map((inFlight) => result(inFlight, bursts[inFlight]));
}

function result(inFlight: 1 | 10, processes: readonly Bursts<Version>[]): Result {
  const of = (version: Version) => processes.map((bursts) => bursts.get(version) ?? []);
  const older = of('mqtt4');
  const ratio = spread(of('mqtt5').map((bursts, process) => overEach(bursts, older[process] ?? [])));
  const range = `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)})`;
  const goals: readonly Goal[] = [{ text: `at most ${AT_MOST} × MQTT 3.1.1`, reached: ratio.median <= AT_MOST }];
  return {
    row: `durable QoS 1 ingest, ${inFlight === 1 ? 'one' : 'ten'} in flight, MQTT 5 without properties`,
    unit: 'µs CPU',
    figures: { rollcall: spread(of('mqtt5').map((bursts) => bursts.map(({ cpu }) => cpu))) },
    ratios: {},
    goals,
    remarks: [`${range} × MQTT 3.1.1`],
  };
}
