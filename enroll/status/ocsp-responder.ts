/**
 * Answers OCSP (RFC 6960) for what our issuing CAs signed, from the registry, so that an answer is as new as the last
 * commit. Each CA has a signer of its own for it: a certificate for a day that can do nothing else, made anew by itself.
 */

import { createHash, generateKeyPairSync } from 'node:crypto';
import type { Logger } from 'pino';
import type { IssuedCertificate, PublishedStatus, PublishedStatusStore } from '../../registry/index.ts';
import type { IssuingCa, SigningCa } from '../ca/ca-set.ts';
import { keySigner, type Signer } from '../ca/signer.ts';
import {
  bits,
  type Der,
  encodeDer,
  encoded,
  generalizedTime,
  octets,
  oid,
  sequence,
  tagged,
  taggedBytes,
} from '../x509/der-writer.ts';
import { exportSpki } from '../x509/profile.ts';
import { signatureAlgorithm } from '../x509/x509-writer.ts';
import { REASON_CODES } from './crl-writer.ts';
import { type CertificateId, readOcspRequest } from './ocsp-request.ts';

export interface OcspResponder {
  /** DER of an OCSPResponse, whatever came. */
  respond(request: Buffer): Promise<Buffer>;
  /** For CAs that came or went. */
  clearIssuers(): void;
}

interface OcspSigner {
  readonly signer: Signer;
  /** DER. */
  readonly certificate: Buffer;
  /** SHA-1 of its key: how an answer names its signer. */
  readonly keyHash: Buffer;
  readonly renewAt: number;
}

/** How long an answer may be kept. */
const FRESH_MS = 3600 * 1000;
const RENEW_AT = 2 / 3;

const BASIC = '1.3.6.1.5.5.7.48.1.1';
const NONCE = '1.3.6.1.5.5.7.48.1.2';

/** RFC 6960, section 4.2.1: an answer that says nothing, and so needs no signature. */
const REFUSALS = { malformedRequest: 1, internalError: 2, tryLater: 3, unauthorized: 6 } as const;

export function createOcspResponder(options: {
  readonly issuing: () => readonly IssuingCa[];
  readonly registry: Pick<PublishedStatusStore, 'publishedStatus'>;
  /** Issues and records the certificate of a signer of OCSP answers. */
  readonly issueOcspCertificate: (ca: SigningCa, publicKeySpki: Buffer) => Promise<IssuedCertificate>;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}): OcspResponder {
  const { registry, now, log } = options;
  const delegates = new Map<string, Promise<OcspSigner>>();
  const hashes = new Map<string, Readonly<Record<CertificateId['hash'], string>>>();

  const delegateOf = async (ca: SigningCa): Promise<OcspSigner> => {
    const held = delegates.get(ca.id);
    if (held !== undefined) {
      const delegate = await held;
      if (now() < delegate.renewAt) return delegate;
      if (delegates.get(ca.id) !== held) return delegateOf(ca); // somebody else makes the next one
    }
    const made = makeDelegate(ca, options.issueOcspCertificate);
    delegates.set(ca.id, made);
    made.catch(() => delegates.get(ca.id) === made && delegates.delete(ca.id));
    return made;
  };

  /** The CA that a request means, by the hashes of its name and key. */
  const issuerOf = (id: CertificateId): IssuingCa | undefined =>
    options.issuing().find((ca) => {
      let known = hashes.get(ca.id);
      if (known === undefined) {
        known = { sha1: idHashes(ca, 'sha1'), sha256: idHashes(ca, 'sha256') };
        hashes.set(ca.id, known);
      }
      return known[id.hash] === id.nameHash.toString('hex') + id.keyHash.toString('hex');
    });

  const answer = async (request: Buffer): Promise<Buffer> => {
    const asked = readOcspRequest(request);
    if (typeof asked === 'string') return refusal('malformedRequest');
    const issuers = asked.ids.map(issuerOf);
    const ca = issuers.find((issuer) => issuer?.signer !== undefined) as SigningCa | undefined;
    if (ca === undefined) return refusal('unauthorized');
    const delegate = await delegateOf(ca);

    const at = Math.floor(now() / 1000) * 1000;
    const singles: Der[] = [];
    for (const [index, id] of asked.ids.entries()) {
      // One signature speaks for one CA (RFC 6960, section 4.2.2.2).
      const status: PublishedStatus =
        issuers[index]?.id === ca.id ? await registry.publishedStatus(ca.id, id.serial) : { state: 'unknown' };
      singles.push(
        sequence(encoded(id.der), statusDer(status), generalizedTime(at), tagged(0, generalizedTime(at + FRESH_MS))),
      );
    }
    const nonce =
      asked.nonce === undefined ? undefined : tagged(1, sequence(sequence(oid(NONCE), octets(asked.nonce))));
    const tbs = encodeDer(
      sequence(tagged(2, octets(delegate.keyHash)), generalizedTime(at), sequence(...singles), nonce),
    );
    const basic = sequence(
      encoded(tbs),
      encoded(signatureAlgorithm()),
      bits(await delegate.signer.sign(tbs)),
      tagged(0, sequence(encoded(delegate.certificate))),
    );
    return encodeDer(
      sequence(encoded(Buffer.of(0x0a, 0x01, 0)), tagged(0, sequence(oid(BASIC), octets(encodeDer(basic))))),
    );
  };

  return {
    respond: async (request) => {
      try {
        return await answer(request);
      } catch (error) {
        log.error({ err: error }, 'OCSP request could not be answered');
        return refusal('tryLater');
      }
    },
    clearIssuers: () => hashes.clear(),
  };
}

async function makeDelegate(
  ca: SigningCa,
  issue: (ca: SigningCa, publicKeySpki: Buffer) => Promise<IssuedCertificate>,
): Promise<OcspSigner> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = exportSpki(publicKey);
  const { der, notBefore, notAfter } = await issue(ca, spki);
  return {
    signer: keySigner(privateKey),
    certificate: Buffer.from(der),
    keyHash: hashOfKey(spki, 'sha1'),
    renewAt: notBefore + (notAfter - notBefore) * RENEW_AT,
  };
}

function statusDer(status: PublishedStatus): Der {
  if (status.state === 'good') return taggedBytes(0, Buffer.alloc(0));
  if (status.state === 'unknown') return taggedBytes(2, Buffer.alloc(0));
  const code = REASON_CODES[status.reason];
  // `unspecified` is said by saying nothing, as in a list.
  const reason = code === 0 ? undefined : tagged(0, encoded(Buffer.of(0x0a, 0x01, code)));
  return tagged(1, generalizedTime(status.revokedAt), reason);
}

function refusal(what: keyof typeof REFUSALS): Buffer {
  return encodeDer(sequence(encoded(Buffer.of(0x0a, 0x01, REFUSALS[what]))));
}

function idHashes(ca: IssuingCa, algorithm: CertificateId['hash']): string {
  const name = createHash(algorithm).update(ca.subject).digest('hex');
  return name + hashOfKey(ca.publicKeySpki, algorithm).toString('hex');
}

/** Of the key's BIT STRING without tag, length and unused bits (RFC 6960, section 4.1.1): for P-256 the last 65 bytes. */
function hashOfKey(spki: Uint8Array, algorithm: CertificateId['hash']): Buffer {
  return createHash(algorithm).update(spki.subarray(-65)).digest();
}
