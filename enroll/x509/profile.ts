/**
 * The contents of every certificate that the fleet's CAs issue. Only the public key comes from a request; names, validity
 * and extensions are set here. Signs nothing.
 */

import { createHash, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { type Identity, identityName, identityUri, nodeUri, Problem } from '@rollcall/protocol';
import { type Der, encodeDer, encoded } from './der-writer.ts';
import {
  type AlternativeName,
  alternativeNames,
  authorityInfoAccess,
  authorityKeyIdentifier,
  type CertificateContents,
  caBasicConstraints,
  commonName,
  crlDistributionPoint,
  extendedKeyUsage,
  keyUsage,
  leafBasicConstraints,
  OID,
  ocspNoCheck,
  subjectKeyIdentifier,
} from './x509-writer.ts';

export interface Lifetimes {
  /** Devices and services, seconds. A certificate is valid for nine tenths of it to all of it. */
  readonly deviceSeconds: number;
  readonly serverSeconds: number;
  readonly issuingSeconds: number;
  readonly rootSeconds: number;
  /** How long before now notBefore is, because devices often start with a slow clock. */
  readonly backdateSeconds: number;
}

export type RandomBytes = (size: number) => Buffer;

/** The random fraction at the end of a validity: a fleet that enrolled in one minute must not renew in one. */
const LIFETIME_JITTER = 0.1;

/** Random bytes in a serial number; CA/Browser Forum asks for 64 bits, RFC 5280 allows 20 bytes in all. */
const SERIAL_RANDOM_BYTES = 16;
/** First byte of every serial: makes it positive and 17 bytes long, so that its hexadecimal form has one spelling. */
const SERIAL_PREFIX = 0x40;

/** The fields of a CA certificate that certificates below it repeat or depend on. */
export interface CertificateIssuer {
  /** DER of its subject Name. */
  readonly subject: Uint8Array;
  readonly publicKeySpki: Uint8Array;
  /** As in its own certificate. */
  readonly keyIdentifier: Uint8Array;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** The URLs at which third parties check the certificates of an issuing CA. */
export interface StatusUrls {
  readonly crl: string;
  /** Both or none: the status server serves both. */
  readonly access?: { readonly ocsp: string; readonly caIssuers: string } | undefined;
}

export interface LeafProfiles {
  client(order: {
    readonly identity: Identity;
    readonly publicKeySpki: Buffer;
    /** In place of {@link Lifetimes.deviceSeconds}. */
    readonly seconds?: number | undefined;
    readonly now: number;
  }): CertificateContents;
  server(order: {
    readonly hosts: readonly string[];
    readonly publicKeySpki: Buffer;
    readonly now: number;
  }): CertificateContents;
  /** A node of the fleet, as a client of other nodes; valid as long as a server certificate. */
  node(order: { readonly name: string; readonly publicKeySpki: Buffer; readonly now: number }): CertificateContents;
  /** An OCSP responder of the CA (RFC 6960, section 4.2.2.2), valid for a day. */
  ocspSigner(order: { readonly publicKeySpki: Buffer; readonly now: number }): CertificateContents;
}

export interface LeafProfileOptions {
  readonly issuer: CertificateIssuer;
  readonly trustDomain: string;
  readonly status: StatusUrls | undefined;
  readonly lifetimes: Lifetimes;
  readonly randomBytes: RandomBytes;
}

/** The profiles of leaf certificates: devices and services, this server's listeners, OCSP responders. */
export function createLeafProfiles(options: LeafProfileOptions): LeafProfiles {
  const { issuer, trustDomain, status, lifetimes, randomBytes } = options;
  const fromIssuer = [
    authorityKeyIdentifier(issuer.keyIdentifier),
    ...(status === undefined ? [] : [crlDistributionPoint(status.crl)]),
    ...(status?.access === undefined ? [] : [authorityInfoAccess(status.access)]),
  ];
  // The same bytes in every certificate, so they are encoded once.
  const clientExtensions = [...leafExtensions(OID.clientAuth), ...fromIssuer].map(preEncoded);
  const serverExtensions = [...leafExtensions(OID.serverAuth), ...fromIssuer].map(preEncoded);

  return {
    client: ({ identity, publicKeySpki, now, seconds = lifetimes.deviceSeconds }) =>
      leafContents(options, {
        subject: identityName(identity),
        names: [{ kind: 'uri', value: identityUri(trustDomain, identity) }],
        extensions: clientExtensions,
        publicKeySpki,
        seconds: seconds * (1 - LIFETIME_JITTER * (randomBytes(4).readUInt32BE() / 2 ** 32)),
        now,
      }),
    server: ({ hosts, publicKeySpki, now }) =>
      leafContents(options, {
        subject: serverSubject(hosts),
        names: hosts.map(hostName),
        extensions: serverExtensions,
        publicKeySpki,
        seconds: lifetimes.serverSeconds,
        now,
      }),
    node: ({ name, publicKeySpki, now }) =>
      leafContents(options, {
        subject: name,
        names: [{ kind: 'uri', value: nodeUri(trustDomain, name) }],
        extensions: clientExtensions,
        publicKeySpki,
        seconds: lifetimes.serverSeconds,
        now,
      }),
    ocspSigner: ({ publicKeySpki, now }) =>
      leafContents(options, {
        subject: OCSP_SUBJECT,
        names: [{ kind: 'uri', value: ocspSignerUri(trustDomain) }],
        extensions: [...leafExtensions(OID.ocspSigning), authorityKeyIdentifier(issuer.keyIdentifier), ocspNoCheck()],
        publicKeySpki,
        seconds: OCSP_SIGNER_SECONDS,
        now,
      }),
  };
}

function leafExtensions(purpose: string): readonly Der[] {
  return [leafBasicConstraints(), keyUsage(['digitalSignature']), extendedKeyUsage(purpose)];
}

function leafContents(
  { issuer, lifetimes, randomBytes }: LeafProfileOptions,
  leaf: {
    readonly subject: string;
    readonly names: readonly AlternativeName[];
    readonly extensions: readonly Der[];
    readonly publicKeySpki: Buffer;
    readonly seconds: number;
    readonly now: number;
  },
): CertificateContents {
  return {
    serial: newSerial(randomBytes),
    issuer: issuer.subject,
    subject: commonName(leaf.subject),
    ...validity({ now: leaf.now, seconds: leaf.seconds, backdateSeconds: lifetimes.backdateSeconds, within: issuer }),
    publicKeySpki: leaf.publicKeySpki,
    extensions: [
      ...leaf.extensions,
      subjectKeyIdentifier(keyIdentifier(leaf.publicKeySpki)),
      alternativeNames(leaf.names),
    ],
  };
}

export const OCSP_SUBJECT = 'rollcall OCSP';
/** It cannot be revoked, so its validity is short. */
const OCSP_SIGNER_SECONDS = 24 * 3600;

/** A name that no device or service can have. */
export function ocspSignerUri(trustDomain: string): string {
  return `${trustDomainUri(trustDomain)}/server/ocsp`;
}

/** A CA certificate; self-signed without an issuer. Its URI name is the trust domain (SPIFFE X.509-SVID, section 4.2). */
export function caContents(options: {
  readonly role: 'root' | 'issuing';
  readonly issuer: CertificateIssuer | undefined;
  readonly trustDomain: string;
  readonly publicKeySpki: Buffer;
  readonly lifetimes: Lifetimes;
  readonly now: number;
  readonly randomBytes: RandomBytes;
}): CertificateContents {
  const { role, issuer, publicKeySpki, lifetimes } = options;
  const keyId = keyIdentifier(publicKeySpki);
  // The CAs of two fleets never share a name, because clients that trust both look CAs up by name.
  const subject = commonName(`Rollcall ${role} CA ${keyId.toString('hex', 0, 4)}`);
  return {
    serial: newSerial(options.randomBytes),
    issuer: issuer?.subject ?? encodeDer(subject),
    subject,
    ...validity({
      now: options.now,
      seconds: role === 'root' ? lifetimes.rootSeconds : lifetimes.issuingSeconds,
      backdateSeconds: lifetimes.backdateSeconds,
      within: issuer,
    }),
    publicKeySpki,
    extensions: [
      caBasicConstraints(role === 'root' ? undefined : 0),
      keyUsage(['keyCertSign', 'cRLSign']),
      subjectKeyIdentifier(keyId),
      ...(issuer === undefined ? [] : [authorityKeyIdentifier(issuer.keyIdentifier)]),
      alternativeNames([{ kind: 'uri', value: trustDomainUri(options.trustDomain) }]),
    ],
  };
}

/** A cross-certificate (RFC 5280, section 3.2): name and key of one root, signed by another root that is trusted already. */
export function crossCertificateContents(options: {
  readonly root: CertificateIssuer;
  readonly by: CertificateIssuer;
  readonly backdateSeconds: number;
  readonly now: number;
  readonly randomBytes: RandomBytes;
}): CertificateContents {
  const { root, by, now } = options;
  return {
    serial: newSerial(options.randomBytes),
    issuer: by.subject,
    subject: encoded(root.subject),
    ...validity({ now, seconds: (root.notAfter - now) / 1000, backdateSeconds: options.backdateSeconds, within: by }),
    publicKeySpki: root.publicKeySpki,
    extensions: [
      caBasicConstraints(undefined),
      keyUsage(['keyCertSign', 'cRLSign']),
      subjectKeyIdentifier(root.keyIdentifier),
      authorityKeyIdentifier(by.keyIdentifier),
    ],
  };
}

export function trustDomainUri(trustDomain: string): string {
  return `spiffe://${trustDomain}`;
}

/** Lower-case hexadecimal without leading zeros, as the registry stores it. */
export function serialText(serial: Uint8Array): string {
  return Buffer.from(serial)
    .toString('hex')
    .replace(/^0+(?=.)/, '');
}

/** SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal. */
export function publicKeySha256(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('hex');
}

export function exportSpki(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}

/** RFC 7093, section 2, method 4, cut to the usual 20 bytes. */
export function keyIdentifier(spki: Uint8Array): Buffer {
  return createHash('sha256').update(spki).digest().subarray(0, 20);
}

/** Whole seconds, within the issuer's own validity. */
function validity(options: {
  readonly now: number;
  readonly seconds: number;
  readonly backdateSeconds: number;
  readonly within: Pick<CertificateIssuer, 'notBefore' | 'notAfter'> | undefined;
}): { notBefore: number; notAfter: number } {
  const now = Math.floor(options.now / 1000) * 1000;
  const notBefore = now - options.backdateSeconds * 1000;
  const notAfter = now + Math.floor(options.seconds) * 1000;
  const { within } = options;
  if (within === undefined) return { notBefore, notAfter };
  if (within.notAfter <= options.now) {
    throw new Problem('unavailable', {
      reason: `expected a CA that is valid now, found one that ended ${new Date(within.notAfter).toISOString()}`,
    });
  }
  return { notBefore: Math.max(notBefore, within.notBefore), notAfter: Math.min(notAfter, within.notAfter) };
}

function newSerial(randomBytes: RandomBytes): Buffer {
  return Buffer.concat([Buffer.of(SERIAL_PREFIX), randomBytes(SERIAL_RANDOM_BYTES)]);
}

function preEncoded(extension: Der): Der {
  return encoded(encodeDer(extension));
}

/** A common name has at most 64 characters (RFC 5280, appendix A.1); clients read the alternative names instead. */
export function serverSubject(hosts: readonly string[]): string {
  return hosts.find((host) => host.length <= 64) ?? 'rollcall';
}

function hostName(host: string): AlternativeName {
  const family = isIP(host);
  if (family === 0) return { kind: 'dns', value: host };
  return { kind: 'ip', value: family === 4 ? Buffer.from(host.split('.').map(Number)) : ipv6Bytes(host) };
}

function ipv6Bytes(address: string): Buffer {
  // URL writes an IPv6 address in its canonical form: lower case, no embedded IPv4, at most one "::".
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = '', tail = ''] = canonical.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === '' ? [] : tail.split(':');
  const groups = [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after];
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex');
}
