/**
 * Checks the chain that an external CA returned: the certificate is for the requested key, has the constraints and usages
 * of an issuing CA, and its root allows it. Each error states what was expected and what was found.
 */

import { X509Certificate } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { certificateParts } from '../x509/certificate-check.ts';
import { readDer } from '../x509/der-reader.ts';
import { caId, certificatesInPem } from './ca-set.ts';

export interface ImportedChain {
  readonly issuing: Buffer;
  /** Usually none. */
  readonly intermediates: readonly Buffer[];
  readonly root: Buffer;
}

/** Issuing CA, intermediates and root, in any order. Throws Problem `ca_import_rejected`. */
export function checkImportedChain(
  pem: string,
  options: { readonly keyIds: ReadonlySet<string>; readonly now: number },
): ImportedChain {
  if (pem.includes('PRIVATE KEY'))
    throw rejected('expected certificates alone, found a private key; it should leave this machine');
  const ders = readAll(pem);
  const certificates = ders.map((der) => new X509Certificate(der));
  const [issuing, ...more] = certificates.filter((certificate) => options.keyIds.has(caId(spkiOf(certificate))));
  if (issuing === undefined)
    throw rejected('expected a certificate for the key of "rollcall ca csr", found other keys only');
  if (more.length > 0) throw rejected('expected one certificate for the key of "rollcall ca csr", found several');

  const path = [issuing];
  for (let at = issuing; !at.checkIssued(at); ) {
    const above = certificates.find((candidate) => candidate !== at && at.checkIssued(candidate));
    if (above === undefined) {
      throw rejected(
        `expected the CA that signed ${quoted(at.subject)} in the same file, found none of the name ${quoted(at.issuer)}`,
      );
    }
    if (!at.verify(above.publicKey)) {
      throw rejected(
        `expected ${quoted(at.subject)} to be signed by ${quoted(above.subject)}, found another signature`,
      );
    }
    if (path.includes(above)) throw rejected('expected a chain that ends in a root, found a circle');
    path.push(above);
    at = above;
  }
  const root = path.at(-1) as X509Certificate;
  if (root === issuing) throw rejected('expected an issuing CA signed by a root, found a self-signed one');
  if (!root.verify(root.publicKey))
    throw rejected(`expected a self-signed root, found ${quoted(root.subject)} with another signature`);
  for (const [depth, certificate] of path.entries()) checkCa(certificate, depth, options.now);
  return { issuing: issuing.raw, intermediates: path.slice(1, -1).map(({ raw }) => raw), root: root.raw };
}

/** `depth`: the number of CAs below it, which its path length must allow. */
function checkCa(certificate: X509Certificate, depth: number, now: number): void {
  const who = `${depth === 0 ? 'the issuing CA' : 'the CA above'} ${quoted(certificate.subject)}`;
  // Not `certificate.ca`: OpenSSL reports false for a missing key usage too, which has an error of its own.
  const { isCa, pathLength, usages } = constraintsOf(certificate.raw);
  if (!isCa) throw rejected(`expected ${who} to be a CA (basicConstraints CA:TRUE), found none`);
  // An issuing CA that allows CAs below it could cross-certify a root of its own (docs/ca.md).
  if (depth === 0 && pathLength !== 0) {
    throw rejected(`expected ${who} to have path length 0, found ${pathLength ?? 'no limit'}`);
  }
  if (pathLength !== undefined && pathLength < depth) {
    throw rejected(`expected ${who} to allow ${depth} CA below it, found path length ${pathLength}`);
  }
  for (const usage of ['keyCertSign', 'cRLSign'] as const) {
    if (usages !== undefined && !usages.has(usage))
      throw rejected(`expected ${who} to have key usage ${usage}, found it missing`);
  }
  if (depth === 0 && usages === undefined)
    throw rejected(`expected ${who} to have key usage keyCertSign and cRLSign, found none`);
  const { validFromDate, validToDate } = certificate;
  if (now >= validToDate.getTime())
    throw rejected(`expected ${who} to be valid now, found that it ended ${validToDate.toISOString()}`);
  if (now < validFromDate.getTime()) {
    throw rejected(`expected ${who} to be valid now, found that it begins ${validFromDate.toISOString()}`);
  }
}

/** RFC 5280, sections 4.2.1.3 and 4.2.1.9. */
function constraintsOf(der: Buffer): {
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  readonly usages: ReadonlySet<string> | undefined;
} {
  const parts = certificateParts(der);
  if (typeof parts === 'string') throw rejected(parts);
  const extensionOf = (oid: string) => {
    const extension = parts.extensions.find((each) => each.oid === oid);
    const node = extension === undefined ? undefined : readDer(extension.value);
    if (typeof node === 'string') throw rejected(`found an extension that is not DER: ${node}`);
    return node;
  };
  const constraints = extensionOf('551d13')?.children;
  const length = constraints?.find(({ tag }) => tag === 0x02)?.contents;
  const bits = extensionOf('551d0f')?.contents;
  const usages = bits === undefined ? undefined : new Set<string>();
  if (((bits?.[1] ?? 0) & 0x04) !== 0) usages?.add('keyCertSign');
  if (((bits?.[1] ?? 0) & 0x02) !== 0) usages?.add('cRLSign');
  const isCa = constraints?.some(({ tag, contents }) => tag === 0x01 && contents[0] === 0xff) ?? false;
  return {
    isCa,
    pathLength: length === undefined ? undefined : length.readUIntBE(0, Math.min(length.length, 6)),
    usages,
  };
}

function readAll(pem: string): readonly Buffer[] {
  try {
    const found = certificatesInPem(pem);
    if (found.length >= 2 && found.length <= 8) return found;
  } catch {
    throw rejected('expected certificates in PEM, found something that is none');
  }
  throw rejected('expected two to eight certificates in PEM: the issuing CA and what leads up to its root');
}

function spkiOf(certificate: X509Certificate): Buffer {
  return certificate.publicKey.export({ type: 'spki', format: 'der' });
}

/** Names come from outside, so they are reduced to one short line. */
function quoted(name: string): string {
  return JSON.stringify(name.replace(/[\r\n]+/g, ', ').slice(0, 100));
}

function rejected(detail: string): Problem {
  return new Problem('ca_import_rejected', { detail });
}
