import { createPublicKey, generateKeyPairSync, sign, verify, X509Certificate } from 'node:crypto';
import { chmodSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openRegistry } from '../../registry/open.ts';
import { installed, SOFTHSM_MODULE } from '../../test/fixtures/client-programs.ts';
import { runVerifier } from '../../test/fixtures/enroll/external-verifiers.ts';
import { freshKey } from '../../test/fixtures/enroll/test-csr.ts';
import { testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import { TEST_LIFETIMES } from '../../test/fixtures/enroll/test-lifetimes.ts';
import { type SoftToken, softToken, TOKEN_LABEL } from '../../test/fixtures/soft-token.ts';
import { type Authority, openAuthority } from './authority.ts';
import { decryptKey, encryptKey } from './encrypted-key.ts';
import type { KeySettings } from './key-store.ts';
import { derSignature } from './pkcs11-token.ts';

const log = pino({ level: 'silent' });
const PASSPHRASE = 'correct horse battery staple';

async function authorityWith(data: string, keys: KeySettings): Promise<Authority> {
  const registry = await openRegistry({ file: join(data, 'registry.db'), now: Date.now, log });
  onTestFinished(() => registry.close());
  const directory = join(data, 'ca');
  const names = { trustDomain: 'fleet.example', hosts: ['localhost'] };
  const authority = await openAuthority({
    directory,
    ...names,
    lifetimes: TEST_LIFETIMES,
    registry,
    now: Date.now,
    log,
    keys,
  });
  onTestFinished(() => authority.close());
  return authority;
}

async function issue(authority: Authority): Promise<X509Certificate> {
  const spki = freshKey().publicKey.export({ type: 'spki', format: 'der' });
  return new X509Certificate(
    Buffer.from((await authority.issuer.issue({ kind: 'device', id: 'd' as never }, spki)).der),
  );
}

function fileOf(data: string, name: string, text: string, mode = 0o600): string {
  writeFileSync(join(data, name), text, { mode });
  return join(data, name);
}

describe('an encrypted key', () => {
  it('opens with its passphrase and with no other, here and in openssl', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pem = await encryptKey(privateKey, Buffer.from(PASSPHRASE));
    expect(decryptKey(pem, Buffer.from(PASSPHRASE))?.equals(privateKey)).toBe(true);
    expect(decryptKey(pem, Buffer.from('another one'))).toBeUndefined();
    expect(await encryptKey(privateKey, Buffer.from(PASSPHRASE))).not.toBe(pem);
    if (!installed('openssl')) return;
    const data = testDirectory();
    const args = [
      'pkey',
      '-in',
      fileOf(data, 'key.pem', pem),
      '-passin',
      `file:${fileOf(data, 'pass', PASSPHRASE)}`,
      '-pubout',
    ];
    expect(runVerifier('openssl', args).text).toContain(
      createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }),
    );
    expect(runVerifier('openssl', ['asn1parse', '-in', join(data, 'key.pem')]).text).toContain('scrypt');
  });
});

describe('an authority with encrypted keys', () => {
  it('writes none of them in the clear, and opens them again', async () => {
    const data = testDirectory();
    const keys = { store: 'encrypted', passphraseFile: fileOf(data, 'pass', `${PASSPHRASE}\n`) } as const;
    const authority = await authorityWith(data, keys);
    const id = await authority.rotation.prepare('issuing', 'operator/test');
    for (const name of readdirSync(join(data, 'ca')).filter((file) => file.endsWith('.key'))) {
      const text = readFileSync(join(data, 'ca', name), 'utf8');
      expect(text).toContain('BEGIN ENCRYPTED PRIVATE KEY');
      expect(text).not.toContain('BEGIN PRIVATE KEY');
    }
    const again = await authorityWith(data, keys);
    await again.rotation.activate(id, 0, 'operator/test');
    expect(authority.issuer.hasIssued(await issue(again))).toBe(true);
  });

  it.each([
    ['without a passphrase file', () => ({ store: 'encrypted' }) as const, 'config_invalid'],
    [
      'with an empty one',
      (d: string) => ({ store: 'encrypted', passphraseFile: fileOf(d, 'p', '\n') }) as const,
      'config_invalid',
    ],
    [
      'with one that is not there',
      (d: string) => ({ store: 'encrypted', passphraseFile: join(d, 'none') }) as const,
      'config_invalid',
    ],
    [
      'with one that others can read',
      (d: string) => {
        const passphraseFile = fileOf(d, 'p', PASSPHRASE);
        chmodSync(passphraseFile, 0o644);
        return { store: 'encrypted', passphraseFile } as const;
      },
      'private_key_exposed',
    ],
  ])('does not start %s', async (_what, settings, code) => {
    const data = testDirectory();
    await expect(authorityWith(data, settings(data))).rejects.toMatchObject({ code });
  });

  it('does not start with another passphrase, nor with none, and never quotes it', async () => {
    const data = testDirectory();
    await authorityWith(data, { store: 'encrypted', passphraseFile: fileOf(data, 'pass', PASSPHRASE) });
    const wrong = { store: 'encrypted', passphraseFile: fileOf(data, 'other', 'a wrong passphrase') } as const;
    const refusal = await authorityWith(data, wrong).catch((error: Error) => error);
    expect(refusal).toMatchObject({ code: 'authority_unusable' });
    expect(String((refusal as Error).message)).not.toContain('a wrong passphrase');
    await expect(authorityWith(data, { store: 'file' })).rejects.toMatchObject({
      code: 'authority_unusable',
      hint: expect.stringContaining('passphraseFile'),
    });
  });
});

