/** After the last message: waits for acknowledgements and deliveries, then asks the service and the server what arrived. */

import { setTimeout as delay } from 'node:timers/promises';
import { SequenceSet } from '../devices/sequence-set.ts';
import { waitUntil } from '../wait-until.ts';
import type { Observer } from './observer.ts';
import type { RunParts } from './open-run.ts';
import type { RunRecord } from './record.ts';
import type { RunOptions } from './run-options.ts';
import type { OperatorAccess } from './server-access.ts';
import { countMissing, readJournal } from './verification.ts';

const CHECK_EVERY_MS = 200;
/** The counts of the second after the last message come with the next reports. */
const LAST_REPORTS_MS = 1_500;

/** The last acknowledgements come before the time is up, or not at all. */
export async function waitForAcknowledgements(atMost: number, record: RunRecord, signal: AbortSignal): Promise<void> {
  const began = performance.now();
  await delay(Math.min(atMost, LAST_REPORTS_MS));
  const isOver = () => record.snapshot().unacknowledged === 0 || signal.aborted;
  await waitUntil(isOver, { within: atMost - (performance.now() - began), every: CHECK_EVERY_MS });
}

/** Ends the shards and returns every value of the run. Rejects with ShardLost. */
export async function measureRun(
  options: RunOptions,
  run: RunParts & { readonly startedAt: Date },
): Promise<Record<string, number>> {
  const { shards, record, counters, service, server } = run;
  const ends = await shards.end();
  for (const end of ends) record.own(end.counters);
  record.own(counters.take());
  const acknowledged = SequenceSet.byKey(ends.map((end) => end.acknowledged));
  const undelivered = service && (await waitForDelivery(acknowledged, service, options.scenario.settle));
  record.own(counters.take());
  const values = record.values();
  if (undelivered !== undefined) values['lost.service'] = undelivered;
  if (options.operator !== undefined)
    Object.assign(values, await askServer(options.operator, run, acknowledged, values));
  if (options.keepIdentities !== undefined) {
    const saved = ends.flatMap((end) => Object.entries(end.identities)).sort(([a], [b]) => (a < b ? -1 : 1));
    options.keepIdentities(new Map(saved), server.rootPem);
  }
  return values;
}

/** Messages may be delivered after their acknowledgement; what has not arrived when the time is up is lost. */
async function waitForDelivery(
  acknowledged: ReadonlyMap<string, SequenceSet>,
  service: Observer,
  atMost: number,
): Promise<number> {
  let missing = 0;
  const isDelivered = () => {
    missing = countMissing(acknowledged, service.seen);
    return missing === 0;
  };
  await waitUntil(isDelivered, { within: atMost, every: CHECK_EVERY_MS });
  return missing;
}

/** What the journal holds of the fleet, and how often its tokens were used. */
async function askServer(
  operator: OperatorAccess,
  { devices, tokens, startedAt }: RunParts & { readonly startedAt: Date },
  acknowledged: ReadonlyMap<string, SequenceSet>,
  values: Readonly<Record<string, number>>,
): Promise<Record<string, number>> {
  const ours = new Set(devices.devices.map((device) => device.id));
  const journal = await readJournal(operator.exportTelemetry(startedAt), (device) => ours.has(device));
  const found = { 'lost.journal': countMissing(acknowledged, journal.seen), 'duplicates.journal': journal.duplicates };
  if (tokens.byGroup.size === 0) return found;
  const used = await operator.tokenUses([...tokens.byGroup.values()].map((token) => token.id));
  const overspent = Math.max(0, used - (values['devices.enrolled'] ?? 0));
  return { ...found, 'tokens.used': used, 'tokens.overspent': overspent };
}
