/**
 * The certificate of a coordinator: made for one run, signed by itself, believed for its fingerprint alone. Nothing in it
 * names anybody (RFC 5280, section 4.1).
 */

import { generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto';
import { BIT_STRING, INTEGER, oid, SET, sequence, UTF8_STRING, writeElement } from '../../device-sdk/der.ts';

const UTC_TIME = 0x17;
const VERSION = 0xa0; // [0] of TBSCertificate
const VERSION_3 = writeElement(VERSION, writeElement(INTEGER, Buffer.from([2])));
const ECDSA_WITH_SHA256 = sequence(oid('2a8648ce3d040302'));
const COMMON_NAME = oid('550403');
/** Host clocks may be wrong by this much; the fingerprint is what counts. */
const DAY_MS = 86_400_000;

export interface OwnCertificate {
  readonly keyPem: string;
  readonly certificatePem: string;
  /** SHA-256 of the certificate, 64 hexadecimal digits in lower case. */
  readonly fingerprint: string;
}

export function makeOwnCertificate(now: number): OwnCertificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40; // positive, and no leading zero
  const name = sequence(
    writeElement(SET, sequence(COMMON_NAME, writeElement(UTF8_STRING, Buffer.from('rollcall simulation')))),
  );
  const body = sequence(
    VERSION_3,
    writeElement(INTEGER, serial),
    ECDSA_WITH_SHA256,
    name,
    sequence(utcTime(now - DAY_MS), utcTime(now + 30 * DAY_MS)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
  );
  const signature = sign('sha256', body, privateKey);
  const certificate = new X509Certificate(
    sequence(body, ECDSA_WITH_SHA256, writeElement(BIT_STRING, Buffer.from([0]), signature)),
  );
  return {
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    certificatePem: certificate.toString(),
    fingerprint: fingerprintOf(certificate),
  };
}

export function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

function utcTime(milliseconds: number): Buffer {
  const digits = new Date(milliseconds).toISOString().replace(/[-:T]/g, '').slice(2, 14);
  return writeElement(UTC_TIME, Buffer.from(`${digits}Z`, 'ascii'));
}
