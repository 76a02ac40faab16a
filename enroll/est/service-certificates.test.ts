import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { freshKey, san, type TestCsrOptions, uri, writeTestCsr } from '../../test/fixtures/enroll/test-csr.ts';
import { openTestEnrollment } from '../../test/fixtures/enroll/test-enrollment.ts';
import { issueServiceCertificate } from './service-certificates.ts';

const ACTOR = 'operator/test';

describe('a service', () => {
  it('gets a certificate of its name, with its chain and the trust bundle, recorded before it is returned', async () => {
    const fleet = await openTestEnrollment();
    const { privateKey, publicKey } = freshKey();
    const csr = writeTestCsr({ privateKey, publicKey, commonNames: ['dashboard'] });
    const issued = await issueServiceCertificate({ name: 'dashboard', csr, actor: ACTOR }, fleet);
    const leaf = new X509Certificate(issued.certificatePem);
    expect(leaf.subjectAltName).toBe('URI:spiffe://fleet.example/service/dashboard');
    expect(leaf.publicKey.equals(publicKey)).toBe(true);
    expect(issued.certificatePem.endsWith(fleet.authority.trust.chainPem)).toBe(true);
    expect(issued.caPem).toBe(fleet.authority.trust.pem);
    expect(issued).toMatchObject({ serial: leaf.serialNumber.toLowerCase(), notAfter: leaf.validToDate.getTime() });
    expect(await fleet.registry.certificateStatus(issued.serial)).toMatchObject({
      state: 'good',
      holder: { name: 'dashboard' },
    });
  });

  it('may send its request as PEM', async () => {
    const fleet = await openTestEnrollment();
    const base64 = writeTestCsr().toString('base64').replace(/.{64}/g, '$&\n');
    for (const [n, label] of ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'].entries()) {
      const csr = `-----BEGIN ${label}-----\n${n === 0 ? base64 : writeTestCsr().toString('base64')}\n-----END ${label}-----\n`;
      expect((await issueServiceCertificate({ name: `s${n}`, csr, actor: ACTOR }, fleet)).service.name).toBe(`s${n}`);
    }
  });

  it.each([
    ['a name outside the alphabet', { name: 'a/b' }, {}, 'request_invalid'],
    [
      "another service's URI",
      {},
      { extensions: [san(uri('spiffe://fleet.example/service/other'))] },
      'csr_identity_mismatch',
    ],
    [
      "a device's URI",
      {},
      { extensions: [san(uri('spiffe://fleet.example/device/dashboard'))] },
      'csr_identity_mismatch',
    ],
    ['a broken signature', {}, { signature: Buffer.alloc(70) }, 'csr_signature_invalid'],
    ['text that is no PEM', { csr: 'hello' }, {}, 'csr_malformed'],
    [
      'PEM with something after it',
      { csr: '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\nmore' },
      {},
      'csr_malformed',
    ],
  ] satisfies [string, { name?: string; csr?: string }, TestCsrOptions, string][])(
    'is refused with %s',
    async (_what, order, csr, code) => {
      const fleet = await openTestEnrollment();
      const issue = issueServiceCertificate(
        { name: 'dashboard', csr: writeTestCsr(csr), actor: ACTOR, ...order },
        fleet,
      );
      await expect(issue).rejects.toMatchObject({ code });
      expect(await fleet.registry.listServices()).toEqual([]);
    },
  );

  it('is refused for a name that is in use', async () => {
    const fleet = await openTestEnrollment();
    await fleet.enroll('dev-7');
    await issueServiceCertificate({ name: 'dashboard', csr: writeTestCsr(), actor: ACTOR }, fleet);
    for (const name of ['dashboard', 'dev-7']) {
      await expect(issueServiceCertificate({ name, csr: writeTestCsr(), actor: ACTOR }, fleet)).rejects.toMatchObject({
        code: 'service_exists',
      });
    }
  });
});
