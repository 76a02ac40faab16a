import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { afterAll, expect } from 'vitest';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { writeCsr } from './csr.ts';

const { describe, it } = testsWithClients('device-sdk/csr.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const id64 = `a${'b'.repeat(63)}`;

describe('a certificate request', () => {
  it('is verified by openssl, with the name in its subject', () => {
    const text = authority.describeRequest(writeCsr(privateKey, { commonName: 'dev-7' }));
    expect(text).toMatch(/Subject: CN ?= ?dev-7\n/);
    expect(text).toContain('ASN1 OID: prime256v1');
    expect(text).toContain('Signature Algorithm: ecdsa-with-SHA256');
  });

  it('has an empty subject without a name', () => {
    expect(authority.describeRequest(writeCsr(privateKey, {}))).toMatch(/Subject: ?\n/);
  });

  it('carries the public key and nothing of the private one', () => {
    const csr = writeCsr(privateKey, { commonName: 'dev-7' });
    expect(authority.publicKeyOf(csr)).toBe(createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }));
    const secret = Buffer.from(privateKey.export({ format: 'jwk' }).d as string, 'base64url');
    expect(csr.includes(secret)).toBe(false);
  });

  it('asks for the identity URI of a renewal, also when it takes long lengths', () => {
    const uri = `spiffe://${'fleet.'.repeat(30)}example/device/${id64}`;
    const text = authority.describeRequest(writeCsr(privateKey, { commonName: id64, uri }));
    expect(text).toContain(`URI:${uri}`);
    expect(text).toContain(id64);
  });

  it('is good for every key that node makes, whatever the length of its signature', () => {
    for (let round = 0; round < 8; round += 1) {
      const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
      const restored = createPrivateKey(key.export({ type: 'pkcs8', format: 'pem' }));
      expect(() => authority.describeRequest(writeCsr(restored, { commonName: `dev-${round}` }))).not.toThrow();
    }
  });
});
