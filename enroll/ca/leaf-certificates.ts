/**
 * Issues leaf certificates with the active issuing CA: to devices and services, to this server's listeners, and to OCSP
 * responders. Contents come from `x509/profile.ts`; `x509/certificate-check.ts` reads every certificate again before it
 * is returned. Who may have a certificate is decided in `est/` and the registry.
 */

import type { X509Certificate } from 'node:crypto';
import { type Identity, identityName, identityUri, nodeUri, Problem, parseIdentityUri } from '@rollcall/protocol';
import { certificateName, type GroupProfile, type IssuedCertificate, type Registry } from '../../registry/index.ts';
import { assertLeaf, type ExpectedLeaf, readIssuer } from '../x509/certificate-check.ts';
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
import { type CaSet, derivedFrom, type SigningCa } from './ca-set.ts';
import type { ServerName } from './server-certificates.ts';

/** Certificates of devices and services. */
export interface ClientCertificateIssuer {
  readonly trustDomain: string;
  /** Issues for a public key that was checked. The caller records the certificate. */
  issue(identity: Identity, publicKeySpki: Buffer, profile?: GroupProfile): Promise<IssuedCertificate>;
  /** Whether the key belongs to one of the CAs. */
  ownsKey(publicKeySha256: string): boolean;
  /** Whether an issuing CA of this fleet that is not retired signed the certificate. */
  hasIssued(certificate: X509Certificate): boolean;
}

export interface LeafCertificates {
  readonly clients: ClientCertificateIssuer;
  /** Issues and records. */
  issueServerCertificate(name: ServerName, publicKeySpki: Buffer): Promise<IssuedCertificate>;
  /** The same for a listener of another node. */
  issueServerCertificateFor(name: string, hosts: readonly string[], publicKeySpki: Buffer): Promise<IssuedCertificate>;
  /** Of a node itself. `isRecorded`: here; otherwise the caller records it. */
  issueNodeCertificate(
    name: string,
    publicKeySpki: Buffer,
    order: { readonly isRecorded: boolean },
  ): Promise<IssuedCertificate>;
  /** Issues and records the certificate of an OCSP responder of this CA. */
  issueOcspCertificate(ca: SigningCa, publicKeySpki: Buffer): Promise<IssuedCertificate>;
}

export function createLeafCertificates(options: {
  readonly cas: () => CaSet;
  readonly trustDomain: string;
  readonly hosts: readonly string[];
  readonly statusUrls: ((issuerId: string) => StatusUrls) | undefined;
  readonly lifetimes: Lifetimes;
  readonly registry: Pick<Registry, 'recordServerCertificate'>;
  readonly randomBytes: RandomBytes;
  readonly now: () => number;
}): LeafCertificates {
  const { cas, trustDomain, hosts, lifetimes, registry, randomBytes, now } = options;
  const profilesOf = (issuer: SigningCa, status: StatusUrls | undefined) =>
    createLeafProfiles({ issuer, trustDomain, status, lifetimes, randomBytes });
  const active = derivedFrom(cas, ({ active: ca }) => ({ ca, profiles: profilesOf(ca, options.statusUrls?.(ca.id)) }));
  const forServers = derivedFrom(cas, ({ forServers: ca }) => ({
    ca,
    profiles: profilesOf(ca, options.statusUrls?.(ca.id)),
  }));
  const caKeys = derivedFrom(
    cas,
    ({ records }) => new Set(records.map(({ der }) => publicKeySha256(readIssuer(Buffer.from(der)).publicKeySpki))),
  );

  const issueServer = async (
    { ca, profiles }: ReturnType<typeof active>,
    name: string,
    forHosts: readonly string[],
    publicKeySpki: Buffer,
  ) => {
    const names = { hosts: forHosts };
    const expected = { commonName: serverSubject(forHosts), names, purpose: 'serverAuth' } as const;
    const certificate = await issueLeaf(profiles.server({ ...names, publicKeySpki, now: now() }), expected, ca);
    await registry.recordServerCertificate(name, certificate);
    return certificate;
  };
  return {
    clients: {
      trustDomain,
      issue: async (identity, publicKeySpki, profile) => {
        const uri = identityUri(trustDomain, identity);
        // The type says that the name was checked. Other programs use it as a topic or file name, so it is checked again.
        if (parseIdentityUri(trustDomain, uri) === undefined) {
          throw new Problem('internal', { reason: 'expected a checked identity' });
        }
        const { ca, profiles } = active();
        const contents = profiles.client({ identity, publicKeySpki, seconds: profile?.lifetimeSeconds, now: now() });
        return issueLeaf(contents, { commonName: identityName(identity), names: { uri }, purpose: 'clientAuth' }, ca);
      },
      ownsKey: (key) => caKeys().has(key),
      hasIssued: (certificate) => cas().issuing.some(({ publicKey }) => certificate.verify(publicKey)),
    },

    issueServerCertificate: (name, publicKeySpki) => issueServer(forServers(), name, hosts, publicKeySpki),
    issueServerCertificateFor: (...order) => issueServer(active(), ...order),

    issueNodeCertificate: async (name, publicKeySpki, { isRecorded }) => {
      const { ca, profiles } = active();
      const names = { uri: nodeUri(trustDomain, name) };
      const contents = profiles.node({ name, publicKeySpki, now: now() });
      const certificate = await issueLeaf(contents, { commonName: name, names, purpose: 'clientAuth' }, ca);
      if (isRecorded) await registry.recordServerCertificate(certificateName(name), certificate);
      return certificate;
    },

    issueOcspCertificate: async (ca, publicKeySpki) => {
      const contents = profilesOf(ca, undefined).ocspSigner({ publicKeySpki, now: now() });
      const names = { uri: ocspSignerUri(trustDomain) };
      const certificate = await issueLeaf(contents, { commonName: OCSP_SUBJECT, names, purpose: 'OCSPSigning' }, ca);
      await registry.recordServerCertificate('ocsp', certificate);
      return certificate;
    },
  };
}

/** Signs, and checks the result against the order. */
async function issueLeaf(
  contents: CertificateContents,
  expected: Pick<ExpectedLeaf, 'commonName' | 'names' | 'purpose'>,
  ca: SigningCa,
): Promise<IssuedCertificate> {
  const der = await writeCertificate(contents, ca.signer);
  const { notBefore, notAfter } = contents;
  const publicKeySpki = Buffer.from(contents.publicKeySpki);
  const serial = serialText(contents.serial);
  assertLeaf(der, { ...expected, publicKeySpki, notBefore, notAfter, serial }, ca);
  return { serial, der, publicKeySha256: publicKeySha256(publicKeySpki), notBefore, notAfter, issuerId: ca.id };
}
