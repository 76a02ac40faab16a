/** The newest message of each source, over all lanes: from the index of each lane, and from the blocks behind its mark. */

import { type DeviceStreams, memoryOf, type Row } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { RESULT_BYTES } from '../telemetry-reader.ts';
import type { BlockReader, FoundMessage } from './block-reader.ts';
import { newestIn, partOf } from './device-index.ts';
import { compare } from './finder.ts';
import type { ScatteredMessages } from './scattered-messages.ts';
import type { Source, Sources } from './sources.ts';
import { type JournalName, named } from './tables.ts';

/** Messages in one page. */
const MOST_IN_PAGE = 10_000;

export interface NewestMessagesOptions {
  readonly database: PostgresDatabase;
  readonly name: JournalName;
  readonly sources: Sources;
  readonly blocks: BlockReader;
  readonly scattered: ScatteredMessages;
}

export class NewestMessages {
  readonly #options: NewestMessagesOptions;

  constructor(options: NewestMessagesOptions) {
    this.#options = options;
  }

  /** One page in the order of devices and streams, after `DEVICE/STREAM`. */
  async page(devices: readonly string[] | undefined, after: string): Promise<Row[]> {
    const { sources, scattered } = this.#options;
    const [device = '', stream = ''] = after.split('/', 2);
    const isAfter = (one: Source) => one.device > device || (one.device === device && one.stream > stream);
    const wanted = (await sources.of(devices, undefined)).filter(isAfter);
    const newest = await this.#newest(devices === undefined ? undefined : wanted.map(({ id }) => id));
    const found = wanted.map(({ id }) => newest.get(id)).filter((one) => one !== undefined);
    const page: Row[] = [];
    let bytes = 0;
    // Those whose days were removed are not there; an empty page would be the end.
    for (let at = 0; at < found.length && page.length === 0; at += MOST_IN_PAGE) {
      for (const row of await scattered.read(found.slice(at, at + MOST_IN_PAGE), RESULT_BYTES)) {
        bytes += memoryOf(row);
        if (bytes > RESULT_BYTES && page.length > 0) break;
        page.push(row);
      }
    }
    return page;
  }

  /** The streams of each device whose newest message was stored at or after a time. */
  async streams(since: number): Promise<readonly DeviceStreams[]> {
    const newest = await this.#newest(undefined);
    const found = new Map<string, string[]>();
    for (const { id, device, stream } of await this.#options.sources.of(undefined, undefined)) {
      if ((newest.get(id)?.stamp ?? Number.NEGATIVE_INFINITY) < since) continue;
      const streams = found.get(device);
      if (streams === undefined) found.set(device, [stream]);
      else streams.push(stream);
    }
    return [...found];
  }

  /** By source; of each, or of these. */
  async #newest(ids: readonly number[] | undefined): Promise<ReadonlyMap<number, FoundMessage>> {
    const { database, name, blocks } = this.#options;
    const newest = new Map<number, FoundMessage>();
    const only = ids && new Set(ids);
    const note = (one: FoundMessage) => {
      if (only?.has(one.source) === false) return;
      const known = newest.get(one.source);
      if (known === undefined || compare(one, known) > 0) newest.set(one.source, one);
    };
    // The marks first: what is indexed meanwhile is found twice.
    const lanes = await blocks.lanes();
    const parts = ids && [...new Set(ids.map(partOf))];
    const sql = `SELECT lane, part, entries FROM NAME_newest ${parts === undefined ? '' : 'WHERE part = ANY($1::int[])'}`;
    const { rows } = await database.query<{ lane: number; part: number; entries: Buffer }>(
      named(sql, name),
      parts === undefined ? [] : [parts],
    );
    for (const { lane, part, entries } of rows) {
      for (const [source, { number, stamp, first, day }] of newestIn(part, entries)) {
        note({ lane, day, first, index: number - first, source, time: 0, stamp });
      }
    }
    for (const lane of lanes) {
      const range = { lane, after: lane.indexed, upTo: lane.newest, since: 0, until: Number.MAX_SAFE_INTEGER };
      for await (const found of blocks.found(range, 'oldest first')) for (const one of found) note(one);
    }
    return newest;
  }
}
