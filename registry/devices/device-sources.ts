/**
 * Reads ids of devices from an index: in the order of a list, or all that match one criterion. Each statement searches one index from
 * a position on, so that its cost does not depend on the number of devices (`registry/devices/device-sources.test.ts`).
 */

import type { SqlValue, Steps, Transaction } from '../transaction.ts';
import { type DeviceCriteria, type DeviceSort, NUMBER_SORTS, type OrderPart, type Position } from './device-query.ts';
import { labelTerm, termRange } from './device-terms.ts';

/** Devices in an order, from a position on. */
export interface OrderedSource {
  readonly part: OrderPart;
  readonly column: string;
  /** Of `column`, both included. */
  readonly least: string | number;
  readonly most: string | number;
  readonly sql: { readonly up: string; readonly down: string };
  readonly parameters: Readonly<Record<string, SqlValue>>;
}

export const COLUMNS: Readonly<Record<DeviceSort, string>> = {
  id: 'id',
  group: 'group_name',
  status: 'status',
  enrolled: 'enrolled_at',
  token: 'enrolled_by',
  'last-seen': 'last_seen_at',
  address: 'address_key',
  'sdk-version': 'sdk_version',
  expires: 'certificate_ends_at',
};

/** Conditions of the partial indexes, which a statement has to repeat. */
const OF_INDEX: Partial<Record<DeviceSort, string>> = {
  'last-seen': 'online = 0 AND last_seen_at IS NOT NULL',
  address: 'address_key IS NOT NULL',
  'sdk-version': 'sdk_version IS NOT NULL',
  expires: 'certificate_ends_at IS NOT NULL',
};

/** Named, because SQLite has no statistics of these columns to choose by. */
const INDEX: Readonly<Record<string, string>> = {
  group_name: 'devices INDEXED BY devices_by_group',
  status: 'devices INDEXED BY devices_by_status',
  enrolled_at: 'devices INDEXED BY devices_by_enrollment',
  enrolled_by: 'devices INDEXED BY devices_by_token',
  online: 'devices INDEXED BY devices_by_online',
  last_seen_at: 'devices INDEXED BY devices_by_last_seen',
  address_key: 'devices INDEXED BY devices_by_address',
  sdk_version: 'devices INDEXED BY devices_by_sdk_version',
  certificate_ends_at: 'devices INDEXED BY devices_by_certificate_end',
};

/** Behind every id: ids are ASCII. */
const LAST_TEXT = '\x7f';

function orderedBy(column: string, from: string, where: string): OrderedSource['sql'] {
  const sql = (compare: '>' | '<', within: '<=' | '>=', order: '' | ' DESC') =>
    column === 'id'
      ? `SELECT id, id AS key FROM ${from} WHERE ${where} AND id ${compare} @id ORDER BY id${order} LIMIT @most`
      : `SELECT id, ${column} AS key FROM ${from} WHERE ${where} AND (${column}, id) ${compare} (@key, @id)
         AND ${column} ${within} @end ORDER BY ${column}${order}, id${order} LIMIT @most`;
  return { up: sql('>', '<=', ''), down: sql('<', '>=', ' DESC') };
}

const EVERY = { least: '', most: LAST_TEXT } as const;
const ALL_BY_ID = orderedBy('id', 'devices', 'TRUE');

