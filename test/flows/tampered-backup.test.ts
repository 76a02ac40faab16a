/** Backups of the real program that were changed without passphrase or key are refused by restore. */

import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

let folder: string;
let passphraseFile: string;

/** A fleet with a revoked device, its encrypted and its signed backup, and a copy of its `ca/`. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rollcall-test-'));
  passphraseFile = join(folder, 'passphrase');
  writeFileSync(passphraseFile, 'a passphrase of this test\n', { mode: 0o600 });
  const data = join(folder, 'data');
  const server = await serve(data);
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  const { text } = await operator.createToken({ uses: 1 });
  await enrollOnce(memoryIdentityStore(), { token: text, deviceId: 'pump-1' });
  await operator.close();
  const revoked = await rollcall(['device', 'revoke', 'pump-1', '--data', data, '--reason', 'unspecified']);
  expect(revoked.code, revoked.stderr).toBe(0);
  for (const [name, more] of [
    ['encrypted', ['--passphrase-file', passphraseFile]],
    ['signed', []],
  ] as const) {
    const taken = await rollcall(['backup', join(folder, name), '--data', data, '--json', ...more]);
    expect(taken.code, taken.stderr).toBe(0);
  }
  await server.end('SIGTERM');
  cpSync(join(data, 'ca'), join(folder, 'ca'), { recursive: true });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

interface Listed {
  format: number;
  files: { name: string; size: number; sha256: string }[];
}

/** The archive `from` with other files and a new manifest over them, packed by tar. */
function tampered(from: string, change: (directory: string) => void, manifest: (read: Listed) => void = () => {}) {
  const directory = join(temporaryDirectory(), 'content');
  mkdirSync(directory);
  execFileSync('tar', ['-xf', join(folder, from), '-C', directory]);
  change(directory);
  const path = join(directory, 'manifest.json');
  const read = JSON.parse(readFileSync(path, 'utf8')) as Listed;
  read.files = read.files.map(({ name }) => {
    const bytes = readFileSync(join(directory, name));
    return { name, size: bytes.length, sha256: sha256(bytes) };
  });
  manifest(read);
  writeFileSync(path, `${JSON.stringify(read, undefined, 2)}\n`);
  const names = (readdirSync(directory, { recursive: true }) as string[]).filter((name) =>
    statSync(join(directory, name)).isFile(),
  );
  execFileSync('tar', ['--format=ustar', '-cf', `${directory}.tar`, '-C', directory, ...names]);
  return `${directory}.tar`;
}

function inRegistry(sql: string) {
  return (directory: string) => {
    const database = new Database(join(directory, 'registry.db'));
    database.exec(sql);
    database.pragma('wal_checkpoint(TRUNCATE)');
    database.close();
    for (const beside of ['-wal', '-shm']) rmSync(join(directory, `registry.db${beside}`), { force: true });
  };
}

const UNREVOKE = `UPDATE devices SET revoked_at = NULL, revocation_reason = NULL`;
const TOKEN =
  `CREATE TEMP TABLE copy AS SELECT * FROM tokens; UPDATE copy SET id = 'another', secret_hash = randomblob(32), uses = 0;` +
  'INSERT INTO tokens SELECT * FROM copy';
const CUT_AUDIT =
  `DROP TRIGGER audit_is_not_shortened; DELETE FROM audit WHERE id = (SELECT max(id) FROM audit);` +
  `UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM audit) WHERE name = 'audit'`;

const WITH = {
  encrypted: () => ['--passphrase-file', passphraseFile],
  signed: () => ['--ca', join(folder, 'ca')],
};

async function restored(file: string, more: readonly string[]) {
  const data = join(temporaryDirectory(), 'restored');
  return { data, ...(await rollcall(['restore', file, '--data', data, '--json', ...more])) };
}

