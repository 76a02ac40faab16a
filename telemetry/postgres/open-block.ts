/** A block as it was read: its messages, from all of its bytes or from some. */

import { lengthOf, qosOf, type Row, readBlock, sourceOf, splitBytes, timeOf, wordsOf } from '../../storage/index.ts';
import { LANE_POSITIONS } from '../position.ts';
import type { Source } from './sources.ts';

export interface WholeBlock {
  readonly lane: number;
  readonly first: number;
  readonly checksum: number;
  readonly meta: Buffer;
  readonly data: Buffer;
}

export class OpenBlock {
  readonly #lane: number;
  readonly #first: number;
  readonly #meta: Uint32Array;
  readonly #data: Buffer | undefined;
  readonly #starts: number[] = [];

  /** Throws Problem `database_damaged` for bytes that changed since they were written. */
  static of({ lane, first, checksum, meta, data }: WholeBlock): OpenBlock {
    return new OpenBlock(lane, first, readBlock([first, checksum, meta, data]).meta, data);
  }

  /** Its messages are given their bytes one by one. */
  static ofMeta({ lane, first, meta }: Omit<WholeBlock, 'checksum' | 'data'>): OpenBlock {
    return new OpenBlock(lane, first, wordsOf(meta), undefined);
  }

  private constructor(lane: number, first: number, meta: Uint32Array, data: Buffer | undefined) {
    this.#lane = lane;
    this.#first = first;
    this.#meta = meta;
    this.#data = data;
    for (let index = 0, start = 0; index < this.count; index += 1) {
      this.#starts.push(start);
      start += lengthOf(meta, index);
    }
  }

  get count(): number {
    return this.#meta.length / 4;
  }

  sources(): number[] {
    return Array.from({ length: this.count }, (_, index) => sourceOf(this.#meta, index)).filter((id) => id !== 0);
  }

  /** Where the bytes of a message are. */
  placeOf(index: number): { readonly start: number; readonly length: number } {
    return { start: this.#starts[index] as number, length: lengthOf(this.#meta, index) };
  }

  rows(sources: ReadonlyMap<number, Source>): Row[] {
    return Array.from({ length: this.count }, (_, index) => this.row(index, sources)).filter(
      (row) => row !== undefined,
    );
  }

  /** Undefined for a message that was removed, and for one whose bytes are not here. */
  row(index: number, sources: ReadonlyMap<number, Source>, bytes?: Buffer): Row | undefined {
    const source = sources.get(sourceOf(this.#meta, index));
    const { start, length } = this.placeOf(index);
    const own = bytes ?? this.#data?.subarray(start, start + length);
    if (source === undefined || own === undefined) return undefined;
    const { payload, extras } = splitBytes(this.#meta, index, own);
    return {
      position: this.#lane * LANE_POSITIONS + this.#first + index,
      source,
      receivedAt: timeOf(this.#meta, index),
      qos: qosOf(this.#meta, index),
      payload,
      ...extras,
    };
  }
}
