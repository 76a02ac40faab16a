/** Reads an OCSP request (RFC 6960, section 4.1) from any client: checks the size, then strict DER, then the structure. */

import { type DerNode, readDer } from '../x509/der-reader.ts';

export interface CertificateId {
  readonly hash: 'sha1' | 'sha256';
  readonly nameHash: Buffer;
  readonly keyHash: Buffer;
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string;
  /** DER of the CertID; the response repeats it unchanged. */
  readonly der: Buffer;
}

export interface OcspRequest {
  readonly ids: readonly CertificateId[];
  /** DER of the nonce's extension value; undefined without one. */
  readonly nonce: Buffer | undefined;
}

/** A request for one certificate has about 110 bytes; one that is signed with a chain stays below this. */
export const OCSP_REQUEST_MAX = 4_096;
const IDS_MAX = 16;
/** RFC 9654, section 2.1: 1 to 128; servers may refuse others. */
const NONCE_MAX = 128;

const HASHES: Readonly<Record<string, CertificateId['hash']>> = {
  '2b0e03021a': 'sha1',
  '608648016503040201': 'sha256',
};
const NONCE_OID = '2b0601050507300102';

/** The request, or an error text. */
export function readOcspRequest(der: Buffer): OcspRequest | string {
  if (der.length > OCSP_REQUEST_MAX) return `expected at most ${OCSP_REQUEST_MAX} bytes, found ${der.length}`;
  const request = readDer(der);
  if (typeof request === 'string') return request;
  const tbs = request.tag === 0x30 ? request.children[0] : undefined;
  const list = tbs?.children.find(({ tag }) => tag === 0x30);
  if (tbs?.tag !== 0x30 || list === undefined) return 'expected an OCSPRequest';
  if (list.children.length === 0 || list.children.length > IDS_MAX) return `expected 1 to ${IDS_MAX} certificates`;
  const ids: CertificateId[] = [];
  for (const single of list.children) {
    const id = readId(single.children[0]);
    if (typeof id === 'string') return id;
    ids.push(id);
  }
  const nonce = readNonce(tbs.children.find(({ tag }) => tag === 0xa2));
  return typeof nonce === 'string' ? nonce : { ids, nonce };
}

function readId(id: DerNode | undefined): CertificateId | string {
  const [algorithm, nameHash, keyHash, serial, more] = id?.children ?? [];
  const hash = HASHES[algorithm?.children[0]?.contents.toString('hex') ?? ''];
  if (id === undefined || hash === undefined) return 'expected a hash of SHA-1 or SHA-256';
  if (nameHash?.tag !== 0x04 || keyHash?.tag !== 0x04 || serial?.tag !== 0x02 || more !== undefined) {
    return 'expected a CertID of two hashes and a serial';
  }
  if (serial.contents.length > 21) return 'expected a serial of at most 20 bytes';
  return {
    hash,
    nameHash: nameHash.contents,
    keyHash: keyHash.contents,
    serial: serial.contents.toString('hex').replace(/^0+(?=.)/, ''),
    der: id.bytes,
  };
}

function readNonce(extensions: DerNode | undefined): Buffer | undefined | string {
  for (const extension of extensions?.children[0]?.children ?? []) {
    if (extension.children[0]?.contents.toString('hex') !== NONCE_OID) continue;
    const value = extension.children.at(-1);
    if (value?.tag !== 0x04) return 'expected a nonce';
    if (value.contents.length === 0 || value.contents.length > NONCE_MAX + 2)
      return `expected a nonce of 1 to ${NONCE_MAX} bytes`;
    return value.contents;
  }
  return undefined;
}
