import { X509Certificate } from 'node:crypto';
import type { DeviceId, GroupName } from '@rollcall/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import type { CertificateStatus } from '../../registry/index.ts';
import { freshKey } from '../../test/fixtures/enroll/test-csr.ts';
import { openTestAuthority } from '../../test/fixtures/enroll/test-enrollment.ts';
import type { Authority } from '../ca/authority.ts';
import { checkClientCertificate } from './client-certificate.ts';

const HOLDER = { kind: 'device', id: 'dev-7' as DeviceId } as const;

async function certificateBy(authority: Authority): Promise<X509Certificate> {
  const { der } = await authority.issuer.issue(HOLDER, freshKey().publicKey.export({ type: 'spki', format: 'der' }));
  return new X509Certificate(Buffer.from(der));
}

/** Each case differs from the good one in one thing, so that each step of the gate stands alone. */
describe('the client of a connection', () => {
  let authority: Authority;
  let certificate: X509Certificate;
  let foreign: X509Certificate;

  beforeEach(async () => {
    authority = (await openTestAuthority()).authority;
    certificate = await certificateBy(authority);
    foreign = await certificateBy((await openTestAuthority()).authority);
  });

  const good = (): CertificateStatus => ({
    state: 'good',
    holder: HOLDER,
    group: 'default' as GroupName,
    labels: {},
    notAfter: certificate.validToDate.getTime(),
  });

  function identify(
    changes: {
      authorized?: boolean;
      shown?: X509Certificate | undefined;
      now?: number;
      status?: CertificateStatus;
    } = {},
  ) {
    const shown = 'shown' in changes ? changes.shown : certificate;
    const socket = {
      authorized: changes.authorized ?? true,
      authorizationError: new Error('CERT_REVOKED'),
      getPeerX509Certificate: () => shown,
    };
    const asked: string[] = [];
    const registry = {
      certificateStatus: async (serial: string) => {
        asked.push(serial);
        return changes.status ?? good();
      },
    };
    return checkClientCertificate(
      socket,
      { issuer: authority.issuer, registry, now: () => changes.now ?? Date.now() },
      'good',
    ).then((verdict) => ({
      verdict,
      asked,
    }));
  }

  it('with a certificate that is good now is accepted as its holder', async () => {
    const { verdict, asked } = await identify();
    expect(verdict).toEqual({
      ok: true,
      holder: {
        identity: HOLDER,
        serial: certificate.serialNumber.toLowerCase(),
        notBefore: certificate.validFromDate.getTime(),
        notAfter: certificate.validToDate.getTime(),
      },
    });
    expect(asked).toEqual([certificate.serialNumber.toLowerCase()]);
  });

  it('that is authorized without any certificate is refused', async () => {
    expect((await identify({ shown: undefined })).verdict).toMatchObject({
      ok: false,
      problem: { code: 'certificate_required' },
    });
  });

  it('whose certificate OpenSSL refused is refused, and the registry is not asked', async () => {
    const { verdict, asked } = await identify({ authorized: false });
    expect(verdict).toMatchObject({
      ok: false,
      problem: { code: 'certificate_rejected', reason: 'Error: CERT_REVOKED' },
    });
    expect(asked).toEqual([]);
  });

  it('is refused before its certificate is valid and from the moment it expires', async () => {
    const at = async (now: number) => (await identify({ now })).verdict.ok;
    expect(await at(certificate.validFromDate.getTime() - 1)).toBe(false);
    expect(await at(certificate.validFromDate.getTime())).toBe(true);
    expect(await at(certificate.validToDate.getTime() - 1)).toBe(true);
    expect(await at(certificate.validToDate.getTime())).toBe(false);
  });

  it("is refused with another CA's certificate, even when it is authorized", async () => {
    const { verdict, asked } = await identify({ shown: foreign });
    expect(verdict).toMatchObject({ ok: false, problem: { reason: 'another issuer' } });
    expect(asked).toEqual([]);
  });

  it('is refused when the registry does not know the serial, or states that it was revoked', async () => {
    expect((await identify({ status: { state: 'unknown' } })).verdict).toMatchObject({
      problem: { code: 'certificate_rejected' },
    });
    const revoked = { state: 'revoked', holder: HOLDER, revokedAt: 0 } as const;
    expect((await identify({ status: { ...revoked, reason: 'keyCompromise' } })).verdict).toMatchObject({
      problem: { code: 'device_revoked' },
    });
    expect((await identify({ status: { ...revoked, reason: 'superseded' } })).verdict).toMatchObject({
      problem: { code: 'certificate_rejected' },
    });
  });

  it('is refused when the name in the certificate is not that of the holder', async () => {
    const holder = { kind: 'device', id: 'dev-8' as DeviceId } as const;
    const { verdict } = await identify({
      status: { ...(good() as Extract<CertificateStatus, { state: 'good' }>), holder },
    });
    expect(verdict).toMatchObject({
      ok: false,
      problem: { reason: 'the name in the certificate is not that of the holder' },
    });
  });
});
