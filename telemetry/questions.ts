import { Problem } from '@rollcall/protocol';
import {
  checkSeries,
  type DeviceStreams,
  type LastCall,
  type NewestCall,
  type Packed,
  type PageCall,
  type SeriesCall,
  type SeriesLook,
  SeriesSums,
  unpack,
  type Wanted,
  WorkerClient,
} from '../storage/index.ts';
import type { Telemetry, TelemetryRange, TelemetryStats } from './telemetry.ts';

/** Payload bytes of one answer; what is beyond is the next page. */
const ANSWER_BYTES = 16_777_216;

const LONGEST_ANSWER = 10_000;

/** A page is read whole: small enough that another question does not wait long. */
const PAGE_MESSAGES = 2000;
const PAGE_BYTES = 1_048_576;

export interface QuestionsOptions {
  readonly directory: string;
  workerEnded(error: unknown): void;
}

/** The thread starts with the first question. */
export function openQuestions({ directory, workerEnded }: QuestionsOptions) {
  const program = new URL('../storage/journal/reader-worker.ts', import.meta.url);
  const reader = new WorkerClient({
    program,
    name: 'the journal',
    opening: directory,
    endedCode: 'internal',
    ended: workerEnded,
  });
  const ask = async (name: string, call: NewestCall | LastCall | PageCall) =>
    unpack(await reader.call<Packed>(name, call));

  async function* pages(range: TelemetryRange): AsyncGenerator<Awaited<ReturnType<typeof ask>>> {
    const wanted = wantedOf(range);
    let after = range.after ?? 0;
    for (;;) {
      const page = await ask('page', { wanted, after, limit: PAGE_MESSAGES, mostBytes: PAGE_BYTES });
      const last = page.at(-1);
      if (last === undefined) return;
      yield page;
      after = last.position;
    }
  }

  return {
    query: async (query) => {
      const { limit, before = Number.MAX_SAFE_INTEGER } = query;
      if (!Number.isInteger(limit) || limit < 1 || limit > LONGEST_ANSWER) {
        throw new Problem('request_invalid', {
          detail: `expected a limit of 1 to ${LONGEST_ANSWER}, found ${Number(limit)}`,
        });
      }
      return ask('query', { wanted: wantedOf(query), before, limit, mostBytes: ANSWER_BYTES });
    },
    pages,
    last: (of, after = '') =>
      ask('last', { devices: typeof of === 'string' ? [of] : of, mostBytes: ANSWER_BYTES, after }),
    series: async (query) => {
      checkSeries(query);
      const wanted = wantedOf(query);
      const sums = new SeriesSums(query);
      let after: number | undefined = 0;
      while (after !== undefined) {
        const { pointer, bucket } = query;
        const call: SeriesCall = { wanted, after, limit: PAGE_MESSAGES, pointer, bucket };
        const look: SeriesLook = await reader.call<SeriesLook>('series', call);
        sums.addAll(look.partial);
        after = look.next;
      }
      return sums.result();
    },
    stats: () => reader.call<TelemetryStats>('stats'),
    /** Of streams that had a message in the last so many days of the journal. */
    streams: (days: number) => reader.call<DeviceStreams[]>('streams', days),
    close: () => reader.close(),
  } satisfies Partial<Omit<Telemetry, 'streams'>> & { streams(days: number): Promise<DeviceStreams[]> };
}

let selections = 0;

/** Throws Problem `request_invalid` for a range that ends before it begins. */
function wantedOf({ device, devices, stream, since, until }: TelemetryRange): Wanted {
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