it('a signature of a PKCS#11 token is converted to DER, with any number of leading zeros', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const data = Buffer.from('tbs');
  for (let n = 0; n < 600; n += 1) {
    const raw = sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    expect(verify('sha256', data, publicKey, derSignature(raw))).toBe(true);
  }
  expect(
    derSignature(Buffer.concat([Buffer.alloc(31), Buffer.of(1), Buffer.of(0x80), Buffer.alloc(31)])).toString('hex'),
  ).toBe(`3026020101022100${'80'.padEnd(64, '0')}`);
});

describe.skipIf(!installed('softhsm2-util') || !installed('pkcs11-addon'))(
  'an authority whose keys lie in a token (SoftHSM; skipped where it is not installed)',
  () => {
    /** A token of its own for this test; SoftHSM reads the variable when it is opened. */
    function token(): { readonly data: string; readonly soft: SoftToken; readonly keys: KeySettings } {
      const data = testDirectory();
      const soft = softToken(data);
      Object.assign(process.env, soft.environment);
      const pkcs11 = { module: SOFTHSM_MODULE, token: TOKEN_LABEL, pinFile: soft.pinFile };
      return { data, soft, keys: { store: 'pkcs11', pkcs11 } };
    }

    it('signs with keys that cannot be extracted, and finds them again', async () => {
      const { data, keys } = token();
      const authority = await authorityWith(data, keys);
      const certificate = await issue(authority);
      expect(authority.issuer.hasIssued(certificate)).toBe(true);
      expect(readdirSync(join(data, 'ca')).filter((name) => name.endsWith('.key'))).toEqual([]);
      expect(readFileSync(join(data, 'ca', 'issuing.uri'), 'utf8')).toMatch(
        /^pkcs11:token=fleet;id=(%[0-9a-f]{2}){16};type=private\n$/,
      );
      await expect(authority.rotation.exportRoot(Buffer.from(PASSPHRASE), 'operator/test')).rejects.toMatchObject({
        code: 'ca_state_conflict',
      });
      const id = await authority.rotation.prepare('issuing', 'operator/test');
      await authority.close();
      const again = await authorityWith(data, keys);
      await again.rotation.activate(id, 0, 'operator/test');
      expect(again.issuer.hasIssued(await issue(again))).toBe(true);
      expect(again.issuer.hasIssued(certificate)).toBe(true);
      await again.close();
    });

    it('that is unplugged refuses with signer_unavailable, and signs again when it is back', async () => {
      const { data, soft, keys } = token();
      const authority = await authorityWith(data, keys);
      await issue(authority);
      soft.unplug();
      await expect(issue(authority)).rejects.toMatchObject({ code: 'signer_unavailable', status: 503 });
      await expect(issue(authority)).rejects.toMatchObject({ code: 'signer_unavailable' });
      soft.plugIn();
      expect(authority.issuer.hasIssued(await issue(authority))).toBe(true);
      await authority.close();
    });

    it('tries a PIN that it refused no second time: it would lock itself', async () => {
      const { data, soft, keys } = token();
      const authority = await authorityWith(data, keys);
      soft.writePin('4321');
      soft.unplug();
      await expect(issue(authority)).rejects.toMatchObject({ code: 'signer_unavailable' });
      soft.plugIn();
      const refused = (reason: string) => ({ code: 'signer_unavailable', reason: expect.stringContaining(reason) });
      await expect(issue(authority)).rejects.toMatchObject(refused('PIN_INCORRECT'));
      await expect(issue(authority)).rejects.toMatchObject(refused('not tried again'));
      soft.writePin('1234');
      expect(authority.issuer.hasIssued(await issue(authority))).toBe(true);
      await authority.close();
    });

    it('does not start when others can read its PIN, or there is none', async () => {
      const { data, keys } = token();
      chmodSync(join(data, 'pin'), 0o644);
      await expect(authorityWith(data, keys)).rejects.toMatchObject({ code: 'private_key_exposed' });
      renameSync(join(data, 'pin'), join(data, 'elsewhere'));
      await expect(authorityWith(data, keys)).rejects.toMatchObject({ code: 'config_invalid' });
    });

    it.each([
      ['another label', { token: 'other' }, 'signer_unavailable'],
      ['no library', { module: '/nowhere/lib.so' }, 'config_invalid'],
    ])('does not start with %s', async (_what, changes, code) => {
      const { data, keys } = token();
      const pkcs11 = { ...(keys.pkcs11 as NonNullable<KeySettings['pkcs11']>), ...changes };
      await expect(authorityWith(data, { store: 'pkcs11', pkcs11 })).rejects.toMatchObject({ code });
    });
  },
);
