import { Problem } from '@rollcall/protocol';
import {
  checkSeries,
  type DeviceStreams,
  type JournalBounds,
  type JournalStats,
  type LastCall,
  type MessageFilter,
  type NewestCall,
  type PackedRows,
  type PageCall,
  type SeriesCall,
  type SeriesPage,
  SeriesSums,
  unpackRows,
  WorkerClient,
} from '../storage/index.ts';
import { Cursor } from './cursor.ts';
import { positionNumber, positionOf } from './position.ts';
import type { StoredMessage, Telemetry, TelemetryRange } from './telemetry.ts';

/** Payload bytes of one result; the rest is the next page. */
export const RESULT_BYTES = 16_777_216;

const LARGEST_LIMIT = 10_000;

/** A page is read whole: small enough that another query does not wait long. */
export const PAGE_MESSAGES = 2000;
export const PAGE_BYTES = 1_048_576;

export interface TelemetryReaderOptions {
  readonly directory: string;
  workerEnded(error: unknown): void;
}

/** Queries of the journal, answered by a worker that starts with the first of them. */
export function openTelemetryReader<Source extends string>({ directory, workerEnded }: TelemetryReaderOptions) {
  const program = new URL('../storage/journal/reader-worker.ts', import.meta.url);
  const reader = new WorkerClient({
    program,
    name: 'the journal',
    opening: directory,
    endedCode: 'internal',
    ended: workerEnded,
  });
  const ask = async (name: string, call: NewestCall | LastCall | PageCall) =>
    unpackRows<Source>(await reader.call<PackedRows>(name, call)) as unknown as readonly StoredMessage<Source>[];

  async function* pages(range: TelemetryRange<Source>): AsyncGenerator<readonly StoredMessage<Source>[]> {
    const wanted = wantedOf(range);
    let after = range.after?.readOf(0) ?? 0;
    for (;;) {
      const page = await ask('page', { wanted, after, limit: PAGE_MESSAGES, mostBytes: PAGE_BYTES });
      const last = page.at(-1);
      if (last === undefined) return;
      yield page;
      after = positionNumber(last.position);
    }
  }

  return {
    query: async (query) => {
      const { limit, before = positionOf(Number.MAX_SAFE_INTEGER) } = query;
      checkLimit(limit);
      return ask('query', { wanted: wantedOf(query), before: positionNumber(before), limit, mostBytes: RESULT_BYTES });
    },
    pages,
    last: (of, after = '') =>
      ask('last', { devices: typeof of === 'string' ? [of] : of, mostBytes: RESULT_BYTES, after }),
    series: async (query) => {
      checkSeries(query);
      const wanted = wantedOf(query);
      const sums = new SeriesSums(query);
      let after: number | undefined = 0;
      while (after !== undefined) {
        const { pointer, bucket } = query;
        const call: SeriesCall = { wanted, after, limit: PAGE_MESSAGES, pointer, bucket };
        const look: SeriesPage = await reader.call<SeriesPage>('series', call);
        sums.addAll(look.partial);
        after = look.next;
      }
      return sums.result();
    },
    bounds: async () => {
      const { oldest, newest } = await reader.call<JournalBounds>('bounds');
      return { begin: Cursor.before(positionOf(oldest)), end: Cursor.of([newest]) };
    },
    cursorBefore: async (first) => {
      if ('position' in first) return Cursor.before(first.position);
      for await (const [found] of pages(first)) if (found !== undefined) return Cursor.before(found.position);
      throw nothingSince();
    },
    stats: () => reader.call<JournalStats>('stats'),
    /** Of streams that had a message in the last so many days of the journal. */
    streams: (days: number) => reader.call<DeviceStreams[]>('streams', days),
    close: () => reader.close(),
  } satisfies Partial<Omit<Telemetry<Source>, 'streams'>> & { streams(days: number): Promise<DeviceStreams[]> };
}

let selections = 0;

/** Throws Problem `request_invalid`. */
export function checkLimit(limit: number): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= LARGEST_LIMIT) return;
  throw new Problem('request_invalid', {
    detail: `expected a limit of 1 to ${LARGEST_LIMIT}, found ${Number(limit)}`,
  });
}

export function nothingSince(): Problem {
  return new Problem('request_invalid', { detail: 'expected a time after which something was received' });
}

/** Throws Problem `request_invalid` for a range that ends before it begins. */
export function wantedOf({ device, devices, stream, since, until }: TelemetryRange<string>): MessageFilter {
  if (since !== undefined && until !== undefined && until <= since) {
    throw new Problem('request_invalid', { detail: 'expected a range that ends after it begins' });
  }
  selections += 1;
  return {
    devices: device === undefined ? devices : [device],
    stream,
    since: since ?? 0,
    until: until ?? Number.MAX_SAFE_INTEGER,
    selection: selections,
  };
}
