/** A certificate authority for the broker's tests that also signs what no authority should. Writes DER, reads none. */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAltName: '2.5.29.17',
  subjectKeyIdentifier: '2.5.29.14',
  authorityKeyIdentifier: '2.5.29.35',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

export interface Authority {
  readonly pem: string;
  readonly name: Buffer;
  readonly key: KeyObject;
  readonly keyId: Buffer;
}

export interface Credentials {
  /** Leaf first, then what the leaf needs. */
  readonly chain: string;
  readonly key: string;
  /** As the registry writes it. */
  readonly serial: string;
}

export interface CertificateOrder {
  readonly issuer: Authority;
  /** Common names, each in a relative distinguished name of its own. */
  readonly commonNames?: readonly string[];
  /** GeneralNames, encoded. */
  readonly names?: readonly Buffer[];
  readonly purposes?: readonly ('serverAuth' | 'clientAuth')[];
  readonly isAuthority?: 'yes';
  readonly notBefore?: number;
  readonly notAfter?: number;
}

const DAY = 86_400_000;
/** One key for all clients of a test run: what differs between them is the certificate. */
const clientKey = newKey();

export const uriName = (uri: string): Buffer => tlv(0x86, Buffer.from(uri, 'utf8'));
export const dnsName = (name: string): Buffer => tlv(0x82, Buffer.from(name, 'utf8'));
export const addressName = (...octets: number[]): Buffer => tlv(0x87, Buffer.from(octets));

export function createRoot(commonName: string): Authority {
  const key = newKey();
  const name = distinguishedName([commonName]);
  const keyId = randomBytes(20);
  const self = { pem: '', name, key, keyId };
  return { ...self, pem: write({ issuer: self, isAuthority: 'yes' }, key, name, keyId).pem };
}

export function createIssuing(issuer: Authority, commonName: string): Authority {
  const key = newKey();
  const name = distinguishedName([commonName]);
  const keyId = randomBytes(20);
  return { pem: write({ issuer, isAuthority: 'yes' }, key, name, keyId).pem, name, key, keyId };
}

export function issue(order: CertificateOrder): Credentials {
  const name = distinguishedName(order.commonNames ?? []);
  const { pem, serial } = write(order, clientKey, name, randomBytes(20));
  return { chain: pem + order.issuer.pem, key: pemOfKey(clientKey), serial };
}

/** A leaf used as if it were an authority. */
export function asAuthority(credentials: Credentials, commonName: string): Authority {
  const pem = credentials.chain;
  return { pem, name: distinguishedName([commonName]), key: createPrivateKey(credentials.key), keyId: randomBytes(20) };
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

function pemOfKey(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function write(
  order: CertificateOrder,
  key: KeyObject,
  subject: Buffer,
  keyId: Buffer,
): { pem: string; serial: string } {
  const { issuer, names = [], purposes = [], isAuthority } = order;
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40;
  const extensions = [
    extension(OID.basicConstraints, sequence(...(isAuthority ? [tlv(0x01, Buffer.from([0xff]))] : []))),
    // digitalSignature, for authorities keyCertSign and cRLSign as well
    extension(OID.keyUsage, tlv(0x03, Buffer.from(isAuthority ? [1, 0x86] : [7, 0x80]))),
    extension(OID.subjectKeyIdentifier, tlv(0x04, keyId)),
    extension(OID.authorityKeyIdentifier, sequence(tlv(0x80, issuer.keyId))),
  ];
  if (purposes.length > 0) {
    extensions.push(extension(OID.extendedKeyUsage, sequence(...purposes.map((purpose) => oid(OID[purpose])))));
  }
  if (names.length > 0) extensions.push(extension(OID.subjectAltName, sequence(...names)));
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, serial),
    algorithm,
    issuer.name,
    sequence(time(order.notBefore ?? Date.now() - DAY), time(order.notAfter ?? Date.now() + 30 * DAY)),
    subject,
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    tlv(0xa3, sequence(...extensions)),
  );
  const signature = sign('sha256', body, issuer.key);
  const der = sequence(body, algorithm, tlv(0x03, Buffer.from([0]), signature));
  const base64 = der.toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  const pem = `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
  return { pem, serial: serial.toString('hex').replace(/^0+/, '') };
}

function distinguishedName(commonNames: readonly string[]): Buffer {
  const set = (name: string) => tlv(0x31, sequence(oid(OID.commonName), tlv(0x0c, Buffer.from(name, 'utf8'))));
  return sequence(...commonNames.map(set));
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), tlv(0x04, value));
}

function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  return tlv(0x18, Buffer.from(text, 'ascii')); // GeneralizedTime, which OpenSSL reads for any year
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tlv(0x30, ...parts);
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const digits = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return tlv(0x06, Buffer.from(bytes));
}

function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const header =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(header), content]);
}
