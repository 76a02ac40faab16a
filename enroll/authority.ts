/**
 * The authority: holds the issuing CA's key, and is the only one that issues. Devices and services get what `profile.ts`
 * says and nothing else; each certificate is read again by `certificate-check.ts` before it leaves. Does not decide who
 * may have one: that is `enrollment.ts`, `renewal.ts` and `services.ts` with the registry.
 */

import { createHash, randomBytes, type X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Identity, identityName, identityUri, isTrustDomain, parseIdentityUri } from '../contract/identity.ts';
import { Problem } from '../contract/problem.ts';
import type { IssuedCertificate, Registry } from '../registry/registry.ts';
import { openCaCertificates } from './ca-certificates.ts';
import { openCaDirectory } from './ca-directory.ts';
import { assertLeaf, type ExpectedLeaf } from './certificate-check.ts';
import { createCrlPublisher } from './crl.ts';
import {
  type Lifetimes,
  leafProfile,
  publicKeySha256,
  type RandomBytes,
  serialText,
  serverSubject,
} from './profile.ts';
import { keepServerCredentials, type ServerCredentials, type ServerName } from './server-credentials.ts';
import { type CertificateContents, writeCertificate } from './x509-writer.ts';

export interface AuthorityOptions {
  /** Where keys and certificates lie; made (0700) when it does not exist. */
  readonly directory: string;
  readonly trustDomain: string;
  /** DNS names and IP addresses of our own servers; at least one. */
  readonly hosts: readonly string[];
  /** Where third parties fetch the revocation list; in certificates as CRL distribution point. */
  readonly crlUrl?: string | undefined;
  readonly lifetimes: Lifetimes;
  readonly registry: Pick<Registry, 'recordServerCertificate' | 'listRevoked' | 'nextCrlNumber'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly randomBytes?: RandomBytes;
}

export interface Authority {
  readonly trustDomain: string;
  readonly hosts: readonly string[];
  /** SHA-256 of the root certificate's DER, lower-case hexadecimal; the pin in bootstrap tokens. */
  readonly rootSha256: string;
  readonly rootPem: string;
  /** The file that holds the root certificate. */
  readonly rootFile: string;
  /** What stands between a leaf and the root: the issuing CA, PEM. */
  readonly chainPem: string;
  /** Root and issuing CA, PEM. */
  readonly trustBundlePem: string;
  /** The same, DER. */
  readonly trustBundle: readonly Buffer[];
  /** Issues for a public key that was checked; records nothing. */
  issue(identity: Identity, publicKeySpki: Buffer): Promise<IssuedCertificate>;
  /** Whether the key is one of the CAs' own. */
  ownsKey(publicKeySha256: string): boolean;
  /** Whether our issuing CA signed it. */
  hasIssued(certificate: X509Certificate): boolean;
  serverCredentials(name: ServerName): ServerCredentials;
  /** Called with each certificate that replaces the current one. Returns the way to unsubscribe. */
  onServerCredentials(name: ServerName, listener: (credentials: ServerCredentials) => void): () => void;
  /** Renews the server certificates that are due; a timer does it by itself. */
  renewServerCredentials(): Promise<void>;
  /** DER of a revocation list that is valid now. */
  crl(): Promise<Buffer>;
  /** Makes a list that holds every revocation committed before this call; overlapping calls share one. */
  refreshCrl(): Promise<void>;
  /** Stops the timer, and resolves when nothing is under way that uses the registry. */
  close(): Promise<void>;
}

