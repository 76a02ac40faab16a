/**
 * The first two CAs: a root that signs one issuing CA, and an issuing CA (path length 0) that signs the leaf certificates.
 * The first start creates them, in an order that the next start can complete after a crash. Later starts read them, and
 * refuse files that do not belong together. The root's key may be moved elsewhere once both exist.
 */

import { type KeyObject, X509Certificate } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { readIssuer } from '../x509/certificate-check.ts';
import { caContents, type Lifetimes, type RandomBytes, trustDomainUri } from '../x509/profile.ts';
import { writeCertificate } from '../x509/x509-writer.ts';
import type { CaDirectory, CaRole } from './ca-directory.ts';
import type { KeyStore } from './key-store.ts';
import type { Signer } from './signer.ts';

export interface CaCertificate {
  readonly der: Buffer;
  /** DER of the subject Name. */
  readonly subject: Buffer;
  readonly publicKeySpki: Buffer;
  /** As in the certificate. */
  readonly keyIdentifier: Buffer;
  readonly publicKey: KeyObject;
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface CaCertificates {
  readonly root: CaCertificate;
  readonly issuing: CaCertificate & { readonly signer: Signer };
}

export interface CaOptions {
  readonly trustDomain: string;
  readonly lifetimes: Lifetimes;
  readonly now: () => number;
  readonly randomBytes: RandomBytes;
  readonly log: Logger;
}

/** The operator has this long to prepare a new issuing CA before devices get no more certificates. */
const WARN_BEFORE_END_MS = 180 * 24 * 3600 * 1000;

export async function openCaCertificates(
  directory: CaDirectory,
  keys: KeyStore,
  options: CaOptions,
): Promise<CaCertificates> {
  const rootKey = await keys.open('root');
  const rootDer = await directory.readCertificate('root');
  const issuingKey = await keys.open('issuing');
  const issuingDer = await directory.readCertificate('issuing');

  if (rootDer === undefined && issuingDer !== undefined) throw missing(directory, 'root.pem');
  const root = checkedCa('root', rootDer ?? (await createRoot(directory, keys, rootKey, options)), rootKey, options);
  if (issuingDer !== undefined) {
    if (issuingKey === undefined) throw missing(directory, 'issuing.key');
    return { root, issuing: checkedIssuing(issuingDer, issuingKey, root, options) };
  }
  const signingKey = rootKey ?? (await keys.open('root'));
  if (signingKey === undefined) throw missing(directory, 'root.key');
  const key = issuingKey ?? (await keys.create('issuing'));
  const der = await createCa(directory, { role: 'issuing', key, issuer: root, issuerKey: signingKey }, options);
  return { root, issuing: checkedIssuing(der, key, root, options) };
}

/** A key without a certificate is left over from a crash. Nobody has seen it, so it is used. */
async function createRoot(
  directory: CaDirectory,
  keys: KeyStore,
  found: Signer | undefined,
  options: CaOptions,
): Promise<Buffer> {
  const key = found ?? (await keys.create('root'));
  return createCa(directory, { role: 'root', key, issuer: undefined, issuerKey: key }, options);
}

interface NewCa {
  readonly role: CaRole;
  readonly key: Signer;
  /** Undefined for a root, which signs itself. */
  readonly issuer: CaCertificate | undefined;
  readonly issuerKey: Signer;
}

async function createCa(
  directory: CaDirectory,
  { role, key, issuer, issuerKey }: NewCa,
  options: CaOptions,
): Promise<Buffer> {
  const contents = caContents({ ...options, role, issuer, publicKeySpki: key.publicKeySpki, now: options.now() });
  const der = await writeCertificate(contents, issuerKey);
  await directory.writeCertificate(role, der);
  options.log.info({ directory: directory.path, notAfter: iso(contents.notAfter) }, `${role} CA created`);
  return der;
}

function checkedIssuing(der: Buffer, key: Signer, root: CaCertificate, options: CaOptions): CaCertificates['issuing'] {
  const issuing = checkedCa('issuing', der, key, options);
  if (!new X509Certificate(der).verify(root.publicKey)) {
    throw new Problem('authority_unusable', {
      reason: 'expected an issuing CA signed by the root CA beside it',
      hint: 'restore root.pem and issuing.pem from the same backup',
    });
  }
  if (issuing.notAfter - options.now() < WARN_BEFORE_END_MS) {
    options.log.warn({ notAfter: iso(issuing.notAfter) }, 'the issuing CA expires soon');
  }
  return { ...issuing, signer: key };
}

/** Key and certificate belong together, it is a CA of this trust domain, on P-256, and valid now. */
function checkedCa(role: CaRole, der: Buffer, key: Signer | undefined, options: CaOptions): CaCertificate {
  const certificate = new X509Certificate(der);
  const issuer = readIssuer(der);
  const refuse = (reason: string, hint: string) =>
    new Problem('authority_unusable', { reason: `${role}.pem: ${reason}`, hint });

  if (key !== undefined && !key.publicKeySpki.equals(issuer.publicKeySpki)) {
    throw refuse(
      `expected the certificate of ${role}.key, found one of another key`,
      `restore ${role}.pem and ${role}.key from the same backup`,
    );
  }
  if (!certificate.ca || issuer.publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw refuse('expected a CA certificate with an EC key on P-256', `restore ${role}.pem from a backup`);
  }
  const wanted = `URI:${trustDomainUri(options.trustDomain)}`;
  if (certificate.subjectAltName !== wanted) {
    throw refuse(
      `expected a CA for ${wanted}, found ${certificate.subjectAltName ?? 'no trust domain'}`,
      'set the trust domain that this data directory was made with, or use another directory',
    );
  }
  const now = options.now();
  if (now >= issuer.notAfter) {
    throw refuse(
      `ended ${iso(issuer.notAfter)}`,
      role === 'root'
        ? 'start a new authority in another directory'
        : 'take issuing.key and issuing.pem away; with root.key present the next start makes new ones',
    );
  }
  if (now < issuer.notBefore) throw refuse(`begins ${iso(issuer.notBefore)}`, 'set the clock of this machine');
  return { der, ...issuer };
}

function missing(directory: CaDirectory, file: string): Problem {
  return new Problem('authority_unusable', {
    reason: `expected ${file} in ${directory.path}, found the rest of an authority without it`,
    hint: `restore ${file} from a backup, or from where it was taken to`,
  });
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
