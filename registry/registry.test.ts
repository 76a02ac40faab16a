/** The SQLite registry: the behaviour of every registry, and what only a file can do wrong. */

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { registryBehaviour } from '../test/behaviour/registry.ts';
import { device, type FreshRegistry, OPERATOR, RegistryFixture } from '../test/behaviour/registry-fixture.ts';
import { writeUntilKilled } from '../test/fixtures/killed-writer.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { openRegistry } from './open.ts';

const log = pino({ level: 'silent' });

registryBehaviour('SQLite', (now) => openIn(temporaryDirectory(), now));

async function openIn(directory: string, now: () => number = Date.now): Promise<FreshRegistry> {
  const file = join(directory, 'registry.db');
  const open = async () => {
    const opened = await openRegistry({ file, now, log });
    onTestFinished(() => opened.close());
    return opened;
  };
  const registry = await open();
  return {
    registry,
    reopen: async () => {
      await registry.close();
      return open();
    },
  };
}

/** A fleet and a second connection to its file, with which a test can look or interfere. */
async function fleetAndFile(): Promise<{ fleet: RegistryFixture; file: string; outside: Database.Database }> {
  const directory = temporaryDirectory();
  const fleet = await RegistryFixture.open((now) => openIn(directory, now));
  const file = join(directory, 'registry.db');
  const outside = new Database(file);
  onTestFinished(() => {
    outside.close();
  });
  return { fleet, file, outside };
}

describe('the file of a registry', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('is opened with its newest audit entry in the log, which an attacker who rewrites the file cannot change', async () => {
    const directory = temporaryDirectory();
    const fleet = await RegistryFixture.open((now) => openIn(directory, now));
    await fleet.mint();
    const [{ id, hash } = { id: 0, hash: '' }] = await fleet.registry.listAudit({ limit: 1 });
    await fleet.registry.close();
    const lines: string[] = [];
    const logged = pino({ base: null }, { write: (line) => void lines.push(line) });
    const again = await openRegistry({ file: join(directory, 'registry.db'), now: Date.now, log: logged });
    await again.close();
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ audit: { id, hash }, msg: 'audit opened' }]);
  });

  it('is for its owner only, and so are the files beside it, even when they were not', async () => {
    const directory = temporaryDirectory();
    const fresh = await openIn(directory);
    const modes = () => readdirSync(directory).map((name) => `${name} ${modeOf(join(directory, name))}`);
    const kept = ['registry.db 600', 'registry.db-shm 600', 'registry.db-wal 600'];
    expect(modes()).toEqual(kept);
    await fresh.registry.close();
    chmodSync(join(directory, 'registry.db'), 0o644);
    await openIn(directory);
    expect(modes()).toEqual(kept);
  });

  it('is written with full synchronization and foreign keys, at the first opening and at every later one', async () => {
    const pragma = vi.spyOn(Database.prototype, 'pragma');
    const directory = temporaryDirectory();
    const fresh = await openIn(directory);
    for (const reopened of [false, true]) {
      if (reopened) {
        pragma.mockClear();
        await fresh.reopen();
      }
      const found = (name: string) => pragma.mock.results[pragma.mock.calls.findLastIndex(([sql]) => sql === name)];
      expect(found('synchronous')).toMatchObject({ value: 2 });
      expect(found('journal_mode')).toMatchObject({ value: 'wal' });
      expect(found('foreign_keys')).toMatchObject({ value: 1 });
    }
  });

  it('is not opened when full synchronization cannot be had', async () => {
    const genuine = Database.prototype.pragma;
    vi.spyOn(Database.prototype, 'pragma').mockImplementation(function (this: Database.Database, sql, options) {
      return genuine.call(this, sql === 'synchronous = FULL' ? 'synchronous = NORMAL' : sql, options);
    });
    await expect(openIn(temporaryDirectory())).rejects.toMatchObject({ code: 'data_directory_unusable' });
  });

  it('never holds the secret of a token, in no encoding, not even in its write-ahead log', async () => {
    const { fleet, file } = await fleetAndFile();
    const token = await fleet.mint();
    await fleet.enroll('pump-1', { token });
    const bytes = Buffer.concat([file, `${file}-wal`].map((path) => readFileSync(path)));
    expect(bytes.includes(token.record.id)).toBe(true);
    const secret = Buffer.from(token.secret, 'base64url');
    for (const spelling of [token.secret, secret, secret.toString('hex'), secret.toString('base64')]) {
      expect(bytes.includes(spelling)).toBe(false);
    }
  });

  it('is refused with a reason when it is not a database, is empty, or belongs to another program', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'registry.db');
    const refused = { code: 'database_damaged' };
    writeFileSync(file, Buffer.alloc(8192, 'not a database '));
    await expect(openIn(directory)).rejects.toMatchObject(refused);
    writeFileSync(file, '');
    await expect(openIn(directory)).rejects.toMatchObject(refused);
    expect(statSync(file).size).toBe(0);
    const foreign = new Database(file);
    foreign.exec('CREATE TABLE notes (text TEXT); PRAGMA user_version = 7');
    foreign.close();
    await expect(openIn(directory)).rejects.toMatchObject(refused);
  });

  it('is refused when a page of it is damaged', async () => {
    const directory = temporaryDirectory();
    const fleet = await RegistryFixture.open((now) => openIn(directory, now));
    for (let i = 0; i < 20; i += 1) await fleet.enroll(`pump-${i}`);
    await fleet.registry.close();
    const file = join(directory, 'registry.db');
    const bytes = readFileSync(file);
    bytes.fill(0x5a, 4096 * 2, 4096 * 12);
    writeFileSync(file, bytes);
    await expect(openIn(directory)).rejects.toMatchObject({ code: 'database_damaged' });
    expect(readFileSync(file).equals(bytes)).toBe(true);
  });

  it('is refused when a newer version wrote it, and left unchanged', async () => {
    const { fleet, file, outside } = await fleetAndFile();
    await fleet.enroll('pump-1');
    await fleet.registry.close();
    outside.pragma('user_version = 1000');
    outside.close();
    await expect(openRegistry({ file, now: Date.now, log })).rejects.toMatchObject({ code: 'database_newer' });
    const found = new Database(file, { readonly: true });
    expect(found.pragma('user_version', { simple: true })).toBe(1000);
    expect(found.prepare('SELECT id FROM devices').pluck().all()).toEqual(['pump-1']);
    found.close();
  });

  it.each([
    ['the directory does not exist', (directory: string) => join(directory, 'missing', 'registry.db')],
    ['the directory is a file', (directory: string) => join(directory, 'a-file', 'registry.db')],
    ['it is a directory', (directory: string) => join(directory, 'a-directory')],
  ])('cannot be used when %s', async (_, path) => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'a-file'), '');
    mkdirSync(join(directory, 'a-directory'), { mode: 0o755 });
    const opening = openRegistry({ file: path(directory), now: Date.now, log });
    await expect(opening).rejects.toMatchObject({ code: 'data_directory_unusable' });
    expect(modeOf(join(directory, 'a-directory'))).toBe('755');
  });

  it('is created again when its creation was interrupted', async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'registry.db.new'), 'half');
    await openIn(directory);
    expect(existsSync(join(directory, 'registry.db.new'))).toBe(false);
  });
});

