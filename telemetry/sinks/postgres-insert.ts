/** The INSERT of a batch: its columns, and their values as one array each. `postgres-target.ts` makes the table. */

import { positionNumber } from '../position.ts';
import { userPropertiesJson } from './message-json.ts';
import type { SinkMessage, SinkSource } from './target.ts';

type Column = readonly [type: string, pick: (message: SinkMessage) => unknown];

/** In the order of the parameters of an INSERT. */
export const COLUMNS: Readonly<Record<string, Column>> = {
  received_at: ['float8', (m) => m.receivedAt],
  position: ['bigint', (m) => positionNumber(m.position)],
  device: ['text', (m) => m.device],
  stream: ['text', (m) => m.stream],
  qos: ['smallint', (m) => m.qos],
  device_time: ['float8', (m) => m.deviceTime ?? null],
  device_sequence: ['float8', (m) => m.deviceSequence ?? null],
  message_key: ['text', (m) => m.key ?? null],
  content_type: ['text', (m) => m.contentType ?? null],
  payload: ['bytea', (m) => Buffer.from(m.payload.buffer, m.payload.byteOffset, m.payload.byteLength)],
};

/** Of MQTT 5. A table that an earlier version made has none of them. */
export const PROPERTY_COLUMNS: Readonly<Record<string, Column>> = {
  payload_format: ['smallint', (m) => m.payloadFormatIndicator ?? null],
  user_properties: ['jsonb', (m) => JSON.stringify(userPropertiesJson(m)) ?? null],
};

const TIMES: ReadonlySet<string> = new Set(['received_at', 'device_time']);

/** `$1` is the source; each column is one array. */
export function insertInto(table: string, columns: Readonly<Record<string, Column>>): string {
  const names = Object.keys(columns);
  const selected = names.map((name) => (TIMES.has(name) ? `to_timestamp(${name} / 1000.0)` : name));
  const arrays = Object.values(columns).map(([type], index) => `$${index + 2}::${type}[]`);
  return `INSERT INTO ${table} (source, ${names.join(', ')})
      SELECT $1, ${selected.join(', ')}
      FROM unnest(${arrays.join(', ')}) AS t (${names.join(', ')})
      ON CONFLICT DO NOTHING`;
}

export function hasProperties({ payloadFormatIndicator, userProperties }: SinkMessage): boolean {
  return payloadFormatIndicator !== undefined || (userProperties !== undefined && userProperties.length > 0);
}

export function valuesOf(source: SinkSource, messages: readonly SinkMessage[], withProperties: boolean): unknown[] {
  const columns = Object.values(withProperties ? { ...COLUMNS, ...PROPERTY_COLUMNS } : COLUMNS);
  return [source, ...columns.map(([, pick]) => messages.map(pick))];
}
