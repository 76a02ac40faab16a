/**
 * TLS to a server of the fleet, and the proof that it is one: a chain from its certificate to a root this device trusts,
 * for the host asked for. OpenSSL judges it, by the system's clock. Where that clock is known to be wrong, OpenSSL can't be
 * told another time; then the same is judged here, by the time that the device knows, or without any dates.
 */

import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { type ConnectionOptions, checkServerIdentity, connect, type PeerCertificate, type TLSSocket } from 'node:tls';
import { parseDecimal } from '../contract/decimal.ts';
import { localhostLookup } from '../contract/localhost.ts';
import { hostOf } from '../contract/server-urls.ts';
import { DeviceError } from './device-error.ts';
import { certificatesIn, isIssuedBy } from './issued-chain.ts';
import { type KeyProvider, pemKeys } from './key-provider.ts';

/**
 * By which time a server's certificates are judged: `system`, the system's clock; a number, milliseconds since 1970, in
 * its place; `undated`, by none: good for one thing only, to ask such a server for the time.
 */
export type DatesJudgedBy = 'system' | 'undated' | number;

export interface ServerTrust {
  /** PEM of the roots trusted, one or more. */
  readonly rootsPem: string;
  readonly dates: DatesJudgedBy;
}

export interface ClientCredential {
  /** PEM, leaf first. */
  readonly certificatePem: string;
  /** PEM, or the name that `keys` has for it. */
  readonly keyPem: string;
  readonly keys?: KeyProvider | undefined;
}

export interface TlsOrder {
  /** `https://host:port` or `mqtts://host:port`. */
  readonly url: string;
  readonly defaultPort: number;
  /** `unverified`: any server at all. Nothing secret may be sent to it. */
  readonly trust: ServerTrust | 'unverified';
  readonly credential?: ClientCredential | undefined;
  readonly protocols?: readonly string[];
}

/** What OpenSSL says of a certificate whose time is not now. */
const DATE_ERRORS: ReadonlySet<string> = new Set(['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED']);
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
/** Leaf, issuing CA, a cross certificate, and one in between. */
const DEPTH_MAX = 4;

/** Nothing may be written before `secureConnect`, and only if {@link disproved} finds nothing then. */
export function openTls({ url, defaultPort, trust, credential, protocols }: TlsOrder): TLSSocket {
  const { port } = new URL(url);
  const host = hostOf(url);
  const options: ConnectionOptions = {
    host,
    port: parseDecimal(port, 0, 65_535) ?? defaultPort,
    ...localhostLookup(host),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: trust !== 'unverified' && trust.dates === 'system',
  };
  if (isIP(host) === 0) options.servername = host;
  if (trust !== 'unverified') options.ca = trust.rootsPem;
  if (credential !== undefined) {
    options.cert = credential.certificatePem;
    Object.assign(options, (credential.keys ?? pemKeys).tls(credential.keyPem));
  }
  if (protocols !== undefined) options.ALPNProtocols = [...protocols];
  const socket = connect(options);
  socket.setNoDelay(true);
  return socket;
}

/** At `secureConnect`: why this server is not to be trusted, or undefined if it is. */
export function disproved(socket: TLSSocket, { url, trust }: Pick<TlsOrder, 'url' | 'trust'>): DeviceError | undefined {
  if (trust === 'unverified') return undefined;
  if (trust.dates === 'system') return socket.authorized ? undefined : untrusted('not authorized');
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) return untrusted('expected a certificate');
  const identityError = checkServerIdentity(hostOf(url), socket.getPeerCertificate() as PeerCertificate);
  if (identityError !== undefined) return untrusted('ERR_TLS_CERT_ALTNAME_INVALID');
  // Devices of the fleet have certificates under the same root, and are no servers.
  if (leaf.ca || leaf.keyUsage?.includes(SERVER_AUTH) !== true) return untrusted('expected a server certificate');
  const chain = chainTo(leaf, certificatesIn(trust.rootsPem));
  if (chain === undefined) return untrusted('expected a chain to the root that this device trusts');
  if (trust.dates === 'undated') return undefined;
  return chain.every((certificate) => isWithin(certificate, trust.dates as number)) ? undefined : untrusted('dates');
}

/** Whether a handshake failed for the dates of a certificate, which a wrong clock does as well. */
export function isDateError(error: NodeJS.ErrnoException): boolean {
  return DATE_ERRORS.has(error.code ?? '');
}

/** The leaf and those above it, with the root as the last; undefined if they don't lead to one of `roots`. */
function chainTo(leaf: X509Certificate, roots: readonly X509Certificate[]): readonly X509Certificate[] | undefined {
  const chain = [leaf];
  for (let current = leaf; chain.length <= DEPTH_MAX; ) {
    const root = roots.find((candidate) => isIssuedBy(current, candidate));
    if (root !== undefined) return [...chain, root];
    const issuer = current.issuerCertificate;
    if (issuer === undefined || issuer.fingerprint256 === current.fingerprint256) return undefined;
    if (!isIssuedBy(current, issuer)) return undefined;
    chain.push(issuer);
    current = issuer;
  }
  return undefined;
}

/** Whether a certificate is valid at `time`, milliseconds since 1970. */
export function isWithin(certificate: X509Certificate, time: number): boolean {
  return Date.parse(certificate.validFrom) <= time && time <= Date.parse(certificate.validTo);
}

function untrusted(reason: string): DeviceError {
  return new DeviceError('server_untrusted', { reason });
}
