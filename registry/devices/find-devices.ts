/**
 * Finds a page of devices. Reads ids from one index in the order of the list and tests each; or, where few devices match one of the
 * criteria, tests those and sorts them. Works in slices of at most 1,000 devices with a turn of the event loop between them, so that
 * no page delays the broker for longer than a slice takes.
 */

import type { DeviceId } from '@rollcall/protocol';
import { expectLimit } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { DeviceRecord } from '../registry.ts';
import type { SqlValue } from '../transaction.ts';
import {
  type DeviceCriteria,
  type DeviceFilter,
  type DeviceSort,
  type Position,
  positionOf,
  readCursor,
} from './device-query.ts';
import {
  type Candidates,
  COLUMNS,
  candidatesOf,
  countCandidates,
  isNarrowedBy,
  orderOf,
  readCandidates,
  readOrdered,
} from './device-sources.ts';
import { type DeviceRow, readDevice } from './devices.ts';
import { LABEL_NAME } from './labels.ts';

/** Devices tested per turn of the event loop. */
const SLICE = 1_000;
const FIRST_SLICE = 64;
/** A criterion that so few devices match is cheaper to sort than to look for; fewer where an index has the order already. */
const FEW = 10_000;
const FEW_IN_ORDER = 1_000;

/** The conditions of those criteria that are given: at most a few thousand texts, of which operators use a few. */
function matching({ labels = {}, ...criteria }: DeviceCriteria): string {
  const hasLabels = Object.keys(labels).length > 0;
  const given = Object.entries(CONDITIONS).filter(([name]) => criteria[name as keyof typeof criteria] !== undefined);
  const conditions = ['deleted_at IS NULL', ...given.map(([, sql]) => sql), ...(hasLabels ? [HAS_LABELS] : [])];
  return `FROM json_each(@ids) AS wanted CROSS JOIN devices ON devices.id = wanted.value WHERE ${conditions.join(' AND ')}`;
}

const CONDITIONS: Readonly<Record<keyof Omit<DeviceCriteria, 'labels'>, string>> = {
  group: 'group_name = @group',
  status: 'status = @status',
  isOnline: 'online = @online',
  lastSeenBefore: 'online = 0 AND last_seen_at < @seenBefore',
  lastSeenAfter: '(online = 1 OR last_seen_at >= @seenAfter)',
  address: 'address_key BETWEEN @addressLeast AND @addressMost',
  token: 'enrolled_by = @enrolledBy',
  sdkVersion: 'sdk_version = @sdkVersion',
  certificateEndsBefore: 'certificate_ends_at < @endsBefore',
  text: 'begins_term(devices.id, devices.labels, @text)',
};
const HAS_LABELS = `NOT EXISTS (
  SELECT 1 FROM json_each(@labels) AS label WHERE devices.labels ->> label.key IS DISTINCT FROM label.value
)`;

/** Throws Problem `request_invalid` for a limit outside 1 to 10,000, or a cursor of another order. */
export async function findDevices(database: RegistryDatabase, filter: DeviceFilter): Promise<readonly DeviceRecord[]> {
  const { sort = 'id', isReversed = false, after, cursor } = filter;
  const limit = expectLimit(filter.limit);
  const from =
    cursor === undefined
      ? after === undefined
        ? undefined
        : ({ part: 'value', key: after, id: after } as const)
      : readCursor(cursor, sort, isReversed);
  if (Object.keys(filter.labels ?? {}).some((name) => !LABEL_NAME.test(name))) return [];
  const few = await fewCandidates(database, filter, sort);
  const page = { sort, isReversed, from, limit };
  return few === undefined ? await walk(database, filter, page) : await sortFew(database, few, page);
}

