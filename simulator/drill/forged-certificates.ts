/** What can be forged with the key of an issuing CA: a root of its name and key, and certificates of servers. */

import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import {
  BIT_STRING,
  BOOLEAN,
  caFields,
  INTEGER,
  OCTET_STRING,
  oid,
  SET,
  sequence,
  writeElement,
} from '@rollcall/device-sdk/building-blocks';
import { commonName, writeCertificate } from '../certificate-writer.ts';

export interface StolenCa {
  readonly keyPem: string;
  /** The issuing CA's own certificate, PEM: anybody who was handed a chain has it. */
  readonly certificatePem: string;
}

export interface ForgedCertificates {
  /** Self-signed, with the name and the key of the issuing CA, PEM. */
  readonly rootPem: string;
  readonly server: { readonly keyPem: string; readonly chainPem: string };
  /** Certs-only PKCS#7 of {@link rootPem} and the issuing CA's certificate (RFC 7030, section 4.1.3). */
  readonly caCertificates: Buffer;
}

const CRITICAL = writeElement(BOOLEAN, Buffer.from([0xff]));
const extension = (id: string, value: Buffer, ...critical: readonly Buffer[]) =>
  sequence(oid(id), ...critical, writeElement(OCTET_STRING, value));
const ROOT_EXTENSIONS = [
  extension('551d13', sequence(CRITICAL), CRITICAL), // basicConstraints: a CA
  extension('551d0f', writeElement(BIT_STRING, Buffer.from([1, 0x06])), CRITICAL), // keyUsage: keyCertSign, cRLSign
];
const DNS_NAME = 0x82; // [2] of GeneralName
const SERVER_EXTENSIONS = [
  extension('551d13', sequence(), CRITICAL),
  extension('551d25', sequence(oid('2b06010505070301'))), // extKeyUsage: serverAuth
  extension('551d11', sequence(writeElement(DNS_NAME, Buffer.from('localhost')))),
];
const CONTEXT_0 = 0xa0;

export function forgeCertificates({ keyPem, certificatePem }: StolenCa, now: number): ForgedCertificates {
  const issuing = new X509Certificate(certificatePem);
  const name = caFields(issuing)?.subject;
  if (name === undefined) throw new Error('expected the certificate of an issuing CA');
  const issuerKey = createPrivateKey(keyPem);
  const publicKey = createPublicKey(issuerKey);
  const root = writeCertificate({
    ...{ issuer: name, subject: name, publicKey, issuerKey, now },
    extensions: ROOT_EXTENSIONS,
  });
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const leaf = writeCertificate({
    ...{ issuer: name, subject: commonName('localhost'), publicKey: own.publicKey, issuerKey, now },
    extensions: SERVER_EXTENSIONS,
  });
  return {
    rootPem: root.toString(),
    server: {
      keyPem: own.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      chainPem: leaf.toString() + issuing.toString(),
    },
    caCertificates: certsOnly([root.raw, issuing.raw]),
  };
}

function certsOnly(certificates: readonly Buffer[]): Buffer {
  const signedData = sequence(
    writeElement(INTEGER, Buffer.from([1])),
    writeElement(SET),
    sequence(oid('2a864886f70d010701')),
    writeElement(CONTEXT_0, ...certificates),
    writeElement(SET),
  );
  return sequence(oid('2a864886f70d010702'), writeElement(CONTEXT_0, signedData));
}