const DNS_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/**
 * Opens the authority, or creates it. Throws Problem `private_key_exposed`, `authority_unusable`,
 * `data_directory_unusable`, or `config_invalid` for a trust domain or host that cannot stand in a certificate.
 */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  checkNames(options);
  const { trustDomain, registry, lifetimes, now, log } = options;
  const hosts = [...new Set(options.hosts)];
  const random = options.randomBytes ?? randomBytes;
  const directory = await openCaDirectory(options.directory);
  const { root, issuing } = await openCaCertificates(directory, {
    trustDomain,
    lifetimes,
    now,
    randomBytes: random,
    log,
  });

  const profile = leafProfile({ issuer: issuing, trustDomain, crlUrl: options.crlUrl, lifetimes, randomBytes: random });
  const ownKeys = new Set([publicKeySha256(root.publicKeySpki), publicKeySha256(issuing.publicKeySpki)]);
  const rootPem = pem(root.der);
  const chainPem = pem(issuing.der);
  const trustBundlePem = rootPem + chainPem;

  /** Writes, signs, reads again. */
  const issueLeaf = async (
    contents: CertificateContents,
    expected: Pick<ExpectedLeaf, 'commonName' | 'names' | 'purpose'>,
  ): Promise<IssuedCertificate> => {
    const der = await writeCertificate(contents, issuing.signer);
    const { notBefore, notAfter } = contents;
    const publicKeySpki = Buffer.from(contents.publicKeySpki);
    const serial = serialText(contents.serial);
    assertLeaf(der, { ...expected, publicKeySpki, notBefore, notAfter, serial }, issuing);
    return { serial, der, publicKeySha256: publicKeySha256(publicKeySpki), notBefore, notAfter };
  };

  const credentials = await keepServerCredentials({
    issue: async (name, publicKeySpki) => {
      const contents = profile.server({ hosts, publicKeySpki, now: now() });
      const certificate = await issueLeaf(contents, {
        commonName: serverSubject(hosts),
        names: { hosts },
        purpose: 'serverAuth',
      });
      await registry.recordServerCertificate(name, certificate);
      return certificate;
    },
    chain: (der) => pem(der) + chainPem,
    trustBundle: trustBundlePem,
    now,
    log,
  });
  const { backdateSeconds } = lifetimes;
  const crl = createCrlPublisher({ issuing, registry, backdateSeconds, now, log });

  return {
    trustDomain,
    hosts,
    rootSha256: createHash('sha256').update(root.der).digest('hex'),
    rootPem,
    rootFile: join(directory.path, 'root.pem'),
    chainPem,
    trustBundlePem,
    trustBundle: [root.der, issuing.der],
    issue: async (identity, publicKeySpki) => {
      const uri = identityUri(trustDomain, identity);
      // The type says that it was checked; what others take for a topic or a file name is worth asking twice.
      if (parseIdentityUri(trustDomain, uri) === undefined) {
        throw new Problem('internal', { reason: 'expected a checked identity' });
      }
      const contents = profile.certificate({ identity, publicKeySpki, now: now() });
      return issueLeaf(contents, { commonName: identityName(identity), names: { uri }, purpose: 'clientAuth' });
    },
    ownsKey: (sha256) => ownKeys.has(sha256),
    hasIssued: (certificate) => certificate.verify(issuing.publicKey),
    serverCredentials: (name) => credentials.current(name),
    onServerCredentials: (name, listener) => credentials.listen(name, listener),
    renewServerCredentials: () => credentials.renewDue(),
    crl: () => crl.current(),
    refreshCrl: () => crl.refresh(),
    close: async () => {
      await Promise.all([credentials.close(), crl.close()]);
    },
  };
}

export function pem(der: Uint8Array): string {
  const lines = Buffer.from(der.buffer, der.byteOffset, der.byteLength)
    .toString('base64')
    .replace(/.{1,64}/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`;
}

function checkNames({ trustDomain, hosts }: AuthorityOptions): void {
  if (!isTrustDomain(trustDomain)) {
    throw new Problem('config_invalid', { reason: `expected a trust domain of a-z 0-9 . _ -, found "${trustDomain}"` });
  }
  if (hosts.length === 0)
    throw new Problem('config_invalid', { reason: 'expected a host name or address, found none' });
  for (const host of hosts) {
    if (isIP(host) === 0 && !DNS_NAME.test(host)) {
      throw new Problem('config_invalid', { reason: `expected a DNS name or IP address, found "${host}"` });
    }
  }
}