describe('a transaction that fails half-way', () => {
  it.each(['device.enrolled', 'device.superseded', 'certificate.revoked'])(
    'leaves no trace of an enrollment when "%s" cannot be written',
    async (action) => {
      const { fleet, outside } = await fleetAndFile();
      const first = await fleet.enroll('pump-1');
      const token = await fleet.mint({ device: device('pump-1') });
      const claim = fleet.claim({ token, id: 'pump-1', key: 'second' });
      const before = await everything(fleet);
      refuseAudit(outside, action);
      await expect(fleet.registry.commitEnrollment(claim)).rejects.toMatchObject({ code: 'internal' });
      expect(await everything(fleet)).toEqual(before);
      expect(await fleet.registry.certificateStatus(first)).toMatchObject({ state: 'good' });
      outside.exec('DROP TRIGGER refuse');
      expect(await fleet.registry.commitEnrollment(claim)).toMatchObject({ outcome: 'enrolled' });
    },
  );

  it('revokes no device, and notifies no listener', async () => {
    const { fleet, outside } = await fleetAndFile();
    for (const id of ['pump-1', 'pump-2']) await fleet.enroll(id);
    const heard: unknown[] = [];
    fleet.registry.onRevocation((revocation) => void heard.push(revocation));
    const before = await everything(fleet);
    refuseAudit(outside, 'certificate.revoked', 'device/pump-2');
    const ids = ['pump-1', 'pump-2'].map(device);
    await expect(fleet.registry.revokeDevices(ids, 'unspecified', OPERATOR)).rejects.toMatchObject({
      code: 'internal',
    });
    expect(await everything(fleet)).toEqual(before);
    expect(heard).toEqual([]);
  });

  it('creates, renews, issues and sets nothing without its audit entry', async () => {
    const { fleet, outside } = await fleetAndFile();
    const parentSerial = await fleet.enroll('pump-1');
    const before = await everything(fleet);
    for (const action of [
      'token.minted',
      'certificate.renewed',
      'service.issued',
      'policy.set',
      'certificate.recorded',
    ]) {
      refuseAudit(outside, action);
    }
    const policy = { connect: [], publish: [], subscribe: [], receive: [], retain: [] };
    const failed = { code: 'internal' };
    await expect(fleet.mint()).rejects.toMatchObject(failed);
    await expect(fleet.issueService('panel')).rejects.toMatchObject(failed);
    await expect(fleet.registry.setPolicy('group/pumps', policy, OPERATOR)).rejects.toMatchObject(failed);
    await expect(fleet.registry.recordServerCertificate('broker', fleet.issue('s'))).rejects.toMatchObject(failed);
    const renewal = { parentSerial, certificate: fleet.issue('second'), address: '192.0.2.7' };
    await expect(fleet.registry.commitRenewal(renewal)).rejects.toMatchObject(failed);
    expect(await everything(fleet)).toEqual(before);
  });

  it('throws unavailable while another process locks the file, and works again afterwards', async () => {
    const { fleet, outside } = await fleetAndFile();
    const serial = await fleet.enroll('pump-1');
    outside.exec('BEGIN IMMEDIATE');
    await expect(fleet.mint()).rejects.toMatchObject({ code: 'unavailable' });
    expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state: 'good' });
    outside.exec('ROLLBACK');
    await fleet.mint();
  });
});