/** How many devices match, counted up to `most`. */
export async function countMatchingDevices(
  database: RegistryDatabase,
  criteria: DeviceCriteria,
  most: number,
): Promise<number> {
  if (Object.keys(criteria.labels ?? {}).some((name) => !LABEL_NAME.test(name))) return 0;
  const few = await fewCandidates(database, criteria, 'id');
  const slices = few === undefined ? slicesById(database, criteria) : slicesOf(few.ids);
  const tested = few === undefined ? criteria : few.criteria;
  const sql = `SELECT count(*) AS n ${matching(tested)}`;
  const parameters = parametersOf(tested);
  let count = 0;
  for await (const ids of slices) {
    count += await database.read(function* (tx) {
      return (yield* tx.get<{ n: number }>(sql, { ids: JSON.stringify(ids), ...parameters }))?.n ?? 0;
    });
    if (count >= most) return most;
    await nextTurn();
  }
  return count;
}

function* slicesOf(ids: readonly string[]): Iterable<readonly string[]> {
  for (let start = 0; start < ids.length; start += SLICE) yield ids.slice(start, start + SLICE);
}

async function* slicesById(database: RegistryDatabase, criteria: DeviceCriteria): AsyncIterable<readonly string[]> {
  for (const source of orderOf('id', false, criteria)) {
    let position: Position | undefined;
    for (;;) {
      const from = position;
      const keys = await database.read((tx) => readOrdered(tx, source, from, { isReversed: false, count: SLICE }));
      if (keys.length > 0) yield keys.map(({ id }) => id);
      const last = keys.at(-1);
      if (last === undefined || keys.length < SLICE) break;
      position = { part: source.part, ...last };
    }
  }
}

interface Page {
  readonly sort: DeviceSort;
  readonly isReversed: boolean;
  /** The last device of the page before. */
  readonly from: Position | undefined;
  readonly limit: number;
}

interface Few {
  readonly ids: readonly string[];
  /** Without the criterion that all of them match. */
  readonly criteria: DeviceCriteria;
}

/** Undefined when many devices match each of the criteria, or when an index has exactly these devices in this order. */
async function fewCandidates(
  database: RegistryDatabase,
  criteria: DeviceCriteria,
  sort: DeviceSort,
): Promise<Few | undefined> {
  return database.read(function* (tx) {
    const all = candidatesOf(criteria);
    const isOrdered = isNarrowedBy(criteria, sort);
    if (all.length === 0 || (isOrdered && all.length === 1)) return undefined;
    const most = isOrdered ? FEW_IN_ORDER : FEW;
    let least: { readonly candidates: Candidates; readonly count: number } | undefined;
    for (const candidates of all) {
      const count = yield* countCandidates(tx, candidates, most + 1);
      if (least === undefined || count < least.count) least = { candidates, count };
    }
    if (least === undefined || least.count > most) return undefined;
    const ids = [...new Set(yield* readCandidates(tx, least.candidates, most))];
    return { ids, criteria: least.candidates.isText ? { ...criteria, text: undefined } : criteria };
  });
}

async function walk(
  database: RegistryDatabase,
  criteria: DeviceCriteria,
  page: Page,
): Promise<readonly DeviceRecord[]> {
  const { sort, isReversed, from, limit } = page;
  const found: Found[] = [];
  const parts = orderOf(sort, isReversed, criteria);
  const first = from === undefined ? 0 : parts.findIndex(({ part }) => part === from.part);
  if (first < 0) return [];
  for (const [index, source] of parts.slice(first).entries()) {
    let position = index === 0 ? from : undefined;
    let count = Math.min(SLICE, Math.max(FIRST_SLICE, limit - found.length));
    for (;;) {
      const keys = await database.read((tx) => readOrdered(tx, source, position, { isReversed, count }));
      const ids = keys.map(({ id }) => id);
      const matching = new Map(
        (await test(database, criteria, ids, sort)).map((device) => [device.record.id as string, device]),
      );
      for (const id of ids) {
        const device = matching.get(id);
        if (device?.position.part === source.part) found.push(device);
        if (found.length === limit) return found.map(({ record }) => record);
      }
      const last = keys.at(-1);
      if (last === undefined || keys.length < count) break;
      position = { part: source.part, ...last };
      count = Math.min(SLICE, 2 * count);
      await nextTurn();
    }
  }
  return found.map(({ record }) => record);
}

