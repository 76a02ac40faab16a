/**
 * The OCSP responder (RFC 6960) of the issuing CAs. It reads the registry, so a response is as recent as the last commit.
 * Each CA delegates signing to a certificate that is valid for a day and good for nothing else, and is renewed on demand.
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
  /** DER of an OCSPResponse, for any input. */
  respond(request: Buffer): Promise<Buffer>;
  /** The certificates that sign responses now: of each CA that was asked about, one. */
  listSigners(): Promise<readonly OcspSignerCertificate[]>;
  /** Call this when the CAs have changed. */
  clearIssuers(): void;
}

/** Times are milliseconds since the epoch. */
export interface OcspSignerCertificate {
  readonly caId: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

interface OcspSigner extends Omit<OcspSignerCertificate, 'caId'> {
  readonly signer: Signer;
  /** DER. */
  readonly certificate: Buffer;
  /** SHA-1 of its key, by which a response names its responder. */
  readonly keyHash: Buffer;
  readonly renewAt: number;
}

/** From thisUpdate to nextUpdate. */
const VALIDITY_MS = 3600 * 1000;
const RENEW_AT = 2 / 3;

const BASIC = '1.3.6.1.5.5.7.48.1.1';
const NONCE = '1.3.6.1.5.5.7.48.1.2';

/** RFC 6960, section 4.2.1: an error response is not signed. */
const ERROR_STATUS = { malformedRequest: 1, internalError: 2, tryLater: 3, unauthorized: 6 } as const;

export interface OcspResponderOptions {
  readonly issuing: () => readonly IssuingCa[];
  readonly registry: Pick<PublishedStatusStore, 'publishedStatus'>;
  /** Issues and records the certificate of an OCSP responder. */
  readonly issueOcspCertificate: (ca: SigningCa, publicKeySpki: Buffer) => Promise<IssuedCertificate>;
  readonly now: () => number;
  readonly log: Logger;
}

export function createOcspResponder(options: OcspResponderOptions): OcspResponder {
  return new RegistryResponder(options);
}

class RegistryResponder implements OcspResponder {
  readonly #options: OcspResponderOptions;
  /** By CA. */
  readonly #signers = new Map<string, Promise<OcspSigner>>();
  /** Hashes of name and key, by CA. */
  readonly #issuerHashes = new Map<string, Readonly<Record<CertificateId['hash'], string>>>();

  constructor(options: OcspResponderOptions) {
    this.#options = options;
  }

  async respond(request: Buffer): Promise<Buffer> {
    try {
      return await this.#respond(request);
    } catch (error) {
      this.#options.log.error({ err: error }, 'OCSP request could not be answered');
      return errorResponse('tryLater');
    }
  }

  async listSigners(): Promise<readonly OcspSignerCertificate[]> {
    const issuing = new Set(this.#options.issuing().map(({ id }) => id));
    const listed = [...this.#signers].map(async ([caId, created]): Promise<readonly OcspSignerCertificate[]> => {
      const signer = issuing.has(caId) ? await created.catch(() => undefined) : undefined;
      if (signer === undefined) return [];
      const { serial, notBefore, notAfter } = signer;
      return [{ caId, serial, notBefore, notAfter }];
    });
    return (await Promise.all(listed)).flat();
  }

  clearIssuers(): void {
    this.#issuerHashes.clear();
  }

