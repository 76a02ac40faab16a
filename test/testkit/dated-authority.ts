/**
 * Server certificates that are valid at other times than now, under a root of their own: to whoever trusts that root, the
 * clock of this machine is wrong.
 */

import { createHash, createPrivateKey, webcrypto } from 'node:crypto';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { readIssuer } from '../../enroll/certificate-check.ts';
import { writeCrl, writeCrlEntries } from '../../enroll/crl-writer.ts';
import { pem } from '../../enroll/pem.ts';
import { keySigner } from '../../enroll/signer.ts';
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
  vouchFor(name: string, key: webcrypto.CryptoKey, pathLength?: number): Promise<string>;
  /** An issuing CA under this root, with a key of its own; path length 0 unless given. */
  issuing(name: string, pathLength?: number | 'none'): Promise<DatedIssuing>;
  /** The revocation list of this root, PEM. */
  list(says: DatedList): Promise<string>;
}

export interface DatedIssuing extends DatedAuthority {
  /** As its root signed it. `rootPem` is a root of its own making, with the same name and key. */
  readonly certificatePem: string;
  /** Lower-case hexadecimal. */
  readonly serial: string;
}

export interface DatedList {
  readonly number: number;
  /** Serials, hexadecimal. */
  readonly revoked?: readonly string[];
  readonly tainted?: readonly string[];
  readonly roots?: readonly DatedAuthority[];
  readonly retired?: readonly DatedAuthority[];
  /** Milliseconds since 1970. */
  readonly nextUpdate?: number;
}

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const LONG = { notBefore: new Date('2000-01-01'), notAfter: new Date('2100-01-01') };
const makeKeys = () => webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;
const authority = (pathLength?: number) => [
  new x509.BasicConstraintsExtension(true, pathLength, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
];

export async function makeDatedAuthority(
  name = 'CN=dated root',
  known?: webcrypto.CryptoKeyPair,
  pathLength?: number,
): Promise<DatedAuthority> {
  x509.cryptoProvider.set(webcrypto as never);
  const keys = known ?? (await makeKeys());
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...LONG,
    name,
    keys: keys as never,
    signingAlgorithm: EC,
    extensions: authority(pathLength),
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
  const vouchFor = async (subject: string, key: webcrypto.CryptoKey, below?: number) => {
    const certificate = await x509.X509CertificateGenerator.create({
      ...LONG,
      subject,
      issuer: root.subject,
      publicKey: key as never,
      signingKey: keys.privateKey as never,
      signingAlgorithm: EC,
      extensions: authority(below),
    });
    return `${certificate.toString('pem')}\n`;
  };
  const issuing = async (subject: string, below: number | 'none' = 0): Promise<DatedIssuing> => {
    const own = await makeKeys();
    const certificatePem = await vouchFor(subject, own.publicKey, below === 'none' ? undefined : below);
    const same = await makeDatedAuthority(subject, own);
    const chained = async (credential: Promise<ServerCredential>) => {
      const { keyPem, certificatePem: leafPem } = await credential;
      return { keyPem, certificatePem: leafPem + certificatePem };
    };
    return {
      ...same,
      certificatePem,
      serial: new x509.X509Certificate(certificatePem).serialNumber.replace(/^0+(?=.)/, ''),
      server: (...order) => chained(same.server(...order)),
      device: (...order) => chained(same.device(...order)),
    };
  };
  const list = async ({ number, revoked = [], tainted = [], roots = [], retired = [], nextUpdate }: DatedList) => {
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
    const { subject, keyIdentifier } = readIssuer(Buffer.from(root.rawData));
    const digests = (of: readonly DatedAuthority[]) =>
      of.map((one) =>
        createHash('sha256')
          .update(Buffer.from(new x509.X509Certificate(one.rootPem).rawData))
          .digest(),
      );
    const statement = { roots: digests(roots), retiredRoots: digests(retired), taintedIssuers: tainted };
    const times = { thisUpdate: Date.UTC(2001, 0), nextUpdate: nextUpdate ?? Date.UTC(2099, 0) };
    const der = await writeCrl(
      { issuer: subject, keyIdentifier, number, ...times, lists: 'authorities', statement },
      writeCrlEntries(revoked.map((serial) => ({ serial, revokedAt: Date.UTC(2001, 0), reason: 'superseded' }))),
      keySigner(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })),
    );
    return pem(der, 'X509 CRL');
  };
  return {
    rootPem: `${root.toString('pem')}\n`,
    server: (notBefore, notAfter, names) => leaf(x509.ExtendedKeyUsage.serverAuth, notBefore, notAfter, names),
    device: (notBefore, notAfter) => leaf(x509.ExtendedKeyUsage.clientAuth, notBefore, notAfter),
    crossSignedBy: (other) => other.vouchFor(name, keys.publicKey),
    vouchFor,
    issuing,
    list,
  };
}
