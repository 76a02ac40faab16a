/** The worker that answers queries, so that neither the event loop nor the next commit waits for a long one. */

import { answerCalls } from '../worker-program.ts';
import { JournalReader } from './journal-reader.ts';
import { packRows, type Row, rowsTransferList } from './packed-rows.ts';
import type { MessageFilter } from './segment-reader.ts';
import { type PartialSeries, SeriesSums } from './series.ts';

let journal: JournalReader | undefined;

function opened(): JournalReader {
  if (journal === undefined) throw new Error('expected an open journal, found none');
  return journal;
}

function reply(rows: readonly Row[]) {
  const packed = packRows(rows);
  return { value: packed, transfer: rowsTransferList(packed) };
}

export interface QueryCall {
  readonly wanted: MessageFilter;
  readonly limit: number;
  readonly mostBytes: number;
}

export interface NewestCall extends QueryCall {
  readonly before: number;
}

export interface LastCall {
  readonly devices: readonly string[] | undefined;
  readonly mostBytes: number;
  readonly after: string;
}

export interface PageCall extends QueryCall {
  readonly after: number;
}

export interface SeriesCall {
  readonly wanted: MessageFilter;
  readonly after: number;
  readonly limit: number;
  readonly pointer: string;
  readonly bucket: number;
}

/** Sums of one page, and where the next page begins; undefined at the end. */
export interface SeriesPage {
  readonly partial: PartialSeries;
  readonly next: number | undefined;
}

answerCalls({
  open: (directory: string) => {
    journal = new JournalReader(directory);
    return undefined;
  },
  query: ({ wanted, before, limit, mostBytes }: NewestCall) => reply(opened().query(wanted, before, limit, mostBytes)),
  last: ({ devices, mostBytes, after }: LastCall) => reply(opened().last(devices, mostBytes, after)),
  page: ({ wanted, after, limit, mostBytes }: PageCall) => reply(opened().page(wanted, after, limit, mostBytes)),
  series: ({ wanted, after, limit, pointer, bucket }: SeriesCall) => {
    const sums = new SeriesSums({ pointer, bucket });
    const { next } = opened().series(wanted, after, limit, sums);
    const look: SeriesPage = { partial: sums.partial, next };
    return { value: look, transfer: [] };
  },
  streams: (days: number) => ({ value: opened().streams(days), transfer: [] }),
  bounds: () => ({ value: opened().bounds(), transfer: [] }),
  stats: () => ({ value: opened().stats(), transfer: [] }),
  close: () => {
    journal?.close();
    journal = undefined;
    return undefined;
  },
});
