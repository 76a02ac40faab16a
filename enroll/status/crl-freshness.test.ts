import { generateKeyPairSync } from 'node:crypto';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import type { CaCertificate } from '../ca/ca-certificates.ts';
import { keySigner } from '../ca/signer.ts';
import { encodeDer } from '../x509/der-writer.ts';
import { exportSpki } from '../x509/profile.ts';
import { commonName } from '../x509/x509-writer.ts';
import { createCrlPublisher } from './crl-publisher.ts';

const log = pino({ level: 'silent' });
const REVOKED = { serial: '40ab', revokedAt: 0, reason: 'keyCompromise' } as const;

function startPublisher(listRevoked: () => Promise<(typeof REVOKED)[]>) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuing: CaCertificate = {
    der: Buffer.alloc(0),
    subject: encodeDer(commonName('issuing')),
    publicKeySpki: exportSpki(publicKey),
    keyIdentifier: Buffer.alloc(20),
    publicKey,
    notBefore: 0,
    notAfter: 1e12,
  };
  let number = 0;
  const registry = { listRevokedBy: listRevoked, listHeldBy: async () => [], nextCrlNumber: async () => ++number };
  const options = { ca: { ...issuing, id: '', signer: keySigner(privateKey) }, registry, backdateSeconds: 0, log };
  return createCrlPublisher({ ...options, now: () => 1e9 });
}

it('a request during the issue of a CRL gets the new CRL, not the one before a revocation', async () => {
  let answer: Promise<(typeof REVOKED)[]> = Promise.resolve([]);
  const publisher = startPublisher(() => answer);
  expect((await publisher.current()).full.includes('40ab', 'hex')).toBe(false);

  const { promise, resolve } = Promise.withResolvers<(typeof REVOKED)[]>();
  answer = promise;
  const refreshed = publisher.refresh();
  const asked = publisher.current();
  resolve([REVOKED]);
  expect((await asked).full.includes(Buffer.from('020240ab', 'hex'))).toBe(true);
  await refreshed;
});

it('a request gets the last CRL when a new one cannot be issued', async () => {
  let answer: () => Promise<(typeof REVOKED)[]> = async () => [];
  const publisher = startPublisher(() => answer());
  const before = await publisher.current();
  answer = () => Promise.reject(new Error('disk full'));
  const refreshed = publisher.refresh();
  expect(await publisher.current()).toBe(before);
  await expect(refreshed).rejects.toThrow('disk full');
});