  async #respond(request: Buffer): Promise<Buffer> {
    const parsed = readOcspRequest(request);
    if (typeof parsed === 'string') return errorResponse('malformedRequest');
    const issuers = parsed.ids.map((id) => this.#issuerOf(id));
    const ca = issuers.find((issuer) => issuer?.signer !== undefined) as SigningCa | undefined;
    if (ca === undefined) return errorResponse('unauthorized');
    const signer = await this.#signerOf(ca);

    const at = Math.floor(this.#options.now() / 1000) * 1000;
    const responses: Der[] = [];
    for (const [index, id] of parsed.ids.entries()) {
      // One signature covers the certificates of one CA (RFC 6960, section 4.2.2.2).
      const isOfCa = issuers[index]?.id === ca.id;
      const status: PublishedStatus = isOfCa
        ? await this.#options.registry.publishedStatus(ca.id, id.serial)
        : { state: 'unknown' };
      responses.push(singleResponse(id, status, at));
    }
    return successfulResponse(signer, responses, parsed.nonce, at);
  }

  /** The CA that a request names by the hashes of its name and key. */
  #issuerOf(id: CertificateId): IssuingCa | undefined {
    return this.#options.issuing().find((ca) => {
      let known = this.#issuerHashes.get(ca.id);
      if (known === undefined) {
        known = { sha1: idHashes(ca, 'sha1'), sha256: idHashes(ca, 'sha256') };
        this.#issuerHashes.set(ca.id, known);
      }
      return known[id.hash] === id.nameHash.toString('hex') + id.keyHash.toString('hex');
    });
  }

  async #signerOf(ca: SigningCa): Promise<OcspSigner> {
    const current = this.#signers.get(ca.id);
    if (current !== undefined) {
      const signer = await current;
      if (this.#options.now() < signer.renewAt) return signer;
      if (this.#signers.get(ca.id) !== current) return this.#signerOf(ca); // another request has renewed it
    }
    const created = createSigner(ca, this.#options.issueOcspCertificate);
    this.#signers.set(ca.id, created);
    created.catch(() => this.#signers.get(ca.id) === created && this.#signers.delete(ca.id));
    return created;
  }
}

/** SingleResponse (RFC 6960, section 4.2.1). */
function singleResponse(id: CertificateId, status: PublishedStatus, at: number): Der {
  return sequence(
    encoded(id.der),
    statusDer(status),
    generalizedTime(at),
    tagged(0, generalizedTime(at + VALIDITY_MS)),
  );
}

/** OCSPResponse with a signed BasicOCSPResponse (RFC 6960, section 4.2.1). */
async function successfulResponse(
  { signer, certificate, keyHash }: OcspSigner,
  responses: readonly Der[],
  nonce: Buffer | undefined,
  at: number,
): Promise<Buffer> {
  const extensions = nonce === undefined ? undefined : tagged(1, sequence(sequence(oid(NONCE), octets(nonce))));
  const tbs = encodeDer(sequence(tagged(2, octets(keyHash)), generalizedTime(at), sequence(...responses), extensions));
  const basic = sequence(
    encoded(tbs),
    encoded(signatureAlgorithm()),
    bits(await signer.sign(tbs)),
    tagged(0, sequence(encoded(certificate))),
  );
  const successful = encoded(Buffer.of(0x0a, 0x01, 0));
  return encodeDer(sequence(successful, tagged(0, sequence(oid(BASIC), octets(encodeDer(basic))))));
}

async function createSigner(
  ca: SigningCa,
  issue: (ca: SigningCa, publicKeySpki: Buffer) => Promise<IssuedCertificate>,
): Promise<OcspSigner> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = exportSpki(publicKey);
  const { der, serial, notBefore, notAfter } = await issue(ca, spki);
  return {
    ...{ serial, notBefore, notAfter },
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
  // `unspecified` is expressed by leaving the reason out, as in a CRL.
  const reason = code === 0 ? undefined : tagged(0, encoded(Buffer.of(0x0a, 0x01, code)));
  return tagged(1, generalizedTime(status.revokedAt), reason);
}

function errorResponse(status: keyof typeof ERROR_STATUS): Buffer {
  return encodeDer(sequence(encoded(Buffer.of(0x0a, 0x01, ERROR_STATUS[status]))));
}

function idHashes(ca: IssuingCa, algorithm: CertificateId['hash']): string {
  const name = createHash(algorithm).update(ca.subject).digest('hex');
  return name + hashOfKey(ca.publicKeySpki, algorithm).toString('hex');
}

/** Of the key's BIT STRING without tag, length and unused bits (RFC 6960, section 4.1.1): for P-256 the last 65 bytes. */
function hashOfKey(spki: Uint8Array, algorithm: CertificateId['hash']): Buffer {
  return createHash(algorithm).update(spki.subarray(-65)).digest();
}