describe('the rows of a registry', () => {
  it.each([
    ['an audit entry is changed', 'UPDATE audit SET actor = actor'],
    ['an audit entry is removed', 'DELETE FROM audit'],
    ['a certificate is removed', 'DELETE FROM certificates'],
    ['a revocation is taken back', 'UPDATE certificates SET revoked_at = NULL, revocation_reason = NULL'],
    ['a device with certificates is removed', 'DELETE FROM devices'],
    ['a token is spent twice', 'UPDATE tokens SET uses = uses + 1'],
  ])('refuse by themselves that %s', async (_, sql) => {
    const { fleet, outside } = await fleetAndFile();
    await fleet.enroll('pump-1');
    await fleet.registry.revokeDevices([device('pump-1')], 'unspecified', OPERATOR);
    const before = await everything(fleet);
    expect(() => outside.exec(sql)).toThrow();
    expect(await everything(fleet)).toEqual(before);
  });
});

describe('kill -9', () => {
  it('loses nothing that was reported as done, and leaves a file that opens', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'registry.db');
    const states = new Map<string, string>();
    for (let kill = 1; kill <= 5; kill += 1) {
      const reported = await writeUntilKilled('registry-writer.ts', [file, `run${kill}`], 20 + 7 * kill);
      for (const line of reported) {
        const [state = '', serial = ''] = line.split(' ');
        states.set(serial, state);
      }
    }
    const fleet = await RegistryFixture.open((now) => openIn(directory, now));
    for (const [serial, state] of states) {
      const found = await fleet.registry.certificateStatus(serial);
      // The writer may have been killed between a revocation and its report.
      expect(state === 'good' ? ['good', 'revoked'] : ['revoked']).toContain(found.state);
    }
    expect(states.size).toBeGreaterThan(100);
    await expectConsistency(fleet);
  });
});

/** Whatever was written was written whole: device, spent token, certificate and audit entry match in number. */
async function expectConsistency(fleet: RegistryFixture): Promise<void> {
  const { tokens, devices, revoked, audit } = await everything(fleet);
  const count = (action: string) => audit.filter((line) => line.startsWith(action)).length;
  expect(count('token.minted')).toBe(tokens.length);
  expect(tokens.filter((token) => token.state === 'spent')).toHaveLength(devices.length);
  expect(count('device.enrolled')).toBe(devices.length);
  expect(count('device.revoked')).toBe(revoked.length);
  expect(count('certificate.revoked')).toBe(revoked.length);
}

async function everything({ registry }: RegistryFixture) {
  return {
    tokens: await registry.listTokens(),
    devices: await registry.listDevices({ limit: 10_000 }),
    services: await registry.listServices(),
    certificates: await registry.listCertificates({ kind: 'device', id: device('pump-1') }),
    revoked: await registry.listRevoked(),
    policy: await registry.findPolicy('group/pumps'),
    audit: (await registry.listAudit({ limit: 10_000 })).map((entry) => `${entry.action} ${entry.subject}`),
  };
}

/** Makes the audit entry of one action fail, as a full disk would, after everything before it was written. */
function refuseAudit(outside: Database.Database, action: string, subject = ''): void {
  const name = outside.prepare(`SELECT count(*) FROM sqlite_schema WHERE name GLOB 'refuse*'`).pluck().get();
  outside.exec(`
    CREATE TRIGGER refuse${name === 0 ? '' : name} BEFORE INSERT ON audit
    WHEN NEW.action = '${action}' AND NEW.outcome = 'done' AND '${subject}' IN ('', NEW.subject)
    BEGIN SELECT RAISE(ABORT, 'refused by the test'); END`);
}

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}