async function sortFew(
  database: RegistryDatabase,
  { ids, criteria }: Few,
  { sort, isReversed, from, limit }: Page,
): Promise<readonly DeviceRecord[]> {
  const parts = orderOf(sort, isReversed, {}).map(({ part }) => part);
  const compare = (one: Position, other: Position) => {
    const byPart = parts.indexOf(one.part) - parts.indexOf(other.part);
    if (byPart !== 0) return byPart;
    const order = compareKeys(one, other);
    return isReversed ? -order : order;
  };
  const parameters = parametersOf(criteria);
  const sql = `SELECT devices.id AS id, devices.${COLUMNS[sort]} AS key, online ${matching(criteria)}`;
  const found: Position[] = [];
  for (let start = 0; start < ids.length; start += SLICE) {
    if (start > 0) await nextTurn();
    const slice = JSON.stringify(ids.slice(start, start + SLICE));
    for (const row of await database.read((tx) => tx.all<KeyRow>(sql, { ids: slice, ...parameters }))) {
      const position = positionOfRow(row, sort);
      if (from === undefined || compare(position, from) > 0) found.push(position);
    }
  }
  const page = found
    .sort(compare)
    .slice(0, limit)
    .map(({ id }) => id);
  const records = new Map((await test(database, {}, page, sort)).map(({ record }) => [record.id as string, record]));
  return page.flatMap((id) => records.get(id) ?? []);
}

interface KeyRow {
  readonly id: string;
  readonly key: string | number | null;
  readonly online: 0 | 1;
}

function positionOfRow({ id, key, online }: KeyRow, sort: DeviceSort): Position {
  if (sort === 'last-seen' && online === 1) return { part: 'online', key: id, id };
  return key === null ? { part: 'none', key: id, id } : { part: 'value', key, id };
}

/** As SQLite compares: ids and the values that are text are ASCII. */
function compareKeys(one: Position, other: Position): number {
  if (one.key !== other.key) return one.key < other.key ? -1 : 1;
  if (one.id === other.id) return 0;
  return one.id < other.id ? -1 : 1;
}

interface Found {
  readonly record: DeviceRecord & { readonly id: DeviceId };
  readonly position: Position;
}

async function test(
  database: RegistryDatabase,
  criteria: DeviceCriteria,
  ids: readonly string[],
  sort: DeviceSort,
): Promise<readonly Found[]> {
  if (ids.length === 0) return [];
  const rows = await database.read((tx) =>
    tx.all<DeviceRow>(`SELECT devices.* ${matching(criteria)}`, {
      ids: JSON.stringify(ids),
      ...parametersOf(criteria),
    }),
  );
  return rows.map((row) => {
    const record = readDevice(row);
    return { record, position: positionOf(record, sort) };
  });
}

function parametersOf(criteria: DeviceCriteria): Readonly<Record<string, SqlValue>> {
  const { group, status, isOnline, address, token, sdkVersion, labels = {}, text } = criteria;
  return {
    group: group ?? null,
    status: status ?? null,
    online: isOnline === undefined ? null : isOnline ? 1 : 0,
    seenBefore: criteria.lastSeenBefore ?? null,
    seenAfter: criteria.lastSeenAfter ?? null,
    addressLeast: address?.least ?? null,
    addressMost: address?.most ?? null,
    enrolledBy: token === undefined ? null : `token/${token}`,
    sdkVersion: sdkVersion ?? null,
    endsBefore: criteria.certificateEndsBefore ?? null,
    labels: Object.keys(labels).length === 0 ? null : JSON.stringify(labels),
    text: text?.toLowerCase() ?? null,
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
