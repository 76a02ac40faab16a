/** Certificate requests for tests: well formed, and wrong in exactly one way. */

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import {
  bits,
  boolean,
  type Der,
  encodeDer,
  encoded,
  integer,
  octets,
  oid,
  sequence,
  set,
  tagged,
  taggedBytes,
  utf8,
} from './der-writer.ts';

export interface TestCsrOrder {
  readonly privateKey?: KeyObject;
  readonly publicKey?: KeyObject;
  /** DER in place of the public key's own. */
  readonly spki?: Buffer;
  readonly commonNames?: readonly string[];
  readonly extensions?: readonly Der[];
  readonly attributes?: readonly Der[];
  /** DER signature in place of the right one. */
  readonly signature?: Buffer;
  readonly hash?: string;
  /** OID of the signature algorithm. */
  readonly algorithm?: string;
  readonly version?: number;
}

const ECDSA_SHA256 = '1.2.840.10045.4.3.2';
export const RSA_SHA256 = '1.2.840.113549.1.1.11';

export function freshKey(): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** DER of a request for a fresh P-256 key without names, unless the order says otherwise. */
export function writeTestCsr(order: TestCsrOrder = {}): Buffer {
  const pair =
    order.privateKey && order.publicKey ? { privateKey: order.privateKey, publicKey: order.publicKey } : freshKey();
  const { privateKey } = pair;
  const spki = order.spki ?? pair.publicKey.export({ type: 'spki', format: 'der' });
  const names = (order.commonNames ?? []).map((name) => set(sequence(oid('2.5.4.3'), utf8(name))));
  const attributes = [
    ...(order.attributes ?? []),
    ...(order.extensions === undefined ? [] : [extensionRequest(...order.extensions)]),
  ];
  const tbs = encodeDer(
    sequence(integer(order.version ?? 0), sequence(...names), encoded(spki), tagged(0, ...attributes)),
  );
  const isRsa = privateKey.asymmetricKeyType === 'rsa';
  const algorithm = order.algorithm ?? (isRsa ? RSA_SHA256 : ECDSA_SHA256);
  const parameters = algorithm.startsWith('1.2.840.113549.1.1.') ? encoded(Buffer.from([5, 0])) : undefined;
  const signature = order.signature ?? sign(order.hash ?? 'sha256', tbs, privateKey);
  return encodeDer(sequence(encoded(tbs), sequence(oid(algorithm), parameters), bits(signature)));
}

export function extensionRequest(...extensions: readonly Der[]): Der {
  return sequence(oid('1.2.840.113549.1.9.14'), set(sequence(...extensions)));
}

export function extension(id: string, value: Der | Buffer, criticality: 'critical' | 'plain' = 'plain'): Der {
  const der = Buffer.isBuffer(value) ? value : encodeDer(value);
  return sequence(oid(id), criticality === 'critical' ? boolean(true) : undefined, octets(der));
}

/** Subject alternative name. */
export function san(...names: readonly Der[]): Der {
  return extension('2.5.29.17', sequence(...names));
}

export function uri(value: string): Der {
  return taggedBytes(6, Buffer.from(value));
}

export function dns(value: string): Der {
  return taggedBytes(2, Buffer.from(value));
}
