/** The plans of SQLite for the statements that find devices: a search of one index each, without a scan and without a sort. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRegistry } from '../open.ts';
import { parseAddressRange } from './address-range.ts';
import { DEVICE_SORTS, type DeviceCriteria } from './device-query.ts';
import { candidatesOf, orderOf } from './device-sources.ts';

const CRITERIA: Readonly<Record<string, DeviceCriteria>> = {
  nothing: {},
  group: { group: 'pumps' as never },
  status: { status: 'active' },
  label: { labels: { site: 'hall-3' } },
  online: { isOnline: true },
  offline: { isOnline: false },
  'last seen before': { lastSeenBefore: 5 },
  'last seen after': { lastSeenAfter: 5 },
  address: { address: parseAddressRange('10.0.0.0/8') },
  token: { token: '0123456789abcdef' },
  'SDK version': { sdkVersion: 'rollcall-device-sdk/0.1.0' },
  'end of the certificate': { certificateEndsBefore: 5 },
  text: { text: 'hall' },
};

const directory = mkdtempSync(join(tmpdir(), 'rollcall-test-'));
let database: Database.Database;
beforeAll(async () => {
  const file = join(directory, 'registry.db');
  await (await openRegistry({ file, now: Date.now, log: pino({ level: 'silent' }) })).close();
  database = new Database(file, { readonly: true });
});

afterAll(() => {
  database.close();
  rmSync(directory, { recursive: true });
});

function planOf(sql: string, parameters: Readonly<Record<string, unknown>>): readonly string[] {
  const statement = database.prepare(`EXPLAIN QUERY PLAN ${sql}`);
  const rows = statement.all({ most: 1, id: '', key: '', end: '', ...parameters }) as readonly {
    readonly detail: string;
  }[];
  return rows
    .map(({ detail }) => detail)
    .filter((detail) => !/^(COMPOUND QUERY|LEFT-MOST SUBQUERY|UNION ALL)$/.test(detail));
}

describe.each(Object.entries(CRITERIA))('devices by %s', (_, criteria) => {
  it.each(DEVICE_SORTS)('are read in the order of %s from an index, from a position on', (sort) => {
    for (const isReversed of [false, true]) {
      for (const { sql, parameters } of orderOf(sort, isReversed, criteria)) {
        const [step, ...others] = planOf(isReversed ? sql.down : sql.up, parameters);
        expect(step).toMatch(/^SEARCH \S+ USING (COVERING INDEX|PRIMARY KEY|INDEX) .*\(.*[<>]/);
        expect(others).toEqual([]);
      }
    }
  });

  it('are counted and read from an index', () => {
    for (const { sql, parameters } of candidatesOf(criteria)) {
      for (const step of planOf(sql, parameters))
        expect(step).toMatch(/^SEARCH \S+ USING (COVERING INDEX|PRIMARY KEY|INDEX devices_by_status) /);
    }
  });
});