/** The parts of an order, first to last, as far as the criteria leave anything in them. */
export function orderOf(sort: DeviceSort, isReversed: boolean, criteria: DeviceCriteria): readonly OrderedSource[] {
  const column = COLUMNS[sort];
  if (sort === 'id') return [byId(criteria) ?? { part: 'value', column, ...EVERY, sql: ALL_BY_ID, parameters: {} }];
  const isNumber = NUMBER_SORTS.has(sort);
  const bounds = boundsOf(sort, criteria);
  const values: OrderedSource = {
    part: 'value',
    column,
    least: bounds?.least ?? (isNumber ? 0 : ''),
    most: bounds?.most ?? (isNumber ? Number.MAX_SAFE_INTEGER : LAST_TEXT),
    sql: orderedBy(column, INDEX[column] as string, OF_INDEX[sort] ?? 'TRUE'),
    parameters: {},
  };
  if (OF_INDEX[sort] === undefined) return [values];
  // Without an index of its own: an id that has a value, or is online, is left out by `find-devices.ts`.
  const none: OrderedSource = { part: 'none', column: 'id', ...EVERY, sql: ALL_BY_ID, parameters: {} };
  if (sort !== 'last-seen') return bounds === undefined ? [values, none] : [values];
  const { isOnline, lastSeenAfter, lastSeenBefore } = criteria;
  const online: OrderedSource = { part: 'online', column: 'id', ...EVERY, ...equal('online', 1) };
  const parts = [
    ...(isReversed ? [online, values] : [values, online]),
    ...(lastSeenAfter === undefined && lastSeenBefore === undefined ? [none] : []),
  ];
  return parts.filter(({ part }) =>
    part === 'online' ? isOnline !== false && lastSeenBefore === undefined : isOnline !== true,
  );
}

/** Whether the order has an index that contains only what one of the criteria matches. */
export function isNarrowedBy(criteria: DeviceCriteria, sort: DeviceSort): boolean {
  if (sort === 'id') return byId(criteria) !== undefined;
  if (sort === 'last-seen') return criteria.lastSeenBefore !== undefined || criteria.lastSeenAfter !== undefined;
  return boundsOf(sort, criteria) !== undefined;
}

function boundsOf(
  sort: DeviceSort,
  { group, status, token, address, sdkVersion, certificateEndsBefore, lastSeenAfter, lastSeenBefore }: DeviceCriteria,
): { readonly least: string | number; readonly most: string | number } | undefined {
  const only = (value: string | undefined) => (value === undefined ? undefined : { least: value, most: value });
  switch (sort) {
    case 'group':
      return only(group);
    case 'status':
      return only(status);
    case 'token':
      return only(token === undefined ? undefined : `token/${token}`);
    case 'sdk-version':
      return only(sdkVersion);
    case 'address':
      return address;
    case 'expires':
      return certificateEndsBefore === undefined ? undefined : { least: 0, most: certificateEndsBefore };
    case 'last-seen':
      return { least: lastSeenAfter ?? 0, most: lastSeenBefore ?? Number.MAX_SAFE_INTEGER };
    default:
      return undefined;
  }
}

function equal(column: string, value: SqlValue): Pick<OrderedSource, 'sql' | 'parameters'> {
  const present = column === 'sdk_version' ? ' AND sdk_version IS NOT NULL' : '';
  return { sql: orderedBy('id', INDEX[column] as string, `${column} = @value${present}`), parameters: { value } };
}

const BY_TERM = {
  up: 'SELECT device_id AS id, device_id AS key FROM device_terms WHERE term = @value AND device_id > @id ORDER BY device_id LIMIT @most',
  down: 'SELECT device_id AS id, device_id AS key FROM device_terms WHERE term = @value AND device_id < @id ORDER BY device_id DESC LIMIT @most',
} as const;

/** Ids in their order that match one criterion exactly; undefined when no index has them in this order. */
function byId(criteria: DeviceCriteria): OrderedSource | undefined {
  const { group, status, token, isOnline, sdkVersion, labels } = criteria;
  const source = (found: Pick<OrderedSource, 'sql' | 'parameters'>): OrderedSource => ({
    part: 'value',
    column: 'id',
    ...EVERY,
    ...found,
  });
  const [label] = Object.entries(labels ?? {});
  if (label !== undefined) return source({ sql: BY_TERM, parameters: { value: labelTerm(...label) } });
  if (token !== undefined) return source(equal('enrolled_by', `token/${token}`));
  if (sdkVersion !== undefined) return source(equal('sdk_version', sdkVersion));
  if (group !== undefined) return source(equal('group_name', group));
  if (isOnline !== undefined) return source(equal('online', isOnline ? 1 : 0));
  return status === undefined ? undefined : source(equal('status', status));
}

