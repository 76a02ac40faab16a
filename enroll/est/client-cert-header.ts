/**
 * The client certificate that a TLS-terminating proxy passes on (RFC 9440). Only a connection whose TCP peer is a listed proxy may carry the
 * headers; from any other client they are refused. The proxy proves that its client has the key. Everything else is checked
 * here as for a TLS client certificate, because the proxy may have accepted any certificate.
 */

import { X509Certificate } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { FastifyRequest } from 'fastify';
import { AddressNetworks, type ClientAddresses } from '../../limits/index.ts';
import type { ClientCertificateIssuer } from '../ca/leaf-certificates.ts';
import type { ClientSocket } from './client-certificate.ts';

export interface ClientCertHeader {
  /** What stands for the TLS connection of the client; undefined without a header. Throws Problem for a header that is refused. */
  clientOf(request: FastifyRequest): ClientSocket | undefined;
}

/** RFC 8941, section 3.3.5: a byte sequence; without an empty one, and with padding (RFC 9440, section 2.1). */
const BYTES = ':(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?:';
const CERTIFICATE = new RegExp(`^${BYTES}$`);
const CHAIN = new RegExp(`^${BYTES}(?: *, *${BYTES}){0,7}$`);
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

export function createClientCertHeader(options: {
  /** Networks of the proxies. None: the headers are refused from every client. */
  readonly from: readonly string[];
  readonly addresses: ClientAddresses;
  readonly issuer: Pick<ClientCertificateIssuer, 'hasIssued'>;
  readonly now: () => number;
}): ClientCertHeader {
  const { addresses, issuer, now } = options;
  const proxies = new AddressNetworks(options.from);

  return {
    clientOf: ({ raw, headers }) => {
      const { 'client-cert': header, 'client-cert-chain': chain } = headers;
      if (header === undefined && chain === undefined) return undefined;
      const peer = addresses.directPeer(raw.socket);
      if (peer === undefined || !proxies.includes(peer)) throw new Problem('client_cert_header_refused');
      // The chain is read for its form alone: the CAs of this fleet are known here.
      if (chain !== undefined && !CHAIN.test(String(chain)))
        throw invalid('expected a list of certificates as byte sequences');
      const certificate = readCertificate(header);
      return { ...verify(certificate, issuer, now()), getPeerX509Certificate: () => certificate };
    },
  };
}

/** Two headers of this name are joined by a comma, and refused as one that is not valid. */
function readCertificate(header: string | string[] | undefined): X509Certificate {
  if (typeof header !== 'string' || !CERTIFICATE.test(header))
    throw invalid('expected one certificate as a byte sequence');
  const der = Buffer.from(header.slice(1, -1), 'base64');
  try {
    const certificate = new X509Certificate(der);
    if (certificate.raw.equals(der)) return certificate;
  } catch {
    throw invalid('expected the DER of a certificate');
  }
  throw invalid('expected the DER of a certificate and nothing after it');
}

/** The findings of a TLS handshake, in OpenSSL's words and order: the dates are checked last. */
function verify(
  certificate: X509Certificate,
  issuer: Pick<ClientCertificateIssuer, 'hasIssued'>,
  now: number,
): Pick<ClientSocket, 'authorized' | 'authorizationError'> {
  const refused = (error: string) => ({ authorized: false, authorizationError: error as unknown as Error });
  if (!issuer.hasIssued(certificate)) return refused('UNABLE_TO_GET_ISSUER_CERT_LOCALLY');
  const purposes: readonly string[] | undefined = certificate.keyUsage;
  if (certificate.ca || purposes?.length !== 1 || purposes[0] !== CLIENT_AUTH) return refused('INVALID_PURPOSE');
  if (now < certificate.validFromDate.getTime()) return refused('CERT_NOT_YET_VALID');
  if (now >= certificate.validToDate.getTime()) return refused('CERT_HAS_EXPIRED');
  return { authorized: true, authorizationError: null as unknown as Error };
}

function invalid(reason: string): Problem {
  return new Problem('client_cert_header_invalid', { reason });
}
