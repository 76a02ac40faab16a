import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceId } from '@rollcall/protocol';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { type OnHoldEntry, REVOCATION_REASONS, type RevokedEntry } from '../../registry/index.ts';
import { installed } from '../../test/fixtures/client-programs.ts';
import { runVerifier } from '../../test/fixtures/enroll/external-verifiers.ts';
import { inMemoryIssuers } from '../../test/fixtures/enroll/in-memory-issuers.ts';
import { freshKey } from '../../test/fixtures/enroll/test-csr.ts';
import { openTestAuthority, testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import type { Authority } from '../ca/authority.ts';
import { keySigner } from '../ca/signer.ts';
import { encodeDer } from '../x509/der-writer.ts';
import { commonName } from '../x509/x509-writer.ts';
import { writeCrl, writeCrlEntries } from './crl-writer.ts';

const HOUR = 3_600_000;

interface ListedAuthority {
  readonly authority: Authority;
  readonly revoked: RevokedEntry[];
  readonly held: OnHoldEntry[];
  readonly clock: { now: number };
  /** How many lists were made. */
  made(): number;
  breakRegistry(): void;
}

async function listedAuthority(): Promise<ListedAuthority> {
  const revoked: RevokedEntry[] = [];
  const held: OnHoldEntry[] = [];
  const clock = { now: Date.now() };
  let number = 0;
  let broken = false;
  const { authority } = await openTestAuthority({
    now: () => clock.now,
    log: pino({ level: 'silent' }),
    registry: {
      ...inMemoryIssuers(),
      recordAction: async () => 1,
      recordServerCertificate: async () => {},
      listRevokedBy: async ({ after }) => (after === undefined ? [...revoked] : []),
      listHeldBy: async ({ after }) => (after === undefined ? [...held] : []),
      nextCrlNumber: async () => {
        if (broken) throw new Error('disk full');
        number += 1;
        return number;
      },
    },
  });
  return {
    authority,
    revoked,
    held,
    clock,
    made: () => number,
    breakRegistry: () => {
      broken = true;
    },
  };
}

describe('the revocation list', () => {
  it('is issued once and reused', async () => {
    const { authority, made } = await listedAuthority();
    const [first, second] = await Promise.all([authority.status.crl(), authority.status.crl()]);
    expect(second).toBe(first);
    expect(await authority.status.crl()).toBe(first);
    expect(made()).toBe(1);
  });

  it('is issued again at half its validity, not before', async () => {
    const { authority, clock, made } = await listedAuthority();
    await authority.status.crl();
    clock.now += 12 * HOUR - 1;
    await authority.status.crl();
    expect(made()).toBe(1);
    clock.now += 1;
    await authority.status.crl();
    expect(made()).toBe(2);
  });

  it('contains every revocation before a refresh, with few CRLs for many simultaneous calls', async () => {
    const { authority, revoked, made } = await listedAuthority();
    const serials = Array.from({ length: 20 }, (_, n) => `40${n.toString(16).padStart(2, '0')}`);
    const refreshed = serials.map((serial) => {
      revoked.push({ serial, revokedAt: Date.now(), reason: 'keyCompromise' });
      return authority.status.refresh();
    });
    await Promise.all(refreshed);
    const der = (await authority.status.crl()).toString('hex');
    for (const serial of serials) expect(der).toContain(`0202${serial}`);
    expect(made()).toBe(2);
  });

  it('is complete before the authority is closed, because the registry is closed next', async () => {
    const { authority, made } = await listedAuthority();
    const refreshed = [authority.status.refresh(), authority.status.refresh()];
    await authority.close();
    expect(made()).toBe(2);
    await Promise.all(refreshed);
  });

  it('remains the last one while a new one cannot be issued, until it has expired', async () => {
    const { authority, clock, breakRegistry } = await listedAuthority();
    const last = await authority.status.crl();
    breakRegistry();
    await expect(authority.status.refresh()).rejects.toThrow('disk full');
    clock.now += 23 * HOUR;
    expect(await authority.status.crl()).toBe(last);
    clock.now += HOUR;
    await expect(authority.status.crl()).rejects.toThrow('disk full');
  });

  it('of a hundred thousand entries takes a fraction of a second to write', async () => {
    const entries = Array.from({ length: 100_000 }, (_, n) => ({
      serial: `40${n.toString(16).padStart(32, '0')}`,
      revokedAt: 1_795_000_000_000 + n * 1000,
      reason: REVOCATION_REASONS[n % REVOCATION_REASONS.length] as RevokedEntry['reason'],
    }));
    const { privateKey } = freshKey();
    const der = await writeCrl(
      {
        issuer: encodeDer(commonName('test')),
        keyIdentifier: Buffer.alloc(20),
        number: 1,
        thisUpdate: Date.now(),
        nextUpdate: Date.now() + 24 * HOUR,
        lists: 'users',
      },
      writeCrlEntries(entries),
      keySigner(privateKey),
    );
    expect(der.length).toBeGreaterThan(4_000_000);
    if (!installed('openssl')) return;
    const { text } = runVerifier('openssl', ['crl', '-inform', 'DER', '-noout', '-crlnumber', '-lastupdate'], der);
    expect(text).toMatch(/crlNumber=(0x)?0?1\s/);
  });
});

describe.skipIf(!installed('openssl'))('openssl (skipped where it is not installed)', () => {
  it('verifies the list and shows numbers, dates, reasons and scope', async () => {
    const { authority, revoked, clock } = await listedAuthority();
    const revokedAt = Math.floor(clock.now / 1000) * 1000;
    for (const [n, reason] of REVOCATION_REASONS.entries()) revoked.push({ serial: `8${n}ff`, revokedAt, reason });
    await authority.status.crl();
    await authority.status.refresh();
    const bundle = join(testDirectory(), 'bundle.pem');
    writeFileSync(bundle, authority.trust.pem);
    const { text } = runVerifier(
      'openssl',
      ['crl', '-inform', 'DER', '-noout', '-text', '-verify', '-CAfile', bundle],
      await authority.status.crl(),
    );
    expect(text).toContain('verify OK');
    expect(text).toMatch(/Version 2/);
    expect(text).toMatch(/CRL Number:\s+2\s/);
    expect(text).toMatch(/Issuing Distribution Point: critical\s+Only User Certificates/);
    expect(text).toMatch(/Authority Key Identifier/);
    for (const [n, reason] of [
      ['80FF', undefined],
      ['81FF', 'Key Compromise'],
      ['82FF', 'Affiliation Changed'],
      ['83FF', 'Superseded'],
      ['84FF', 'Cessation Of Operation'],
      ['85FF', 'Privilege Withdrawn'],
    ] as const) {
      const entry = text.split(`Serial Number: ${n}`)[1]?.split('Serial Number')[0];
      expect(entry).toBeDefined();
      expect(entry?.match(/CRL Reason Code:\s+(.+)/)?.[1]?.trim()).toBe(reason);
    }
    const nextUpdate = new Date(text.match(/Next Update: (.+)/)?.[1] ?? '').getTime();
    expect(nextUpdate).toBe(revokedAt + 24 * HOUR);
  });

  it('shows what is on hold in list and delta, and takes it off by name when it is released', async () => {
    const { authority, revoked, held, clock } = await listedAuthority();
    const heldAt = clock.now;
    const suspend = (serial: string, at = heldAt) => held.push({ serial, device: 'd' as DeviceId, heldAt: at });
    const show = (der: Buffer) => runVerifier('openssl', ['crl', '-inform', 'DER', '-noout', '-text'], der).text;
    const reasons = (der: Buffer) => {
      const entries = show(der).split('Serial Number: ').slice(1);
      return Object.fromEntries(
        entries.map((entry) => [entry.slice(0, 4), /Reason Code:\s+(.+)/.exec(entry)?.[1]?.trim()]),
      );
    };
    const lists = async () => {
      const delta = await authority.status.document(`/crl/${authority.cas.active.id}-delta.crl`);
      return { full: reasons(await authority.status.crl()), delta: reasons(delta?.body as Buffer) };
    };

    // On the list that deltas stand on.
    suspend('40AA', heldAt - HOUR);
    await authority.status.crl();
    expect(await lists()).toEqual({ full: { '40AA': 'Certificate Hold' }, delta: {} });

    // Since then; and one of them comes and goes between two full lists.
    suspend('40BB');
    await authority.status.refresh();
    const onHold = { '40AA': 'Certificate Hold', '40BB': 'Certificate Hold' };
    expect(await lists()).toEqual({ full: onHold, delta: { '40BB': 'Certificate Hold' } });
    held.length = 0;
    await authority.status.refresh();
    const removed = { '40AA': 'Remove From CRL', '40BB': 'Remove From CRL' };
    expect(await lists()).toEqual({ full: {}, delta: removed });

    // What is final takes the place of what wasn't, and may be read twice while it happens.
    suspend('40BB');
    revoked.push({ serial: '40BB', revokedAt: clock.now, reason: 'keyCompromise' });
    await authority.status.refresh();
    const compromised = { '40BB': 'Key Compromise' };
    expect(await lists()).toEqual({ full: compromised, delta: { ...compromised, '40AA': 'Remove From CRL' } });

    // Another full list begins: what was over before it is nothing to its deltas.
    held.length = 0;
    clock.now += HOUR;
    await authority.status.refresh();
    expect(await lists()).toEqual({ full: compromised, delta: {} });
  });

  it('refuses a revoked device by it and accepts another, whatever distribution point they name', async () => {
    const { authority, revoked } = await listedAuthority();
    const { publicKey } = freshKey();
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    const bad = await authority.issuer.issue({ kind: 'device', id: 'bad' as never }, spki);
    const good = await authority.issuer.issue({ kind: 'device', id: 'good' as never }, spki);
    revoked.push({ serial: bad.serial, revokedAt: Date.now(), reason: 'keyCompromise' });
    const directory = testDirectory();
    const crl = join(directory, 'crl.der');
    const bundle = join(directory, 'bundle.pem');
    writeFileSync(crl, await authority.status.crl());
    writeFileSync(bundle, authority.trust.pem);
    const { X509Certificate } = await import('node:crypto');
    const verify = (der: Uint8Array) => {
      const args = ['verify', '-crl_check', '-CAfile', bundle, '-CRLfile', crl];
      return runVerifier('openssl', args, new X509Certificate(Buffer.from(der)).toString()).text;
    };
    expect(verify(good.der)).toContain('OK');
    expect(verify(bad.der)).toContain('certificate revoked');
  });
});

describe.skipIf(!installed('certtool'))('GnuTLS certtool (skipped where it is not installed)', () => {
  it('reads and verifies the list', async () => {
    const { authority, revoked } = await listedAuthority();
    revoked.push({ serial: '40ab', revokedAt: Date.now(), reason: 'superseded' });
    const issuing = join(testDirectory(), 'issuing.pem');
    writeFileSync(issuing, authority.trust.chainPem);
    const crl = await authority.status.crl();
    expect(runVerifier('certtool', ['--crl-info', '--inder'], crl).text).toMatch(/Serial Number \(hex\): 40ab/);
    const pem = `-----BEGIN X509 CRL-----\n${crl.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END X509 CRL-----\n`;
    expect(runVerifier('certtool', ['--verify-crl', '--load-ca-certificate', issuing], pem).text).toContain(
      'Verification output: Verified',
    );
  });
});
