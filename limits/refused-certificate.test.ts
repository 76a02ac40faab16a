import { X509Certificate } from 'node:crypto';
import { expect, it } from 'vitest';
import { makeDatedAuthority } from '../test/fixtures/dated-authority.ts';
import { describeRefusedCertificate } from './refused-certificate.ts';

const bounds = (name: string) =>
  makeDatedAuthority(name)
    .then((authority) => authority.device(Date.UTC(2020, 0), Date.UTC(2030, 0)))
    .then(({ certificatePem }) => describeRefusedCertificate(new X509Certificate(certificatePem)));

it('a refused certificate is described with subject, issuer, serial, names and both dates', async () => {
  expect(await bounds('O=Acme, CN=Acme root')).toEqual({
    subject: 'CN=dated',
    issuer: 'O=Acme, CN=Acme root',
    serial: expect.stringMatching(/^[1-9a-f][0-9a-f]*$/),
    san: 'DNS:localhost',
    notBefore: '2020-01-01T00:00:00.000Z',
    notAfter: '2030-01-01T00:00:00.000Z',
    fingerprint: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
  });
});

it('names of a refused certificate are at most 256 characters long and have no control characters', async () => {
  const { issuer = '' } = await bounds(`CN=A${'\u001b\u009b\u202e'.repeat(100)}`);
  expect(issuer.length).toBeLessThanOrEqual(256);
  expect(issuer).toMatch(/^CN=A[ -~]{100,}$/);
});

it('without a certificate there is nothing to describe', () => {
  expect(describeRefusedCertificate(undefined)).toEqual({});
});
