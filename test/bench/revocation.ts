/** Revocations while a fleet is connected: one by one, and many in one order. Measures the latency for the operator and for the device. */

import type { Bench } from './bench.ts';
import type { Result } from './results.ts';
import { percentile } from './statistics.ts';

const ONE_WITHIN_MS = 100;
const MANY_WITHIN_MS = 2_000;

export async function revocation({ sizes, servers, load }: Bench): Promise<readonly Result[]> {
  const rollcall = await servers.startRollcall();
  const { socketPath } = rollcall;
  const as = rollcall.name;
  await load.order({ kind: 'open', as, port: rollcall.mqttPort, count: sizes.connected });
  const one = Math.min(sizes.revoked, sizes.connected);
  const { samples = [] } = await load.order({ kind: 'revoke', as, socketPath, count: one });
  const many = Math.min(sizes.revokedAtOnce, sizes.connected - one);
  const bulk = await load.order({ kind: 'revokeAll', as, socketPath, count: many });
  await load.order({ kind: 'close', as });
  await rollcall.stop();
  const row = `${sizes.connected} connected, ${one} revoked one by one`;
  const [answered = Number.NaN, allClosed = Number.NaN] = bulk.samples ?? [];
  return [
    result(`revoke to socket closed, p50: ${row}`, percentile(samples, 50)),
    result(`revoke to socket closed, p99: ${row}`, percentile(samples, 99), ONE_WITHIN_MS),
    result(
      `revoke ${many} of ${sizes.connected - one} in one order, until the last socket is closed`,
      allClosed,
      MANY_WITHIN_MS,
    ),
    result(
      `revoke ${many} of ${sizes.connected - one} in one order, until the proof is there`,
      answered,
      MANY_WITHIN_MS,
    ),
  ];
}

function result(row: string, value: number, underMs?: number): Result {
  return {
    row,
    unit: 'ms',
    figures: { rollcall: { median: value, low: value, high: value } },
    ratios: {},
    goals: underMs === undefined ? [] : [{ text: `under ${underMs} ms`, reached: value < underMs }],
    remarks: [],
  };
}
