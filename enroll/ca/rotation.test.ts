import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Identity } from '@rollcall/protocol';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Registry } from '../../registry/index.ts';
import { installed } from '../../test/fixtures/client-programs.ts';
import { createExternalRoot, type ExternalRoot } from '../../test/fixtures/enroll/external-root.ts';
import { openStoredAuthority, type StoredAuthority } from '../../test/fixtures/enroll/stored-authority.ts';
import { freshKey } from '../../test/fixtures/enroll/test-csr.ts';
import { testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import type { Authority } from './authority.ts';
import type { AuthorityOptions } from './authority-options.ts';
import { signIssuingCaCsr } from './offline-root.ts';

const ACTOR = 'operator/test';
const DEVICE = { kind: 'device', id: 'dev-7' } as Identity;

interface Rotating extends StoredAuthority {
  readonly data: string;
  reopen(): Promise<Rotating>;
}

async function rotating(data = testDirectory(), changes: Partial<AuthorityOptions> = {}): Promise<Rotating> {
  const kept = await openStoredAuthority(data, changes);
  onTestFinished(kept.close);
  return {
    ...kept,
    data,
    reopen: async () => {
      await kept.close();
      return rotating(data, changes);
    },
  };
}

async function issued(authority: Authority): Promise<X509Certificate> {
  const spki = freshKey().publicKey.export({ type: 'spki', format: 'der' });
  return new X509Certificate(Buffer.from((await authority.issuer.issue(DEVICE, spki)).der));
}

const statesOf = async ({ registry }: { readonly registry: Registry }, role: 'root' | 'issuing' = 'issuing') =>
  (await registry.listIssuers()).filter((ca) => ca.role === role).map(({ state }) => state);

describe('a rotation', () => {
  it('changes who signs, keeps what was signed, and is the same after a restart', async () => {
    let fleet = await rotating();
    const before = await issued(fleet.authority);
    const told: number[] = [];
    fleet.authority.trust.onChange(() => void told.push(fleet.authority.trust.certificates.length));
    fleet.clock.now += 1; // they are listed in the order of their making
    const id = await fleet.authority.rotation.prepare('issuing', ACTOR);
    expect(await fleet.authority.rotation.prepare('issuing', ACTOR)).toBe(id);
    expect(told).toEqual([3]);
    const chain = fleet.authority.trust.chainPem;
    await fleet.authority.rotation.activate(id, 0, ACTOR);
    expect(fleet.authority.trust.chainPem).not.toBe(chain);
    const after = await issued(fleet.authority);
    expect(after.issuer).not.toBe(before.issuer);
    for (const certificate of [before, after]) expect(fleet.authority.issuer.hasIssued(certificate)).toBe(true);
    expect(new X509Certificate(fleet.authority.serverCertificates.current('broker').cert).issuer).toBe(after.issuer);

    fleet = await fleet.reopen();
    expect(await statesOf(fleet)).toEqual(['outgoing', 'active']);
    for (const certificate of [before, after]) expect(fleet.authority.issuer.hasIssued(certificate)).toBe(true);
    const [old] = await fleet.registry.listIssuers().then((all) => all.filter(({ state }) => state === 'outgoing'));
    await fleet.authority.rotation.taint(old?.id as string, ACTOR);
    await fleet.authority.rotation.retire(old?.id as string, 0, ACTOR);
    expect(fleet.authority.issuer.hasIssued(before)).toBe(false);
    expect(fleet.authority.trust.pem).not.toContain(chain.trim());
    fleet = await fleet.reopen();
    expect(fleet.authority.issuer.hasIssued(before)).toBe(false);
    expect(fleet.authority.issuer.hasIssued(after)).toBe(true);
  });

  it('says with a code of its own that it needs the root key, and goes on when a request is signed elsewhere', async () => {
    let fleet = await rotating();
    const passphrase = Buffer.from('correct horse battery staple');
    const { id, pem } = await fleet.authority.rotation.exportRoot(passphrase, ACTOR);
    expect(pem).toContain('ENCRYPTED PRIVATE KEY');
    await fleet.authority.rotation.forgetRoot(id, ACTOR);
    expect(readdirSync(join(fleet.data, 'ca'))).not.toContain('root.key');
    fleet = await fleet.reopen();
    const { rotation } = fleet.authority;
    await expect(rotation.prepare('issuing', ACTOR)).rejects.toMatchObject({ code: 'root_key_absent' });
    await expect(rotation.exportRoot(passphrase, ACTOR)).rejects.toMatchObject({ code: 'root_key_absent' });

    const order = {
      exported: pem + fleet.authority.trust.rootPem,
      passphrase,
      csrPem: await rotation.request(),
      lifeSeconds: 86_400 * 365,
      now: fleet.clock.now,
    };
    await expect(signIssuingCaCsr({ ...order, passphrase: Buffer.from('another one') })).rejects.toMatchObject({
      detail: 'expected a root key that this passphrase opens',
    });
    const imported = await rotation.importChain(await signIssuingCaCsr(order), ACTOR);
    await rotation.activate(imported, 0, ACTOR);
    expect(await statesOf(fleet)).toEqual(['outgoing', 'active']);
    expect(await statesOf(fleet, 'root')).toEqual(['active']);
  });

  it('leaves the files of another fleet refused by the name of their root, and those without the first root usable', async () => {
    const fleet = await rotating();
    const { rotation, cas } = fleet.authority;
    const [first] = cas.roots;
    await rotation.activate(await rotation.prepare('issuing', ACTOR), 0, ACTOR);
    const stranger = await rotating();
    await stranger.close();
    await fleet.close();
    const ca = join(fleet.data, 'ca');
    const rootOf = (data: string) => readFileSync(join(data, 'ca', 'root.pem'));
    const own = rootOf(fleet.data);
    const expected = new RegExp(`expected the root ${first?.id}, which the registry knows, in .*, found [0-9a-f]{40}$`);
    writeFileSync(join(ca, 'root.pem'), rootOf(stranger.data));
    await expect(rotating(fleet.data)).rejects.toMatchObject({
      code: 'authority_unusable',
      reason: expect.stringMatching(expected),
      hint: expect.stringContaining('the ca/ directory of this fleet'),
    });
    // The active issuing CA's key alone does not make it the directory of this fleet.
    rmSync(join(ca, 'root.pem'));
    await expect(rotating(fleet.data)).rejects.toMatchObject({ reason: expect.stringMatching(/found none$/) });
    // One that an interrupted preparation has left is known to nobody.
    writeFileSync(join(ca, 'root-0a1b2c3d.pem'), rootOf(stranger.data));
    writeFileSync(join(ca, 'root-1a1b2c3d.pem'), own);
    await rotating(fleet.data);
  });

  it('that is killed before any of its writes is finished by repeating the command', async () => {
    let finished = false;
    for (let step = 1; !finished; step += 1) {
      expect(step).toBeLessThan(80);
      const data = testDirectory();
      await (await rotating(data))
        .reopen()
        .then(({ authority, registry }) => authority.close().then(() => registry.close()));
      const child = spawnSync(process.execPath, [killed, data, String(step)], { encoding: 'utf8' });
      finished = child.status === 0;
      if (!finished) expect(child.signal, child.stderr).toBe('SIGKILL');

      const fleet = await rotating(data);
      const before = await issued(fleet.authority); // whatever happened, it issues
      expect(fleet.authority.issuer.hasIssued(before)).toBe(true);
      const states = await statesOf(fleet);
      if (!states.includes('retired')) {
        const { rotation } = fleet.authority;
        if (states.filter((state) => state !== 'prepared').length === 1) {
          await rotation.activate(await rotation.prepare('issuing', ACTOR), 0, ACTOR);
        }
        const [old] = (await fleet.registry.listIssuers()).filter(
          ({ role, state }) => role === 'issuing' && state !== 'active',
        );
        if (old?.state === 'outgoing') await rotation.taint(old.id, ACTOR);
        await rotation.retire(old?.id as string, 10, ACTOR);
      }
      expect(await statesOf(fleet)).toEqual(['retired', 'active']);
      expect(fleet.authority.issuer.hasIssued(await issued(fleet.authority))).toBe(true);
    }
  });
});

const killed = fileURLToPath(new URL('../../test/fixtures/enroll/killed-rotation.ts', import.meta.url));

describe.skipIf(!installed('openssl'))('an outside root (skipped where openssl is not installed)', () => {
  async function asked(): Promise<{ readonly fleet: Rotating; readonly root: ExternalRoot; readonly csr: string }> {
    const fleet = await rotating();
    fleet.clock.now += 60_000; // openssl's own clock says when its certificates begin
    return { fleet, root: createExternalRoot(testDirectory()), csr: await fleet.authority.rotation.request() };
  }

  it('signs our issuing CA, and our own root vouches for it while its key is here', async () => {
    const { fleet, root, csr } = await asked();
    expect(await fleet.authority.rotation.request()).toBe(csr);
    const id = await fleet.authority.rotation.importChain(root.sign(csr) + root.certificate, ACTOR);
    expect(await statesOf(fleet)).toEqual(['active', 'prepared']);
    const ownRoot = fleet.authority.trust.rootPem;
    await fleet.authority.rotation.activate(id, 0, ACTOR);
    expect(fleet.authority.trust.rootPem.trim()).toBe(root.certificate.trim());
    const leaf = await issued(fleet.authority);
    for (const trusted of [root.certificate, ownRoot]) {
      expect(root.verify(leaf.toString(), fleet.authority.trust.chainPem, trusted)).toContain('OK');
    }
    const again = await fleet.reopen();
    expect(again.authority.issuer.hasIssued(leaf)).toBe(true);
    expect(await statesOf(again, 'root')).toEqual(['outgoing', 'active']);
  });

  it('without a cross-certificate is not activated while devices know only the old one', async () => {
    const { fleet, root, csr } = await asked();
    const { rotation } = fleet.authority;
    const { record, secret } = await fleet.registry.createToken(
      { maxUses: 1, ttlSeconds: 60, group: 'default' as never, labels: {} },
      ACTOR,
    );
    const certificate = await fleet.authority.issuer.issue(
      DEVICE,
      freshKey().publicKey.export({ type: 'spki', format: 'der' }),
    );
    const claim = {
      tokenId: record.id,
      secret,
      deviceId: 'dev-7' as never,
      publicKeySha256: certificate.publicKeySha256,
    };
    await fleet.registry.commitEnrollment({ ...claim, certificate, address: '192.0.2.1' });
    fleet.clock.now += 1000;
    const { id: own } = await rotation.exportRoot(Buffer.from('long enough'), ACTOR);
    await rotation.forgetRoot(own, ACTOR);
    const id = await rotation.importChain(root.sign(csr) + root.certificate, ACTOR);
    await expect(rotation.activate(id, 0, ACTOR)).rejects.toMatchObject({
      code: 'ca_would_strand',
      detail: expect.stringContaining('1 devices'),
    });
    expect(await statesOf(fleet)).toEqual(['active', 'prepared']);
    await rotation.activate(id, 1, ACTOR);
  });

  const pathLength0 = { pathlen: 0 };
  it.each<[string, (root: ExternalRoot, csr: string, directory: string) => string, RegExp]>([
    ['has ended', (root, csr) => root.sign(csr, { days: -1 }) + root.certificate, /valid now, found that it ended/],
    ['is no CA', (root, csr) => root.sign(csr, { ca: false }) + root.certificate, /to be a CA .* found none/],
    [
      'has another key',
      (root) => root.sign(root.strangerCsr()) + root.certificate,
      /key of "rollcall ca csr", found other keys/,
    ],
    [
      'may not sign certificates',
      (root, csr) => root.sign(csr, { usage: 'cRLSign' }) + root.certificate,
      /key usage keyCertSign/,
    ],
    [
      'may not sign lists',
      (root, csr) => root.sign(csr, { usage: 'keyCertSign' }) + root.certificate,
      /key usage cRLSign/,
    ],
    [
      'has no path length',
      (root, csr) => root.sign(csr, { pathlen: 'none' }) + root.certificate,
      /path length 0, found no limit/,
    ],
    [
      'may have a CA below it',
      (root, csr) => root.sign(csr, { pathlen: 1 }) + root.certificate,
      /path length 0, found 1/,
    ],
    ['comes without its root', (root, csr) => root.sign(csr), /two to eight certificates/],
    [
      'comes with another root',
      (root, csr, to) => root.sign(csr) + createExternalRoot(to).certificate,
      /found none of the name/,
    ],
    [
      'is under a root of path length 0',
      (_root, csr, to) => {
        const narrow = createExternalRoot(to, pathLength0);
        return narrow.sign(csr) + narrow.certificate;
      },
      /to allow 1 CA below it, found path length 0/,
    ],
    [
      'is no certificate',
      () => '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'.repeat(2),
      /PEM, found something/,
    ],
    ['brings a private key along', (root) => root.key, /found a private key/],
  ])('is refused, and nothing changes, when the certificate %s', async (_what, make, expected) => {
    const { fleet, root, csr } = await asked();
    const before = readdirSync(join(fleet.data, 'ca'));
    const text = make(root, csr, testDirectory());
    await expect(fleet.authority.rotation.importChain(text, ACTOR)).rejects.toMatchObject({
      code: 'ca_import_rejected',
      detail: expect.stringMatching(expected),
    });
    expect(await statesOf(fleet)).toEqual(['active']);
    expect(readdirSync(join(fleet.data, 'ca'))).toEqual(before);
    // The request still waits for its answer.
    await fleet.authority.rotation.importChain(root.sign(csr) + root.certificate, ACTOR);
  });

  it('is imported only in answer to a request', async () => {
    const fleet = await rotating();
    const root = createExternalRoot(testDirectory());
    await expect(fleet.authority.rotation.importChain(root.certificate, ACTOR)).rejects.toMatchObject({
      detail: expect.stringContaining('found none; see'),
    });
    expect(readFileSync(join(fleet.data, 'ca', 'root.pem'), 'utf8')).toContain('BEGIN CERTIFICATE');
  });
});
