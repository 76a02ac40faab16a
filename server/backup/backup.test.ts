/** A backup of a data directory that somebody writes, and what is refused instead of restored. */

import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { backUp } from './backup.ts';
import { withDatabaseSnapshot } from './database-copy.ts';
import { restore } from './restore.ts';
import { readRestoredNote, removeRestoredNote } from './restored-note.ts';

const NOW = Date.UTC(2030, 0, 1);
const OPERATOR_KEY = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const OPERATOR = { sign: async (bytes: Uint8Array) => sign('sha256', bytes, OPERATOR_KEY.privateKey) };
const PASSPHRASE = 'correct horse battery';
const CERTIFICATE = readFileSync(new URL('../../test/fixtures/a-root.pem', import.meta.url), 'utf8');

/** A data directory with the files of one, and a registry that is open and has a log. */
function fleet(parent = temporaryDirectory()) {
  const data = join(parent, 'data');
  for (const folder of ['ca', 'sinks', 'telemetry']) mkdirSync(join(data, folder), { recursive: true });
  writeFileSync(join(data, 'trust-bundle.pem'), CERTIFICATE);
  writeFileSync(join(data, 'ca/root.pem'), CERTIFICATE);
  writeFileSync(join(data, 'ca/root.key'), 'the secret of the fleet', { mode: 0o600 });
  writeFileSync(join(data, 'operator.key'), 'the secret of operators', { mode: 0o600 });
  writeFileSync(join(data, 'metrics.key'), 'the secret of Prometheus', { mode: 0o600 });
  writeFileSync(join(data, 'sinks/one.position'), '17\n');
  const open = (name: string) => {
    const database = new Database(join(data, name));
    database.exec('PRAGMA journal_mode = WAL; CREATE TABLE numbers (number INTEGER PRIMARY KEY)');
    onTestFinished(() => {
      database.close();
    });
    return database;
  };
  const registry = open('registry.db');
  registry.exec('INSERT INTO numbers VALUES (1), (2)');
  const file = join(parent, 'fleet.backup');
  const take = (passphrase?: string) =>
    backUp({
      data,
      file,
      version: '1',
      now: () => NOW,
      protection: passphrase === undefined ? { signer: OPERATOR } : { passphrase },
      auditHead: () => null,
    });
  const bring = (target: string, more: { passphrase?: string; authority?: string } = {}) =>
    restore({
      file,
      data: join(parent, target),
      now: () => NOW + 1000,
      trust: { roots: [], keys: [OPERATOR_KEY.publicKey] },
      auditHead: () => null,
      ...more,
    });
  return { parent, data, file, registry, open, take, bring };
}

function numbersIn(file: string): unknown {
  const database = new Database(file, { readonly: true });
  try {
    return database.prepare('SELECT number FROM numbers ORDER BY number').pluck().all();
  } finally {
    database.close();
  }
}