/** Up to `most` ids behind a position, with the values that they are sorted by. */
export function* readOrdered(
  tx: Transaction,
  { sql, least, most, parameters }: OrderedSource,
  from: Position | undefined,
  { isReversed, count }: { readonly isReversed: boolean; readonly count: number },
): Steps<readonly { readonly id: string; readonly key: string | number }[]> {
  const start = isReversed ? { key: most, id: LAST_TEXT } : { key: least, id: '' };
  return yield* tx.all(isReversed ? sql.down : sql.up, {
    ...parameters,
    key: from?.key ?? start.key,
    id: from?.id ?? start.id,
    end: isReversed ? least : most,
    most: count,
  });
}

/** All devices that match one criterion, in no order. */
export interface Candidates {
  readonly sql: string;
  readonly parameters: Readonly<Record<string, SqlValue>>;
  readonly isText?: true;
}

export function candidatesOf(criteria: DeviceCriteria): readonly Candidates[] {
  const { group, status, token, isOnline, sdkVersion, labels, address, text } = criteria;
  const { certificateEndsBefore, lastSeenBefore, lastSeenAfter } = criteria;
  const found: Candidates[] = [];
  const add = (column: string, condition: string, parameters: Candidates['parameters']) =>
    found.push({ sql: `SELECT id FROM ${INDEX[column]} WHERE ${condition} LIMIT @most`, parameters });
  const addTerms = (condition: string, parameters: Candidates['parameters'], kind: { readonly isText?: true } = {}) =>
    found.push({ sql: `SELECT device_id AS id FROM device_terms WHERE ${condition} LIMIT @most`, parameters, ...kind });
  for (const [name, value] of Object.entries(labels ?? {}))
    addTerms('term = @value', { value: labelTerm(name, value) });
  if (text !== undefined) addTerms('term >= @least AND term < @end', { ...termRange(text) }, { isText: true });
  if (token !== undefined) add('enrolled_by', 'enrolled_by = @value', { value: `token/${token}` });
  if (sdkVersion !== undefined) {
    add('sdk_version', 'sdk_version IS NOT NULL AND sdk_version = @value', { value: sdkVersion });
  }
  if (group !== undefined) add('group_name', 'group_name = @value', { value: group });
  if (isOnline !== undefined) add('online', 'online = @value', { value: isOnline ? 1 : 0 });
  if (status !== undefined) add('status', 'status = @value', { value: status });
  if (address !== undefined) {
    const within = 'address_key IS NOT NULL AND address_key >= @least AND address_key <= @end';
    add('address_key', within, { least: address.least, end: address.most });
  }
  if (certificateEndsBefore !== undefined) {
    const before = 'certificate_ends_at IS NOT NULL AND certificate_ends_at < @value';
    add('certificate_ends_at', before, { value: certificateEndsBefore });
  }
  const isOffline = 'online = 0 AND last_seen_at IS NOT NULL';
  if (lastSeenBefore !== undefined) {
    add('last_seen_at', `${isOffline} AND last_seen_at < @value`, { value: lastSeenBefore });
  }
  if (lastSeenAfter !== undefined) {
    const online = `SELECT id FROM ${INDEX.online} WHERE online = 1`;
    const offline = `SELECT id FROM ${INDEX.last_seen_at} WHERE ${isOffline} AND last_seen_at >= @value`;
    found.push({ sql: `${online} UNION ALL ${offline} LIMIT @most`, parameters: { value: lastSeenAfter } });
  }
  return found;
}

/** Up to `most` of them. A text can name a device several times. */
export function* readCandidates(
  tx: Transaction,
  { sql, parameters }: Candidates,
  most: number,
): Steps<readonly string[]> {
  return (yield* tx.all<{ id: string }>(sql, { ...parameters, most })).map(({ id }) => id);
}

export function* countCandidates(tx: Transaction, { sql, parameters }: Candidates, most: number): Steps<number> {
  const counted = `SELECT count(*) AS n FROM (${sql}) AS candidates`;
  return (yield* tx.get<{ n: number }>(counted, { ...parameters, most }))?.n ?? 0;
}
