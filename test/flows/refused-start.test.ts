/** A start that is refused because of one database changes none of them, so that the version which wrote them still works. */

import {
  closeSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newestSchema } from '../../registry/sqlite/migrate.ts';
import { listSegments } from '../../storage/index.ts';
import { createSegmentFile } from '../../storage/journal/segment-file.ts';
import { segmentName } from '../../storage/journal/segment-names.ts';
import { writeOlderRegistry } from '../fixtures/older-registry.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';
import { hashOf } from '../fixtures/tree-snapshot.ts';

const FREE_PORTS = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0'];
const DAMAGED_FROM = 4096;

/** A fleet without messages and with a registry of an earlier version, and the same after its server was killed. */
let upgraded: string;
let killed: string;

beforeAll(async () => {
  const parent = mkdtempSync(join(tmpdir(), 'rollcall-test-'));
  [upgraded, killed] = [join(parent, 'upgraded'), join(parent, 'killed')];
  await (await serve(upgraded)).end('SIGTERM');
  for (const journal of ['telemetry', 'events'].map((name) => join(upgraded, name))) {
    if (listSegments(journal).length > 0) continue;
    createSegmentFile(segmentName(journal, 1, '2030-01-31').file, { firstPosition: 1 });
  }
  cpSync(upgraded, killed, { recursive: true });
  for (const name of ['registry.db', 'ca', 'trust-bundle.pem', 'operator.key', 'metrics.key']) {
    rmSync(join(upgraded, name), { recursive: true });
  }
  writeOlderRegistry(join(upgraded, 'registry.db'));
  const server = await serve(killed);
  await rollcall(['token', 'create', '--data', killed]);
  await server.end('SIGKILL');
});

afterAll(() => rmSync(join(upgraded, '..'), { recursive: true }));

function copyOf(source: string): string {
  const data = join(temporaryDirectory(), 'data');
  cpSync(source, data, { recursive: true, filter: (name) => !name.endsWith('.sock') });
  return data;
}

function set(pragma: string) {
  return (file: string) => {
    const database = new Database(file, { fileMustExist: true });
    database.pragma(pragma);
    database.close();
  };
}

const newer = set('user_version = 99');
const older = set('user_version = 1');
const foreign = set('application_id = 1');

function damaged(file: string): void {
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, Buffer.alloc(DAMAGED_FROM, 0xa5), 0, DAMAGED_FROM, DAMAGED_FROM);
  closeSync(descriptor);
}

function unreadable(file: string): void {
  writeFileSync(file, 'no position\n');
}

/** Hashes of all files but the index that SQLite recreates (-shm). */
function contentOf(data: string): Record<string, string> {
  const names = readdirSync(data, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.(db|db-wal|position|next|key|pem)$/.test(name),
  );
  return Object.fromEntries(names.sort().map((name) => [name, hashOf(join(data, name))]));
}

function versionOf(file: string): unknown {
  const database = new Database(file, { readonly: true });
  try {
    return database.pragma('user_version', { simple: true });
  } finally {
    database.close();
  }
}

const segment = (journal: string) => (data: string) => listSegments(join(data, journal)).at(-1)?.file as string;
const file =
  (...path: string[]) =>
  (data: string) =>
    join(data, ...path);

describe('a start that is refused', () => {
  it.each([
    ['a newer segment of telemetry', segment('telemetry'), newer, 'database_newer'],
    ['an older segment of telemetry', segment('telemetry'), older, 'database_older'],
    ['a newer segment of events', segment('events'), newer, 'database_newer'],
    ['a newer reserve of events', file('events', 'reserved.db'), newer, 'database_newer'],
    ['a foreign reserve of events', file('events', 'reserved.db'), foreign, 'database_damaged'],
    ['an unreadable position of events', file('events', 'audit.position'), unreadable, 'data_directory_unusable'],
    ['a newer file of sessions', file('sessions.db'), newer, 'database_newer'],
    ['a foreign file of sessions', file('sessions.db'), foreign, 'database_damaged'],
    ['a damaged file of sessions', file('sessions.db'), damaged, 'database_damaged'],
    ['a newer registry', file('registry.db'), newer, 'database_newer'],
    ['a damaged registry', file('registry.db'), damaged, 'database_damaged'],
  ])('because of %s migrates nothing and changes no other file', async (_, find, change, code) => {
    const data = copyOf(upgraded);
    const found = find(data);
    change(found);
    const before = contentOf(data);
    const ended = await rollcall(['serve', '--data', data, '--json', ...FREE_PORTS]);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain(`"code":"${code}"`);
    expect(ended.stderr).toContain(found);
    expect(contentOf(data)).toEqual(before);
  });

  it('leaves the write-ahead logs of a killed server unchanged', async () => {
    const data = copyOf(killed);
    newer(join(data, 'sessions.db'));
    const before = contentOf(data);
    expect(Object.keys(before)).toContain('registry.db-wal');
    const { code, stderr } = await rollcall(['serve', '--data', data, '--json', ...FREE_PORTS]);
    expect([code, stderr]).toEqual([1, expect.stringContaining('"code":"database_newer"')]);
    expect(contentOf(data)).toEqual(before);
    set('user_version = 2')(join(data, 'sessions.db'));
    const again = await serve(data);
    const tokens = await rollcall(['token', 'list', '--data', data, '--json']);
    expect(JSON.parse(tokens.stdout)).toHaveLength(1);
    await again.end('SIGTERM');
  });

  it('because of workers on a store that several nodes share reaches no database and makes no data directory', async () => {
    const data = join(temporaryDirectory(), 'data');
    const store = ['--store', 'postgres://rollcall@127.0.0.1:9/rollcall', '--workers', '2'];
    const { code, stderr } = await rollcall(['serve', '--data', data, '--json', ...FREE_PORTS, ...store]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('mqtt.workers: expected 1')]);
    expect(existsSync(data)).toBe(false);
  });

  it('is not the normal case: the same registry is migrated when no database is refused', async () => {
    const data = copyOf(upgraded);
    expect(versionOf(join(data, 'registry.db'))).toBe(newestSchema() - 1);
    await (await serve(data)).end('SIGTERM');
    expect(versionOf(join(data, 'registry.db'))).toBe(newestSchema());
    expect(existsSync(join(data, 'ca'))).toBe(true);
  });
});
