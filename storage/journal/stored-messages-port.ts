/**
 * The port over which the thread that writes the journal tells one other thread what it stored: the messages of followed devices, in
 * the order of positions, whichever thread sent them. Costs nothing while nothing is followed.
 */

import type { MessagePort } from 'node:worker_threads';
import { Channel } from '../channel.ts';
import { lengthOf, qosOf, sourceOf, splitBytes, timeOf } from './block.ts';
import { type PackedRows, packRows, type Row, rowsTransferList, type SourceNames } from './packed-rows.ts';
import type { Appended, SentBatch } from './segment.ts';

/** Which devices are followed. */
export type FollowedDevices = 'all' | readonly string[];

/** Answered once it applies to every batch that is not stored yet. */
export interface FollowCalls {
  readonly follow: { readonly input: FollowedDevices; readonly output: undefined };
}

/** The message that the other thread gets. */
export interface StoredMessageCalls {
  readonly stored: { readonly input: PackedRows; readonly output: undefined };
}

export class StoredMessagesPort {
  #channel: Channel<StoredMessageCalls, FollowCalls> | undefined;
  #followed: 'all' | ReadonlySet<string> = new Set();

  /** Replaces an earlier port. */
  connect(port: MessagePort): void {
    this.#followed = new Set();
    this.#channel = new Channel(port, {
      name: 'the follower of the journal',
      failed: (error) => {
        throw error;
      },
    });
    this.#channel.handle('follow', (devices): undefined => {
      this.#followed = devices === 'all' ? 'all' : new Set(devices);
    });
  }

  stored(sent: readonly SentBatch[], appended: readonly Appended[]): void {
    if (this.#followed !== 'all' && this.#followed.size === 0) return;
    for (const [at, one] of sent.entries()) {
      const rows = this.#rowsOf(one, appended[at] as Appended);
      if (rows.length === 0) continue;
      const packed = packRows(rows);
      this.#channel?.tell('stored', packed, rowsTransferList(packed));
    }
  }

  #rowsOf({ batch: { count, meta, data }, names }: SentBatch, { first, repeated }: Appended): Row[] {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const again = new Set(repeated);
    const sources = new Map<number, SourceNames>();
    const rows: Row[] = [];
    let position = first;
    let start = 0;
    for (let i = 0; i < count; i += 1) {
      const end = start + lengthOf(meta, i);
      const name = sourceOf(meta, i);
      if (!again.has(i)) {
        if (this.#followed === 'all' || this.#followed.has(names.device(name))) {
          const source = sources.get(name) ?? { device: names.device(name), stream: names.stream(name) };
          sources.set(name, source);
          const { payload, extras } = splitBytes(meta, i, bytes.subarray(start, end));
          rows.push({ ...extras, payload, source, position, receivedAt: timeOf(meta, i), qos: qosOf(meta, i) });
        }
        position += 1;
      }
      start = end;
    }
    return rows;
  }
}
