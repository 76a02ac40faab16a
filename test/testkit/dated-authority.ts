/**
 * Server certificates that are valid at other times than now, under a root of their own: to whoever trusts that root, the
 * clock of this machine is wrong.
 */

import { webcrypto } from 'node:crypto';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import type { ServerCredential } from './scripted-authority.ts';

export interface DatedAuthority {
  readonly rootPem: string;
  /** For `localhost` or what is given, valid within these times, milliseconds since 1970. */
  server(notBefore: number, notAfter: number, names?: x509.JsonGeneralNames): Promise<ServerCredential>;
  /** As {@link server}, with the purpose of a device's certificate. */
  device(notBefore: number, notAfter: number): Promise<ServerCredential>;
  /** This root's name and key, signed by another: what tells those who trust the other that this one follows it. */
  crossSignedBy(other: DatedAuthority): Promise<string>;
  /** Signs a certificate of another authority's key and name. */
  vouchFor(name: string, key: webcrypto.CryptoKey): Promise<string>;
}

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const LONG = { notBefore: new Date('2000-01-01'), notAfter: new Date('2100-01-01') };
const makeKeys = () => webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;
const AUTHORITY = [
  new x509.BasicConstraintsExtension(true, undefined, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
];

export async function makeDatedAuthority(name = 'CN=dated root'): Promise<DatedAuthority> {
  x509.cryptoProvider.set(webcrypto as never);
  const keys = await makeKeys();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...LONG,
    name,
    keys: keys as never,
    signingAlgorithm: EC,
    extensions: AUTHORITY,
  });
  const leaf = async (
    purpose: x509.ExtendedKeyUsage,
    notBefore: number,
    notAfter: number,
    names: x509.JsonGeneralNames = [{ type: 'dns', value: 'localhost' }],
  ) => {
    const own = await makeKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      notBefore: new Date(notBefore),
      notAfter: new Date(notAfter),
      subject: 'CN=dated',
      issuer: root.subject,
      publicKey: own.publicKey as never,
      signingKey: keys.privateKey as never,
      signingAlgorithm: EC,
      extensions: [new x509.ExtendedKeyUsageExtension([purpose]), new x509.SubjectAlternativeNameExtension(names)],
    });
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', own.privateKey)).toString('base64');
    const keyPem = `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`;
    return { keyPem, certificatePem: `${certificate.toString('pem')}\n` };
  };
  const vouchFor = async (subject: string, key: webcrypto.CryptoKey) => {
    const certificate = await x509.X509CertificateGenerator.create({
      ...LONG,
      subject,
      issuer: root.subject,
      publicKey: key as never,
      signingKey: keys.privateKey as never,
      signingAlgorithm: EC,
      extensions: AUTHORITY,
    });
    return `${certificate.toString('pem')}\n`;
  };
  return {
    rootPem: `${root.toString('pem')}\n`,
    server: (notBefore, notAfter, names) => leaf(x509.ExtendedKeyUsage.serverAuth, notBefore, notAfter, names),
    device: (notBefore, notAfter) => leaf(x509.ExtendedKeyUsage.clientAuth, notBefore, notAfter),
    crossSignedBy: (other) => other.vouchFor(name, keys.publicKey),
    vouchFor,
  };
}
