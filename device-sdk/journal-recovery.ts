/** Recovers the messages of an earlier run from the journal's files, damaged ones included. Read-only. */

import type { JournalFiles } from './journal-files.ts';
import { readSegment, SETTLED } from './journal-record.ts';
import { type JournalEntry, parseSegmentName, type Segment } from './journal-segment.ts';

export interface RecoveredMessage {
  readonly entry: JournalEntry;
  readonly topic: string;
  /** Milliseconds since 1970, by the device's clock then. */
  readonly queuedAt: number;
  /** Seconds; undefined: it does not expire. */
  readonly messageExpiryInterval: number | undefined;
}

export interface RecoveredSegments {
  /** Oldest first. */
  readonly segments: readonly Segment[];
  /** Those that were not settled, in order. */
  readonly messages: readonly RecoveredMessage[];
  /** Highest numbers seen, zero without any. */
  readonly lastNumber: number;
  readonly lastSequence: number;
  /** Segments whose last write was interrupted. */
  readonly torn: number;
  /** Stretches of bytes that could not be read, with the messages in them. */
  readonly damaged: number;
}

export function recoverSegments(files: JournalFiles): RecoveredSegments {
  const segments: Segment[] = [];
  const found = new Map<number, RecoveredMessage>();
  const settled = new Set<number>();
  const topics = new Map<string, string>();
  const epochs = new Map<string, Buffer>();
  let lastNumber = 0;
  let lastSequence = 0;
  let torn = 0;
  let damaged = 0;
  for (const name of [...files.list()].sort()) {
    const parsed = parseSegmentName(name);
    if (parsed === undefined) continue;
    lastNumber = Math.max(lastNumber, parsed.number);
    let bytes: Buffer;
    try {
      bytes = files.read(name);
    } catch {
      damaged += 1;
      continue;
    }
    const segment: Segment = { name, ...parsed, size: bytes.length, live: new Set() };
    segments.push(segment);
    const contents = readSegment(segment.mark, bytes);
    torn += contents.isTorn ? 1 : 0;
    damaged += contents.damaged;
    for (const record of contents.records) {
      if (record.kind === SETTLED) {
        for (const sequence of record.sequences) {
          settled.add(sequence);
          lastSequence = Math.max(lastSequence, sequence);
        }
        continue;
      }
      const { sequence, topic, epoch, queuedAt, properties } = record.message;
      lastSequence = Math.max(lastSequence, sequence);
      // Copies, each kept once: slices would hold whole segments in memory.
      const entry: JournalEntry = {
        sequence,
        epoch: keptOnce(epochs, epoch.toString('hex'), () => Buffer.from(epoch)),
        size: record.length,
        segment,
        at: record.at,
      };
      const messageExpiryInterval = properties?.messageExpiryInterval;
      found.set(sequence, { entry, topic: keptOnce(topics, topic, () => topic), queuedAt, messageExpiryInterval });
    }
  }
  const messages = [...found.values()]
    .filter(({ entry }) => !settled.has(entry.sequence))
    .sort((a, b) => a.entry.sequence - b.entry.sequence);
  for (const { entry } of messages) entry.segment?.live.add(entry);
  return { segments, messages, lastNumber, lastSequence, torn, damaged };
}

function keptOnce<T>(all: Map<string, T>, name: string, make: () => T): T {
  let kept = all.get(name);
  if (kept === undefined) {
    kept = make();
    all.set(name, kept);
  }
  return kept;
}
