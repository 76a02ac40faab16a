/** A journal of a test's own, with messages in it. */

import { type Logger, pino } from 'pino';
import { onTestFinished } from 'vitest';
import type { DeviceId } from '../../contract/identity.ts';
import { openTelemetry, type TelemetryOptions } from '../../telemetry/open.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { temporaryDirectory } from './temporary.ts';

export interface TestJournal extends Telemetry {
  /** Stores so many messages of each of these devices, in turns; payloads count per device from `from`. */
  fill(devices: readonly string[], each: number, from?: number): Promise<void>;
}

export const silent: Logger = pino({ level: 'silent' });

/** Times are those of 2030-01-01, one ms apart. */
export const JOURNAL_BEGIN = Date.UTC(2030, 0, 1);

export async function openTestJournal(options: Partial<TelemetryOptions> = {}): Promise<TestJournal> {
  let clock = JOURNAL_BEGIN;
  const journal = await openTelemetry({
    directory: temporaryDirectory(),
    now: () => clock,
    log: silent,
    ...options,
  });
  onTestFinished(() => journal.close());
  return {
    ...journal,
    fill: async (devices, each, from = 0) => {
      const stored: Promise<unknown>[] = [];
      for (let count = from; count < from + each; count += 1) {
        for (const device of devices) {
          clock += 1;
          const payload = Buffer.from(JSON.stringify({ count }));
          stored.push(
            journal.accept({ device: device as DeviceId, stream: 'climate', receivedAt: clock, qos: 1, payload }),
          );
        }
      }
      await Promise.all(stored);
    },
  };
}

/** The count in a payload that `fill()` made. */
export function countOf(payload: Uint8Array | string): number {
  return (JSON.parse(Buffer.from(payload as Uint8Array).toString()) as { count: number }).count;
}
