/**
 * A batch on its way to the writing thread: few flat arrays for all of its messages, in the form of a block, so that thousands
 * cost little more than one. The arrays are transferred, not copied.
 */

import { dataLength, lengthOf, putMessage, WORDS } from './block.ts';
import type { JournalMessage } from './message.ts';
import type { NewNames, SentNames } from './source-names.ts';

export interface Batch {
  readonly count: number;
  /** As in a block, but with the number of a name in place of a source. */
  readonly meta: Uint32Array<ArrayBuffer>;
  readonly data: Uint8Array<ArrayBuffer>;
  readonly names: NewNames;
  /** Key of each message; absent when none has one. */
  readonly keys: readonly (string | undefined)[] | undefined;
}

export function packBatch(messages: readonly JournalMessage[], names: SentNames): Batch {
  const count = messages.length;
  let length = 0;
  let hasKeys = false;
  for (let i = 0; i < count; i += 1) {
    const message = messages[i] as JournalMessage;
    length += dataLength(message);
    hasKeys ||= message.key !== undefined;
  }
  const meta = new Uint32Array(count * WORDS);
  const bytes = new Uint8Array(length);
  const data = Buffer.from(bytes.buffer);
  let start = 0;
  names.clearIfTooMany();
  for (let index = 0; index < count; index += 1) {
    const message = messages[index] as JournalMessage;
    start = putMessage(message, names.numberOf(message.device, message.stream), { meta, data, index, start });
  }
  const keys = hasKeys ? messages.map(({ key }) => key) : undefined;
  return { count, meta, data: bytes, names: names.take(), keys };
}

/** What to hand over instead of copying. */
export function batchTransferList({ meta, data }: Batch): ArrayBuffer[] {
  return [meta.buffer, data.buffer];
}

/** The batch without some of its messages. */
export function withoutMessages(batch: Batch, indices: readonly number[]): Batch {
  if (indices.length === 0) return batch;
  const left = new Set(indices);
  const { meta, data, keys } = batch;
  const metaKept: number[] = [];
  const dataKept: Uint8Array[] = [];
  let start = 0;
  for (let index = 0; index < batch.count; index += 1) {
    const end = start + lengthOf(meta, index);
    if (!left.has(index)) {
      metaKept.push(...meta.subarray(index * WORDS, (index + 1) * WORDS));
      dataKept.push(data.subarray(start, end));
    }
    start = end;
  }
  return {
    ...batch,
    count: batch.count - left.size,
    meta: new Uint32Array(metaKept),
    data: Uint8Array.from(Buffer.concat(dataKept)),
    keys: keys?.filter((_, index) => !left.has(index)),
  };
}
