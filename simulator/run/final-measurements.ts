/** After the last message: waits for what is under way, then asks the service and the server what arrived. */

import { setTimeout as delay } from 'node:timers/promises';
import type { SequenceSet } from '../devices/sequence-set.ts';
import type { DeviceList } from './device-list.ts';
import type { Observer } from './observer.ts';
import type { RunRecord } from './record.ts';
import type { RunOptions } from './run-options.ts';
import type { BootstrapTokens } from './targets.ts';
import { countMissing, readJournal } from './verification.ts';

/** Deliveries may come after the acknowledgement; what hasn't come when the time is up is lost. */
export async function waitForDelivery(
  acknowledged: ReadonlyMap<string, SequenceSet>,
  service: Observer,
  atMost: number,
): Promise<number> {
  const end = Date.now() + atMost;
  for (;;) {
    const missing = countMissing(acknowledged, service.seen);
    if (missing === 0 || Date.now() >= end) return missing;
    await delay(200);
  }
}

/** The last acknowledgements come before the time is up, or not at all. */
export async function waitForAcknowledgements(
  atMost: number,
  record: RunRecord,
  signal: AbortSignal | undefined,
): Promise<void> {
  const end = Date.now() + atMost;
  await delay(Math.min(atMost, 1_500)); // for the deviceCounts of after the last message
  while (Date.now() < end && record.snapshot().unacknowledged > 0 && signal?.aborted !== true) await delay(200);
}

export async function readServerMeasurements(
  { operator }: RunOptions,
  devices: DeviceList,
  acknowledged: ReadonlyMap<string, SequenceSet>,
  tokens: BootstrapTokens,
  startedAt: Date,
  values: Record<string, number>,
): Promise<void> {
  if (operator === undefined) return;
  const ours = new Set(devices.devices.map((device) => device.id));
  const journal = await readJournal(operator.exportTelemetry(startedAt), (device) => ours.has(device));
  values['lost.journal'] = countMissing(acknowledged, journal.seen);
  values['duplicates.journal'] = journal.duplicates;
  if (tokens.byGroup.size === 0) return;
  const used = await operator.tokenUses([...tokens.byGroup.values()].map((token) => token.id));
  values['tokens.used'] = used;
  values['tokens.overspent'] = Math.max(0, used - (values['devices.enrolled'] ?? 0));
}
