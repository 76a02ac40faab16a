/**
 * Authenticates the client of a request as its route declares, before the body is read. The request has passed the budget
 * of its client's network already; the rate limits here are on certificates to be issued. The credential or certificate
 * is available to the route of the same request only.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { type DeviceId, type Identity, nodeUri, Problem } from '@rollcall/protocol';
import type { FastifyRequest } from 'fastify';
import type { ClientAddresses, LoadTest, LoadTestExemptions, RateLimit, WorkQueue } from '../../limits/index.ts';
import type { JoinedNode, NodeStore } from '../../registry/index.ts';
import type { Counters } from '../counters.ts';
import type { ClientCertHeader } from './client-cert-header.ts';
import {
  type CertificateHolder,
  type ClientCertificateDeps,
  type ClientSocket,
  checkClientCertificate,
  type RequiredStatus,
  serialOf,
} from './client-certificate.ts';
import { type EnrollmentCredential, parseCredential } from './credential.ts';
import { routeAuthentication } from './route-authentication.ts';

export interface ClientAuthentication {
  /** The hook of every request. Throws the Problem by which a request is refused. */
  authenticate(request: FastifyRequest): Promise<void>;
  /** The bootstrap token that the client of a `token` route presented. */
  credential(request: FastifyRequest): EnrollmentCredential;
  /** The holder of the client certificate, on a `certificate` or `renewal` route. */
  holder(request: FastifyRequest): CertificateHolder;
  /** The node whose certificate this is, on a `node` route. */
  node(request: FastifyRequest): JoinedNode;
  /** What is known of the client of a refused request. The token is not checked, and the device id is only asked for. */
  presented(request: FastifyRequest): PresentedCredential;
}

export interface PresentedCredential {
  readonly tokenId: string | undefined;
  readonly deviceId: DeviceId | undefined;
  /** The holder of the client certificate, which this fleet issued. */
  readonly holder: Identity | undefined;
  /** The client certificate, of the TLS handshake or forwarded by a proxy. */
  readonly certificate: X509Certificate | undefined;
}

export interface ClientAuthenticationOptions {
  readonly certificates: ClientCertificateDeps;
  /** Undefined where the fleet is one server. */
  readonly nodes?: Pick<NodeStore, 'findNodeByCertificate'> | undefined;
  readonly addresses: ClientAddresses;
  readonly clientCertHeader: ClientCertHeader;
  readonly enrollments: Pick<RateLimit, 'take'>;
  readonly renewals: Pick<RateLimit, 'take'>;
  readonly loadTests: Pick<LoadTestExemptions, 'find'>;
  /** For every request that issues a certificate, which occupies the event loop for some milliseconds. */
  readonly workQueue: WorkQueue;
  /** 0 up to 1; spreads the retries of clients that were refused together. */
  readonly random: () => number;
  readonly counters: Counters;
}

/** The queue is worked off in a second or two. A refused client should not return with the next request. */
const RETRY_OVERLOADED_S = 5;