describe.each(['encrypted', 'signed'] as const)('a backup that is %s', (form) => {
  it('is restored as it was written, and restore reports how it was authenticated', async () => {
    const { code, stdout, stderr } = await restored(join(folder, form), WITH[form]());
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ provenBy: form === 'signed' ? 'signature' : 'passphrase' });
  });

  it.each([
    ['a revoked device was made active', UNREVOKE],
    ['a token was added', TOKEN],
    ['the end of the audit was cut', CUT_AUDIT],
  ])('in which %s and the manifest computed anew is refused', async (_, sql) => {
    const { data, code, stderr } = await restored(tampered(form, inRegistry(sql)), WITH[form]());
    expect(stderr).toContain('backup_unauthenticated');
    expect(code).not.toBe(0);
    expect(existsSync(data)).toBe(false);
  });

  it('with another audit head in the manifest is refused', async () => {
    const file = tampered(
      form,
      () => {},
      (manifest) => Object.assign(manifest, { auditHead: { id: 1, hash: '0'.repeat(64) } }),
    );
    expect((await restored(file, WITH[form]())).stderr).toContain('backup_unauthenticated');
  });

  it('that was converted to format 1 is refused, and restored with a warning when the operator accepts that', async () => {
    const file = tampered(
      form,
      (directory) => {
        inRegistry(UNREVOKE)(directory);
        for (const name of ['manifest.signature', 'secrets.encrypted']) rmSync(join(directory, name), { force: true });
      },
      (manifest) => Object.assign(manifest, { format: 1 }),
    );
    const keys = ['--ca', join(folder, 'ca')];
    expect((await restored(file, keys)).stderr).toContain('backup_unauthenticated');
    const accepted = await restored(file, [...keys, '--accept-unauthenticated']);
    expect(accepted.code, accepted.stderr).toBe(0);
    expect(accepted.stderr).toContain('WARNING');
    expect(JSON.parse(accepted.stdout)).toMatchObject({ provenBy: 'nothing' });
  });
});

it('a signed backup is not trusted because of a certificate inside it', async () => {
  const other = join(temporaryDirectory(), 'other');
  await (await serve(other)).end('SIGTERM');
  const file = join(temporaryDirectory(), 'other-backup');
  const taken = await rollcall(['backup', file, '--data', other]);
  expect(taken.code, taken.stderr).toBe(0);
  const signature = tampered('signed', (directory) => {
    execFileSync('tar', ['-xf', file, '-C', directory, 'manifest.signature']);
  });
  expect((await restored(signature, WITH.signed())).stderr).toContain('backup_unauthenticated');
});

it('a backup signed by an operator is restored for the public key that is named, and for no other', async () => {
  const directory = temporaryDirectory();
  const keyFile = (name: string) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(join(directory, name), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    writeFileSync(join(directory, `${name}.pub`), publicKey.export({ type: 'spki', format: 'pem' }));
    return join(directory, name);
  };
  const [key, other] = [keyFile('one'), keyFile('other')];
  const file = join(directory, 'backup');
  const taken = await rollcall(['backup', file, '--data', join(folder, 'data'), '--signing-key', key]);
  expect(taken.code, taken.stderr).toBe(0);
  const by = (name: string) => restored(file, [...WITH.signed(), '--signed-by', `${name}.pub`]);
  expect((await by(other)).stderr).toContain('backup_unauthenticated');
  expect((await by(key)).code).toBe(0);
});

it('an encrypted backup whose passphrase is lost is restored only with acceptance and a copy of the keys', async () => {
  const file = join(folder, 'encrypted');
  expect((await restored(file, WITH.signed())).stderr).toContain('backup_unauthenticated');
  const accepted = await restored(file, [...WITH.signed(), '--accept-unauthenticated']);
  expect(accepted.code, accepted.stderr).toBe(0);
  expect(accepted.stderr).toContain('WARNING');
});

it('an archive with a negative size is refused, and the command ends', async () => {
  const header = Buffer.alloc(512);
  header.write('manifest.json', 0);
  header.write('-0000001000', 124);
  header.write('        0', 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0`, 148);
  const file = join(temporaryDirectory(), 'archive');
  writeFileSync(file, Buffer.concat([header, Buffer.alloc(1024)]));
  const { code, stderr } = await restored(file, []);
  expect(stderr).toContain('backup_unusable');
  expect(code).toBe(3);
});
