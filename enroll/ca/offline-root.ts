/**
 * Signs the request of an issuing CA with an exported root key, on the machine where that key is stored. Needs no server,
 * no network and no data directory.
 */

import { createPublicKey, randomBytes, verify, X509Certificate } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { readIssuer } from '../x509/certificate-check.ts';
import { readDer } from '../x509/der-reader.ts';
import { pem } from '../x509/pem.ts';
import { caContents, exportSpki } from '../x509/profile.ts';
import { writeCertificate } from '../x509/x509-writer.ts';
import { decryptKey } from './encrypted-key.ts';
import { keySigner } from './signer.ts';

/**
 * `exported`: the file of "ca export-root", key and certificate. Returns PEM: the issuing CA, then the root; what
 * "ca import" takes. Throws Problem `request_invalid` that names what doesn't fit.
 */
export async function signIssuingCaCsr(order: {
  readonly exported: string;
  readonly passphrase: Buffer;
  readonly csrPem: string;
  readonly lifeSeconds: number;
  readonly now: number;
}): Promise<string> {
  const key = decryptKey(order.exported, order.passphrase);
  if (key === undefined) throw invalid('expected a root key that this passphrase opens');
  const signer = keySigner(key);
  let root: X509Certificate;
  try {
    root = new X509Certificate(
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(order.exported)?.[0] ?? '',
    );
  } catch {
    throw invalid('expected the root certificate in the same file, found none');
  }
  const issuer = readIssuer(root.raw);
  if (!issuer.publicKeySpki.equals(signer.publicKeySpki))
    throw invalid('expected the certificate of this root key, found another');
  const trustDomain = /^URI:spiffe:\/\/([a-z0-9._-]+)$/.exec(root.subjectAltName ?? '')?.[1];
  if (trustDomain === undefined) throw invalid('expected a root that names its trust domain');
  const contents = caContents({
    role: 'issuing',
    issuer,
    trustDomain,
    publicKeySpki: requestKey(order.csrPem),
    lifetimes: {
      deviceSeconds: 0,
      serverSeconds: 0,
      rootSeconds: 0,
      issuingSeconds: order.lifeSeconds,
      backdateSeconds: 600,
    },
    now: order.now,
    randomBytes,
  });
  return pem(await writeCertificate(contents, signer)) + pem(root.raw);
}

/** The public key of the request, whose signature it verifies (RFC 2986, section 4). Nothing else of the request is used. */
function requestKey(csrPem: string): Buffer {
  const body = /-----BEGIN CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]{1,8192})-----END/.exec(csrPem)?.[1];
  const request = body === undefined ? 'no PEM' : readDer(Buffer.from(body, 'base64'));
  if (typeof request === 'string') throw invalid('expected one certificate request in PEM');
  const [info, , signature] = request.children;
  const spki = info?.children[2];
  if (info === undefined || spki === undefined || signature === undefined)
    throw invalid('expected one certificate request in PEM');
  try {
    const key = createPublicKey({ key: spki.bytes, format: 'der', type: 'spki' });
    const isP256 = key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
    if (isP256 && verify('sha256', info.bytes, key, signature.contents.subarray(1))) return exportSpki(key);
  } catch {
    // The error below covers every malformed key.
  }
  throw invalid('expected a request that its own P-256 key signed');
}

function invalid(detail: string): Problem {
  return new Problem('request_invalid', { detail });
}