export function createClientAuthentication(options: ClientAuthenticationOptions): ClientAuthentication {
  const { enrollments, renewals, loadTests, addresses, clientCertHeader } = options;
  const forwarded = new WeakMap<FastifyRequest, ClientSocket>();
  const credentials = new WeakMap<FastifyRequest, EnrollmentCredential>();
  const holders = new WeakMap<FastifyRequest, CertificateHolder>();
  const nodes = new WeakMap<FastifyRequest, JoinedNode>();
  const refusedHolders = new WeakMap<FastifyRequest, Identity>();

  const authenticateToken = async (request: FastifyRequest): Promise<void> => {
    const address = addresses.of(request.raw.socket);
    // A credential from an exempt address is read before the rate is charged: other tokens have the limits of an address there.
    const early = loadTests.find(address) && parseCredential(request.headers.authorization);
    const isRead = early !== undefined && !(early instanceof Problem);
    limitRate(enrollments, address, isRead ? loadTests.find(address, early.token.id) : undefined);
    const credential = early ?? parseCredential(request.headers.authorization);
    if (credential instanceof Problem) throw credential;
    credentials.set(request, credential);
    await waitForTurn(request, options);
  };

  const authenticateCertificate = async (request: FastifyRequest, required: RequiredStatus): Promise<void> => {
    const client = forwarded.get(request) ?? (request.raw.socket as TLSSocket);
    const result = await checkClientCertificate(client, options.certificates, required);
    if (!result.ok) {
      if (result.holder !== undefined) refusedHolders.set(request, result.holder);
      throw result.problem;
    }
    holders.set(request, result.holder);
    if (request.method === 'GET') return;
    // After the check: a client without a certificate of this fleet cannot use up the rate of renewals.
    const address = addresses.of(request.raw.socket);
    limitRate(renewals, address, loadTests.find(address));
    await waitForTurn(request, options);
  };

  /** Only a certificate that this connection proved: nodes reach each other without proxies that end TLS. */
  const authenticateNode = async (request: FastifyRequest): Promise<void> => {
    const socket = request.raw.socket as TLSSocket;
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) throw new Problem('certificate_required', { reason: 'no certificate' });
    const { issuer, now } = options.certificates;
    const isOwn = socket.authorized && now() < certificate.validToDate.getTime() && issuer.hasIssued(certificate);
    const node = isOwn ? await options.nodes?.findNodeByCertificate(serialOf(certificate)) : undefined;
    if (node === undefined || certificate.subjectAltName !== `URI:${nodeUri(issuer.trustDomain, node.name)}`) {
      throw new Problem('certificate_rejected', { reason: 'expected the certificate of a node of this fleet' });
    }
    nodes.set(request, node);
    limitRate(renewals, addresses.of(request.raw.socket), undefined);
    await waitForTurn(request, options);
  };

  return {
    authenticate: async (request) => {
      const client = clientCertHeader.clientOf(request);
      if (client !== undefined) forwarded.set(request, client);
      switch (routeAuthentication(request)) {
        case 'public':
        case undefined: // no such route; the router answers 404
          return;
        case 'token':
          return authenticateToken(request);
        case 'certificate':
          return authenticateCertificate(request, 'good');
        case 'renewal':
          return authenticateCertificate(request, 'renewable');
        case 'node':
          return authenticateNode(request);
      }
    },
    credential: (request) => expectPresented(credentials, request),
    holder: (request) => expectPresented(holders, request),
    node: (request) => expectPresented(nodes, request),
    presented: (request) => {
      const { token, deviceId } = credentials.get(request) ?? {};
      return {
        tokenId: token?.id,
        deviceId,
        holder: holders.get(request)?.identity ?? refusedHolders.get(request),
        // A test may inject a request without a TLS connection.
        certificate: (forwarded.get(request) ?? (request.raw.socket as Partial<TLSSocket>)).getPeerX509Certificate?.(),
      };
    },
  };
}

async function waitForTurn(
  { raw: { socket } }: FastifyRequest,
  { workQueue, counters, random }: ClientAuthenticationOptions,
): Promise<void> {
  const result = await workQueue.enter(() => socket.destroyed);
  if (result === 'admitted') return;
  if (result === 'cancelled') {
    counters.add('enroll_waiting_abandoned_total');
    throw new Problem('request_invalid', { reason: 'the client closed the connection while it waited' });
  }
  counters.add('enroll_overloaded_total');
  const retryAfter = Math.ceil(RETRY_OVERLOADED_S * (1 + random()));
  throw new Problem('rate_limited', { retryAfter, reason: 'too many requests are waiting' });
}

function limitRate(limit: Pick<RateLimit, 'take'>, address: string, loadTest: LoadTest | undefined): void {
  const retryAfter = limit.take(address, loadTest);
  if (retryAfter > 0) throw new Problem('rate_limited', { retryAfter });
}

function expectPresented<Presented>(all: WeakMap<FastifyRequest, Presented>, request: FastifyRequest): Presented {
  const presented = all.get(request);
  if (presented !== undefined) return presented;
  throw new Problem('internal', { reason: 'a route reads what its declared authentication does not require' });
}