describe('a backup', () => {
  it('copies a database to a file that only its owner can read, and follows no link', () => {
    const { parent, data } = fleet();
    const modes: number[] = [];
    const draft = join(parent, 'copy');
    withDatabaseSnapshot(join(data, 'registry.db'), draft, (snapshotFile) =>
      modes.push(statSync(snapshotFile).mode & 0o777),
    );
    expect(existsSync(draft)).toBe(true); // it has a log, so it was copied
    expect(modes).toEqual([0o600]);
    const [link, elsewhere] = [join(parent, 'link'), join(parent, 'elsewhere')];
    symlinkSync(elsewhere, link);
    expect(() => withDatabaseSnapshot(join(data, 'registry.db'), link, () => {})).toThrow('EEXIST');
    expect(existsSync(elsewhere)).toBe(false);
  });

  it('contains all committed data, is readable by tar, and can be restored', async () => {
    const { parent, file, registry, open, take, bring } = fleet();
    const segment = open('telemetry/00000001-2030-01-01.db');
    segment.exec('INSERT INTO numbers VALUES (5)');
    segment.pragma('wal_checkpoint(TRUNCATE)');
    registry.exec('BEGIN; INSERT INTO numbers VALUES (3)'); // not committed yet
    const { files } = await take(PASSPHRASE);
    expect(files.map(({ name }) => name)).toEqual([
      'trust-bundle.pem',
      'sinks/one.position',
      'telemetry/00000001-2030-01-01.db',
      'registry.db',
    ]);
    const listed = spawnSync('tar', ['-tf', file], { encoding: 'utf8' });
    expect(listed.stdout.trim().split('\n')).toEqual([
      ...files.map(({ name }) => name),
      'manifest.json',
      'secrets.encrypted',
    ]);
    expect(statSync(file).mode & 0o777).toBe(0o600);

    bring('copy', { passphrase: PASSPHRASE });
    const copy = join(parent, 'copy');
    expect(numbersIn(join(copy, 'registry.db'))).toEqual([1, 2]);
    expect(numbersIn(join(copy, 'telemetry/00000001-2030-01-01.db'))).toEqual([5]);
    expect(readFileSync(join(copy, 'ca/root.key'), 'utf8')).toBe('the secret of the fleet');
    expect(statSync(join(copy, 'ca/root.key')).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(copy, 'sinks/one.position'), 'utf8')).toBe('17\n');
    expect(readRestoredNote(copy)).toEqual({
      takenAt: '2030-01-01T00:00:00.000Z',
      restoredAt: '2030-01-01T00:00:01.000Z',
    });
    removeRestoredNote(copy);
    expect(readRestoredNote(copy)).toBeUndefined();
  });

  it('contains no key in plain text, with a passphrase or without', async () => {
    const { file, take } = fleet();
    await take(PASSPHRASE);
    const [encrypted, secret] = [readFileSync(file), Buffer.from('the secret of')];
    expect(encrypted.includes(secret)).toBe(false);
    expect(encrypted.includes(secret.toString('base64').slice(0, 16))).toBe(false);
    const other = fleet();
    await other.take();
    expect(readFileSync(other.file).includes(secret)).toBe(false);
  });

  it('without keys is restored with a copy of the keys, and is refused with the keys of another fleet', async () => {
    const { parent, data, take, bring } = fleet();
    await take();
    expect(() => bring('copy')).toThrow(expect.objectContaining({ code: 'usage' }));
    const other = join(parent, 'other-ca');
    mkdirSync(other);
    expect(() => bring('copy', { authority: other })).toThrow(expect.objectContaining({ code: 'backup_unusable' }));
    expect(existsSync(join(parent, 'copy'))).toBe(false);
    cpSync(join(data, 'ca'), join(parent, 'kept-ca'), { recursive: true });
    bring('copy', { authority: join(parent, 'kept-ca') });
    expect(readdirSync(join(parent, 'copy/ca'))).toEqual(['root.key', 'root.pem']);
  });

  it('is refused when it is truncated or changed, with a wrong passphrase, and in a directory that is not empty', async () => {
    const { parent, data, file, take, bring } = fleet();
    await take(PASSPHRASE);
    const whole = readFileSync(file);
    const unusable = expect.objectContaining({ code: 'backup_unusable' });
    writeFileSync(file, whole.subarray(0, whole.length / 2));
    expect(() => bring('copy', { passphrase: PASSPHRASE })).toThrow(unusable);
    const changed = Buffer.from(whole);
    const at = whole.indexOf('SQLite format 3') + 5000;
    changed[at] = (changed[at] as number) ^ 1;
    writeFileSync(file, changed);
    expect(() => bring('copy', { passphrase: PASSPHRASE })).toThrow(unusable);
    writeFileSync(file, whole);
    expect(() => bring('copy', { passphrase: 'another one, quite long' })).toThrow(unusable);
    expect(() => bring('data', { passphrase: PASSPHRASE })).toThrow(
      expect.objectContaining({ code: 'data_directory_unusable' }),
    );
    expect(readdirSync(parent).sort()).toEqual(['data', 'fleet.backup']);
    expect(numbersIn(join(data, 'registry.db'))).toEqual([1, 2]);
    await expect(take()).rejects.toThrow(expect.objectContaining({ code: 'backup_exists' }));
  });

  it('onto a full disk fails with that reason and leaves no file', async (context) => {
    const disk = temporaryDirectory();
    const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', disk]);
    if (status !== 0) return context.skip('mounting needs more rights than this user has');
    onTestFinished(() => {
      spawnSync('umount', ['-l', disk]);
    });
    const { data, registry } = fleet();
    registry.exec('CREATE TABLE large (bytes BLOB); INSERT INTO large VALUES (zeroblob(400000))');
    const act = () =>
      backUp({
        data,
        file: join(disk, 'b'),
        version: '1',
        now: () => NOW,
        protection: { passphrase: PASSPHRASE },
        auditHead: () => null,
      });
    await expect(act()).rejects.toThrow(
      expect.objectContaining({ code: 'backup_failed', detail: expect.stringContaining('not enough space') }),
    );
    expect(readdirSync(disk)).toEqual([]);
    registry.pragma('wal_checkpoint(TRUNCATE)'); // now the file itself is read, and the archive is what doesn't fit
    await expect(act()).rejects.toThrow(
      expect.objectContaining({ code: 'backup_failed', detail: expect.stringContaining('not enough space') }),
    );
    expect(readdirSync(disk)).toEqual([]);
  });
});
