/** A queue on disk without a device around it, for tests: small segments, a short window, room for everything. */

import { DiskOutbox, type DiskOutboxOptions } from '../../device-sdk/disk-outbox.ts';
import type { JournalFiles } from '../../device-sdk/journal-files.ts';
import { DEFAULT_OUTBOX_LIMITS } from '../../device-sdk/outbox.ts';
import type { Receipt } from '../../device-sdk/receipt.ts';

export const ROOM = 1_000_000;

export function openQueue(files: JournalFiles, options: Partial<DiskOutboxOptions> = {}): DiskOutbox {
  return DiskOutbox.open({
    files,
    limits: { ...DEFAULT_OUTBOX_LIMITS, inFlight: 4 },
    bytes: ROOM,
    segmentBytes: 400,
    replayRate: 0,
    rulesOf: () => ({ drop: 'newest', bytes: ROOM }),
    owns: () => true,
    now: () => 1_700_000_000_000,
    schedule: () => () => {},
    ...options,
  });
}

export function add(outbox: DiskOutbox, topic: string, text: string, qos: 0 | 1 = 1): Promise<Receipt> {
  return outbox.add({ topic, payload: Buffer.from(text), qos });
}

/** Everything that waits, sent and acknowledged in turn. */
export function drain(outbox: DiskOutbox): string[] {
  const received: string[] = [];
  for (let message = outbox.next(); message !== undefined; message = outbox.next()) {
    received.push(message.payload.toString());
    outbox.settle(message);
  }
  return received;
}
