/** Makes blocks of messages, in the format of the embedded journal. The numbers of sources are those of the database. */

import { checksumOf, dataLength, META_BYTES, putMessage, WORDS } from '../../storage/index.ts';
import type { TelemetryMessage } from '../telemetry.ts';
import type { StoredBlock } from './lane.ts';
import type { Numbered } from './sources.ts';

/** One message at least. */
export function blockOf(
  messages: readonly Numbered<TelemetryMessage<string>>[],
  place: Pick<StoredBlock, 'day' | 'first' | 'stamp'>,
): StoredBlock {
  const count = messages.length;
  let [length, oldestAt, newestAt] = [0, Number.POSITIVE_INFINITY, 0];
  for (const { message } of messages) {
    length += dataLength(message);
    oldestAt = Math.min(oldestAt, Math.trunc(message.receivedAt));
    newestAt = Math.max(newestAt, Math.trunc(message.receivedAt));
  }
  const words = new Uint32Array(count * WORDS);
  const data = Buffer.allocUnsafe(length);
  let start = 0;
  for (const [index, { message, source }] of messages.entries()) {
    start = putMessage(message, source, { meta: words, data, index, start });
  }
  const meta = Buffer.from(words.buffer, 0, count * META_BYTES);
  return { ...place, count, oldestAt, newestAt, checksum: checksumOf(meta, data), meta, data };
}
