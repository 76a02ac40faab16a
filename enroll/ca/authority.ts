/**
 * The authority: holds the issuing CA's key, and is the only one that issues. Devices and services get what `profile.ts`
 * says and nothing else; each certificate is read again by `certificate-check.ts` before it leaves. Which CA signs may
 * change while it runs (`rotation.ts`); everybody who asks sees the CAs of the moment. Does not decide who may have a
 * certificate: that is `enrollment.ts`, `renewal.ts` and `service-certificates.ts` with the registry.
 */

import { createHash, randomBytes, type X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { type Identity, identityName, identityUri, isTrustDomain, Problem, parseIdentityUri } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type {
  GroupProfile,
  IssuedCertificate,
  IssuerStore,
  PublishedStatusStore,
  Registry,
} from '../../registry/index.ts';
import { createStatusPublication, type StatusPublication } from '../status/status-publication.ts';
import { assertLeaf, type ExpectedLeaf, readIssuer } from '../x509/certificate-check.ts';
import { pem } from '../x509/pem.ts';
import {
  createLeafProfiles,
  type Lifetimes,
  OCSP_SUBJECT,
  ocspSignerUri,
  publicKeySha256,
  type RandomBytes,
  type StatusUrls,
  serialText,
  serverSubject,
} from '../x509/profile.ts';
import { type CertificateContents, writeCertificate } from '../x509/x509-writer.ts';
import { openCaCertificates } from './ca-certificates.ts';
import { type CaDirectory, openCaDirectory } from './ca-directory.ts';
import { type CaSet, caId, readCaSet, type SigningCa } from './ca-set.ts';
import type { CredentialFiles } from './credential-files.ts';
import { type KeySettings, type KeyStore, openKeyStore, PLAIN_FILES } from './key-store.ts';
import { createRotation, newIssuer, type Rotation } from './rotation.ts';
import { openServerCredentials, type ServerCredentials, type ServerName } from './server-credentials.ts';
import type { Signer } from './signer.ts';

export interface AuthorityOptions {
  /** Where keys and certificates lie; made (0700) when it does not exist. */
  readonly directory: string;
  readonly trustDomain: string;
  /** DNS names and IP addresses of our own servers; at least one. */
  readonly hosts: readonly string[];
  /** Where third parties ask about a CA's certificates; stands in them. Nowhere unless given. */
  readonly statusUrls?: ((issuerId: string) => StatusUrls) | undefined;
  /** Plain files unless given. */
  readonly keys?: KeySettings | undefined;
  /** Certificates of our own servers that somebody else issues, by server. */
  readonly serverFiles?: Partial<Record<ServerName, CredentialFiles>> | undefined;
  readonly lifetimes: Lifetimes;
  readonly registry: IssuerStore &
    PublishedStatusStore &
    Pick<Registry, 'recordServerCertificate' | 'nextCrlNumber' | 'recordAction'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly randomBytes?: RandomBytes;
}

export interface Authority {
  readonly trustDomain: string;
  readonly hosts: readonly string[];
  /** SHA-256 of the DER of the root above the issuing CA, lower-case hexadecimal; the pin in new bootstrap tokens. */
  readonly rootSha256: string;
  /** Whether a token may pin this root: any that is in the trust bundle. */
  trustsRoot(sha256: string): boolean;
  readonly rootPem: string;
  /** The file that holds the root certificate. */
  readonly rootFile: string;
  /** What stands between a new leaf and the roots that devices may hold: the issuing CA first, PEM. */
  readonly chainPem: string;
  /** Every CA that counts, PEM: the root first, the issuing CA that signs last. */
  readonly trustBundlePem: string;
  /** The same, DER. */
  readonly trustBundle: readonly Buffer[];
  /** What devices are told: the same, and the revocation lists of roots, PEM. */
  readonly deviceBundlePem: string;
  /** Every issuing CA whose certificates count, PEM. */
  readonly issuersPem: string;
  /** The CAs that count now. */
  readonly cas: CaSet;
  readonly rotation: Rotation;
  /** Called when the trust bundle has changed, or the CA that signs. Returns the way to unsubscribe. */
  onTrustChange(listener: () => void | Promise<void>): () => void;
  /** Issues for a public key that was checked; records nothing. */
  issue(identity: Identity, publicKeySpki: Buffer, profile?: GroupProfile): Promise<IssuedCertificate>;
  /** Whether the key is one of the CAs' own. */
  ownsKey(publicKeySha256: string): boolean;
  /** Whether an issuing CA of ours signed it that still counts. */
  hasIssued(certificate: X509Certificate): boolean;
  serverCredentials(name: ServerName): ServerCredentials;
  /** Called with each certificate that replaces the current one. Returns the way to unsubscribe. */
  onServerCredentials(name: ServerName, listener: (credentials: ServerCredentials) => void): () => void;
  /** Why a server goes on with an older certificate than its files hold, by server. */
  serverFaults(): Readonly<Partial<Record<ServerName, string>>>;
  /** Renews the server certificates that are due; a timer does it by itself. */
  renewServerCredentials(): Promise<void>;
  /** Revocation lists, OCSP answers and CA certificates, for third parties. */
  readonly status: StatusPublication;
  /** DER of the revocation list of the CA that signs, valid now. */
  crl(): Promise<Buffer>;
  /** Makes lists that hold every revocation committed before this call; overlapping calls share one. */
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
  const home = await openKeyStore(directory, options.keys ?? PLAIN_FILES);
  const signers = new Map<string, Signer>();
  const opened = new Set<string>();
  const readCas = async (): Promise<CaSet> => {
    await openIssuingKeys(directory, home, signers, opened);
    return readCaSet(await registry.listIssuers(), signers, { directory: directory.path, now: now() });
  };
  const known = await registry.listIssuers();
  // The first two are made and judged from their files; those that come later are the registry's to remember.
  if (known.length <= 2) {
    if (known.length > 0 && (await directory.readCertificate('root')) === undefined) {
      throw new Problem('authority_unusable', {
        reason: `expected root.pem in ${directory.path}, found none, and the registry knows devices that trust it`,
        hint: 'restore ca/ from the same backup as registry.db',
      });
    }
    const first = await openCaCertificates(directory, home, { trustDomain, lifetimes, now, randomBytes: random, log });
    const root = newIssuer('root', first.root.der, undefined, []);
    const issuing = newIssuer('issuing', first.issuing.der, root.id, []);
    await registry.addIssuers([root, issuing], 'server/authority');
    // Taken away and made anew while the server was down.
    const isAnother = known.length === 2 && known.every(({ id }) => id !== issuing.id);
    if (isAnother) await registry.activateIssuer(issuing.id, 'server/authority');
  }
  let desk = createDesk(await readCas());

  /** What issues in the name of the CAs of the moment. */
  function createDesk(cas: CaSet) {
    const { active, roots, issuing, crossCertificates, allCrossCertificates } = cas;
    const trustBundle = [
      ...roots.map(({ der }) => der),
      ...allCrossCertificates,
      ...issuing
        .slice(1)
        .map(({ der }) => der)
        .reverse(),
      active.der,
    ];
    const status = options.statusUrls?.(active.id);
    return {
      cas,
      profile: createLeafProfiles({ issuer: active, trustDomain, status, lifetimes, randomBytes: random }),
      ownKeys: new Set(cas.records.map(({ der }) => publicKeySha256(readIssuer(Buffer.from(der)).publicKeySpki))),
      rootSha256s: new Set(roots.map(({ der }) => sha256(der))),
      chainPem: [active.der, ...crossCertificates].map((der) => pem(der)).join(''),
      trustBundle,
      trustBundlePem: trustBundle.map((der) => pem(der)).join(''),
      issuersPem: issuing.map(({ der }) => pem(der)).join(''),
    };
  }

  /** Writes, signs, reads again. */
  const issueLeaf = async (
    contents: CertificateContents,
    expected: Pick<ExpectedLeaf, 'commonName' | 'names' | 'purpose'>,
    ca: SigningCa = desk.cas.active,
  ): Promise<IssuedCertificate> => {
    const der = await writeCertificate(contents, ca.signer);
    const { notBefore, notAfter } = contents;
    const publicKeySpki = Buffer.from(contents.publicKeySpki);
    const serial = serialText(contents.serial);
    assertLeaf(der, { ...expected, publicKeySpki, notBefore, notAfter, serial }, ca);
    return { serial, der, publicKeySha256: publicKeySha256(publicKeySpki), notBefore, notAfter, issuerId: ca.id };
  };

  const credentials = await openServerCredentials({
    issue: async (name, publicKeySpki) => {
      const { profile, cas } = desk;
      const contents = profile.server({ hosts, publicKeySpki, now: now() });
      const certificate = await issueLeaf(
        contents,
        { commonName: serverSubject(hosts), names: { hosts }, purpose: 'serverAuth' },
        cas.active,
      );
      await registry.recordServerCertificate(name, certificate);
      return certificate;
    },
    chain: (der) => pem(der) + desk.chainPem,
    trustBundle: () => desk.trustBundlePem,
    files: options.serverFiles ?? {},
    now,
    log,
  });

  const listeners = new Listeners(log);
  const changed = async (): Promise<void> => {
    const before = desk;
    desk = createDesk(await readCas());
    if (before.cas.active.id === desk.cas.active.id) credentials.trustChanged();
    else await credentials.reissue();
    // Before anybody is told: the lists are a part of what devices hear.
    await status.caChanged();
    await listeners.tell();
  };
  const rotation = createRotation({
    directory,
    home,
    registry,
    trustDomain,
    lifetimes,
    randomBytes: random,
    now,
    log,
    current: () => desk.cas,
    changed,
  });
  const status = createStatusPublication({
    current: () => desk.cas,
    rootSigner: (id) => rotation.rootSigner(id),
    directory,
    registry,
    issueResponder: async (ca, publicKeySpki) => {
      const profile = createLeafProfiles({
        issuer: ca,
        trustDomain,
        status: undefined,
        lifetimes,
        randomBytes: random,
      });
      const certificate = await issueLeaf(
        profile.ocspSigner({ publicKeySpki, now: now() }),
        { commonName: OCSP_SUBJECT, names: { uri: ocspSignerUri(trustDomain) }, purpose: 'OCSPSigning' },
        ca,
      );
      await registry.recordServerCertificate('ocsp', certificate);
      return certificate;
    },
    rootListsRenewed: () => listeners.tell(),
    urls: options.statusUrls,
    backdateSeconds: lifetimes.backdateSeconds,
    now,
    log,
  });
  await status.start();

  return {
    trustDomain,
    hosts,
    get rootSha256() {
      return sha256(desk.cas.root.der);
    },
    trustsRoot: (pin) => desk.rootSha256s.has(pin),
    get rootPem() {
      return pem(desk.cas.root.der);
    },
    rootFile: join(directory.path, 'root.pem'),
    get chainPem() {
      return desk.chainPem;
    },
    get trustBundlePem() {
      return desk.trustBundlePem;
    },
    get trustBundle() {
      return desk.trustBundle;
    },
    get deviceBundlePem() {
      return desk.trustBundlePem + status.rootCrlsPem();
    },
    get issuersPem() {
      return desk.issuersPem;
    },
    get cas() {
      return desk.cas;
    },
    rotation,
    onTrustChange: (listener) => listeners.add(listener),
    issue: async (identity, publicKeySpki, groupProfile) => {
      const uri = identityUri(trustDomain, identity);
      // The type says that it was checked; what others take for a topic or a file name is worth asking twice.
      if (parseIdentityUri(trustDomain, uri) === undefined) {
        throw new Problem('internal', { reason: 'expected a checked identity' });
      }
      const { profile, cas } = desk;
      const seconds = groupProfile?.lifetimeSeconds;
      const contents = profile.client({ identity, publicKeySpki, seconds, now: now() });
      const expected = { commonName: identityName(identity), names: { uri }, purpose: 'clientAuth' } as const;
      return issueLeaf(contents, expected, cas.active);
    },
    ownsKey: (key) => desk.ownKeys.has(key),
    hasIssued: (certificate) => desk.cas.issuing.some(({ publicKey }) => certificate.verify(publicKey)),
    serverCredentials: (name) => credentials.current(name),
    onServerCredentials: (name, listener) => credentials.onChange(name, listener),
    serverFaults: () => credentials.fileErrors(),
    renewServerCredentials: () => credentials.renewDue(),
    status,
    crl: () => status.crl(),
    refreshCrl: () => status.refresh(),
    close: async () => {
      await Promise.all([credentials.close(), status.close()]);
      home.close();
    },
  };
}

/** Opens the keys that are not open yet, and keeps those of issuing CAs: a root's is opened when it is to sign. */
async function openIssuingKeys(
  directory: CaDirectory,
  home: KeyStore,
  signers: Map<string, Signer>,
  opened: Set<string>,
): Promise<void> {
  for (const name of [...(await directory.names('key')), ...(await directory.names('uri'))]) {
    if (opened.has(name)) continue;
    opened.add(name);
    // A root's key is opened as well, and let go: that others can read it, or no passphrase fits, is to be known now.
    const signer = await home.open(name);
    if (signer !== undefined && name.startsWith('issuing')) signers.set(caId(signer.publicKeySpki), signer);
  }
}

/** Whoever wants to hear of a change; one that fails doesn't keep the others from hearing. */
class Listeners {
  readonly #listeners = new Set<() => void | Promise<void>>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  add(listener: () => void | Promise<void>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async tell(): Promise<void> {
    const told = await Promise.allSettled([...this.#listeners].map(async (listener) => listener()));
    for (const result of told) {
      if (result.status === 'rejected') this.#log.error({ err: result.reason }, 'new trust could not be put in place');
    }
  }
}

function sha256(der: Buffer): string {
  return createHash('sha256').update(der).digest('hex');
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
