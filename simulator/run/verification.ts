/**
 * What really happened to the messages: those that devices saw acknowledged, against those that the service received and
 * those that the journal holds. A message that was never acknowledged may be anywhere.
 */

import { SequenceSet } from '../devices/sequence-set.ts';
import { readPayload } from './observer.ts';

/** By `device stream`. */
export type Seen = ReadonlyMap<string, SequenceSet>;

export function countMissing(acknowledged: Seen, seen: Seen): number {
  let missing = 0;
  for (const [key, set] of acknowledged) missing += set.missingIn(seen.get(key));
  return missing;
}

export interface JournalContents {
  readonly seen: Seen;
  readonly duplicates: number;
}

/** Reads an export of the journal, of which only the messages of these devices count. */
export async function readJournal(
  ndjson: AsyncIterable<Buffer>,
  isOurs: (device: string) => boolean,
): Promise<JournalContents> {
  const seen = new Map<string, SequenceSet>();
  let duplicates = 0;
  let rest: Buffer = Buffer.alloc(0);
  const line = (bytes: Buffer) => {
    const message = JSON.parse(bytes.toString('utf8')) as { device: string; stream: string; payload?: unknown };
    if (!isOurs(message.device)) return;
    const said = readPayload(JSON.stringify(message.payload ?? null));
    if (said === undefined) return;
    const key = `${message.device} ${message.stream}`;
    let set = seen.get(key);
    if (set === undefined) {
      set = new SequenceSet();
      seen.set(key, set);
    }
    if (!set.add(said.seq)) duplicates += 1;
  };
  for await (const chunk of ndjson) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const part = chunk.subarray(from, end);
      const whole = rest.length === 0 ? part : Buffer.concat([rest, part]);
      if (whole.length > 0) line(whole);
      rest = Buffer.alloc(0);
      from = end + 1;
    }
    if (from < chunk.length) rest = Buffer.concat([rest, chunk.subarray(from)]);
  }
  return { seen, duplicates };
}
