/** Signs certificates of a simulation with P-256 keys: a coordinator's own, and those that a thief of a CA key forges. */

import { type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import {
  BIT_STRING,
  INTEGER,
  oid,
  SET,
  sequence,
  UTF8_STRING,
  writeElement,
} from '@rollcall/device-sdk/building-blocks';

const UTC_TIME = 0x17;
const VERSION = 0xa0; // [0] of TBSCertificate
const EXTENSIONS = 0xa3; // [3] of TBSCertificate
const VERSION_3 = writeElement(VERSION, writeElement(INTEGER, Buffer.from([2])));
const ECDSA_WITH_SHA256 = sequence(oid('2a8648ce3d040302'));
const COMMON_NAME = oid('550403');
/** Host clocks may be wrong by this much. */
const DAY_MS = 86_400_000;

export interface CertificateOrder {
  /** DER of the names. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly publicKey: KeyObject;
  readonly issuerKey: KeyObject;
  readonly now: number;
  /** DER of each. */
  readonly extensions?: readonly Buffer[];
}

/** Valid for 30 days. */
export function writeCertificate(order: CertificateOrder): X509Certificate {
  const { issuer, subject, publicKey, issuerKey, now, extensions = [] } = order;
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40; // positive, and no leading zero
  const body = sequence(
    VERSION_3,
    writeElement(INTEGER, serial),
    ECDSA_WITH_SHA256,
    issuer,
    sequence(utcTime(now - DAY_MS), utcTime(now + 30 * DAY_MS)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length === 0 ? [] : [writeElement(EXTENSIONS, sequence(...extensions))]),
  );
  const signature = sign('sha256', body, issuerKey);
  return new X509Certificate(sequence(body, ECDSA_WITH_SHA256, writeElement(BIT_STRING, Buffer.from([0]), signature)));
}

export function commonName(text: string): Buffer {
  return sequence(writeElement(SET, sequence(COMMON_NAME, writeElement(UTF8_STRING, Buffer.from(text)))));
}

function utcTime(milliseconds: number): Buffer {
  const digits = new Date(milliseconds).toISOString().replace(/[-:T]/g, '').slice(2, 14);
  return writeElement(UTC_TIME, Buffer.from(`${digits}Z`, 'ascii'));
}
