/**
 * The EST server (RFC 7030): HTTPS for devices that enroll or renew. A connection passes the connection limiter, TLS, the
 * request budget and client authentication, in this order, before a route runs. The authority may replace the server
 * certificate while connections are open.
 */

import { constants, randomBytes } from 'node:crypto';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import { CSR_BODY_MAX, EST_MEDIA_TYPES, formatHostPort, type Identity, Problem, serverUrl } from '@rollcall/protocol';
import fastify, { type FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import {
  ClientAddresses,
  createHttpServer,
  createRateLimit,
  type HttpServer,
  type LoadTestExemptions,
  ProxiedConnections,
  type RateLimit,
  type Rates,
  type RefusalLog,
  type RequestLimits,
  WorkQueue,
} from '../../limits/index.ts';
import type { RecoveryStore, Registry } from '../../registry/index.ts';
import type { Authority } from '../ca/authority.ts';
import type { ServerCredentials } from '../ca/server-certificates.ts';
import { Counters } from '../counters.ts';
import { addNodeRoutes, type NodeEnrollment } from '../nodes/node-routes.ts';
import type { RandomBytes } from '../x509/profile.ts';
import { type ClientAuthentication, createClientAuthentication } from './client-authentication.ts';
import { createClientCertHeader } from './client-cert-header.ts';
import type { CertificateHolder } from './client-certificate.ts';
import { ConnectionLimiter } from './connection-limiter.ts';
import { createErrorResponses, type ErrorResponses, respondToClientError } from './error-responses.ts';
import { DEFAULT_ENROLL_LIMITS, type EnrollLimits } from './limits.ts';
import type { RefusedRequest } from './refused-request.ts';
import { type CertificateValidity, type RenewalWindow, scheduledWindow } from './renewal-windows.ts';
import { requireRouteAuthentication } from './route-authentication.ts';
import { addRoutes, type RouteDeps } from './routes.ts';

export interface EnrollServerOptions {
  /** Address to listen on. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly authority: Authority;
  readonly registry: Pick<
    Registry,
    | 'admitEnrollment'
    | 'commitEnrollment'
    | 'admitRenewal'
    | 'commitRenewal'
    | 'certificateStatus'
    | keyof RecoveryStore
  >;
  /** The broker's, `mqtts://host:port`; announced with every certificate. */
  readonly mqttUrl?: string | undefined;
  /** Called after each renewal with the certificate that authenticated it. */
  readonly onRenewed?: (holder: CertificateHolder) => void;
  /** Called when a second key asks to renew a certificate that another one has superseded. */
  readonly onForked?: (identity: Identity) => void;
  /** Called for each request to enroll or renew that was refused, with what its client presented. */
  readonly onRefused?: (refusal: RefusedRequest) => void;
  /** When a certificate has to be renewed; computed from its validity alone unless given. */
  readonly renewalWindow?: (validity: CertificateValidity, holder: Identity) => Promise<RenewalWindow>;
  /** Missing limits are those of `DEFAULT_ENROLL_LIMITS`. */
  readonly limits?: Partial<EnrollLimits>;
  /** Shared with the other servers of the fleet. */
  readonly requestLimits: RequestLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly randomBytes?: RandomBytes;
  /** Networks of proxies whose connections begin with a header of the PROXY protocol; none by default. */
  readonly proxies?: readonly string[];
  /** Networks of proxies that terminate TLS and pass the client certificate on (RFC 9440); none by default. */
  readonly certificateProxies?: readonly string[];
  /** Where several nodes share a store: how others join, and get their certificates. */
  readonly nodes?: NodeEnrollment | undefined;
  /** Milliseconds for a proxy's header and the TLS handshake, for the headers of a request, and for the whole request; 10 s. */
  readonly timeoutMs?: number;
}

export interface EnrollServer {
  /** `https://host:port` under the first of the authority's hosts. */
  readonly url: string;
  readonly port: number;
  /** Counters since the start, by metric name, or name and label: `enroll_refused_total/code=token_rejected`. */
  counters(): Readonly<Record<string, number>>;
  /** Applies the rates among the limits at once; the others stay as they were. */
  applyRates(limits: EnrollLimits): void;
  /** Accepts no more connections, gives requests two seconds to finish, then closes the rest. Idempotent. */
  close(): Promise<void>;
}

const TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 10_000;
/** A token of 512 characters in base64, and room for the usual rest. */
const HEADERS_MAX = 8_192;
const CLOSE_GRACE_MS = 2_000;

/** Throws Problem `address_in_use`, or `config_invalid` for an address that is not this machine's. */
export async function createEnrollServer(options: EnrollServerOptions): Promise<EnrollServer> {
  const { authority, timeoutMs = TIMEOUT_MS } = options;
  const { requests, refusalLog, loadTests } = options.requestLimits;
  const clocks = { monotonic: () => performance.now(), random: Math.random };
  const limits = { ...DEFAULT_ENROLL_LIMITS, ...options.limits };
  const addresses = new ClientAddresses();
  const parts: ServerParts = {
    ...options,
    ...clocks,
    timeoutMs,
    limits,
    addresses,
    refusalLog,
    loadTests,
    counters: new Counters(),
  };

  // 1. Connections: the client's address, limits before TLS, and the certificate of the listener.
  const limiter = new ConnectionLimiter(parts);
  const proxied = new ProxiedConnections({
    from: options.proxies ?? [],
    timeoutMs,
    refused: (reason, address, detail) => limiter.refused(reason, address, detail),
  });
  const server = createLimitedServer(parts, proxied, limiter);
  const stopFollowing = authority.serverCertificates.onChange('enroll', (credentials) => {
    server.setSecureContext(secureContext(credentials));
  });

  // 2. Requests: the budget of the client's network, then client authentication, then the route.
  const workQueue = new WorkQueue({ waiting: limits.waiting });
  const rates = createRates(parts);
  const authentication = createAuthentication(parts, workQueue, rates);
  const { presented } = authentication;
  const responses = createErrorResponses({ ...parts, presented });
  const app = createApplication(responses, (handle) =>
    requests.attach(server, { handle, refuse: responses.rateLimited, addresses }),
  );
  app.addHook('onRequest', (request) => authentication.authenticate(request));
  addRoutes(app, routeDeps(parts, authentication));
  if (options.nodes !== undefined) addNodeRoutes(app, { nodes: options.nodes, authentication, addresses });

  // 3. Listening. Not by app.listen: for "localhost" it would start a second server, without our limits.
  await app.ready();
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    stopFollowing();
    const grace = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
    const closed = new Promise((resolve) => server.close(resolve));
    proxied.close();
    limiter.closeHandshakes();
    server.closeIdleConnections();
    await closed;
    clearTimeout(grace);
    await app.close();
  };
  return {
    url: serverUrl('https', authority.hosts[0] as string, port),
    port,
    counters: () => ({ ...parts.counters.snapshot(), enroll_waiting: workQueue.waiting }),
    applyRates(changed) {
      const of = ratesOf(changed);
      limiter.setRates(of.connections);
      rates.enrollments.setRates(of.enrollments);
      rates.renewals.setRates(of.renewals);
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}

interface ServerParts extends Omit<EnrollServerOptions, 'limits'>, Clocks {
  readonly loadTests: LoadTestExemptions;
  readonly limits: EnrollLimits;
  readonly addresses: ClientAddresses;
  readonly timeoutMs: number;
  readonly refusalLog: RefusalLog;
  readonly counters: Counters;
}

interface Clocks {
  readonly monotonic: () => number;
  readonly random: () => number;
}

/** An HTTPS server that learns the client's address of every TCP connection, and asks the limiter about it, before TLS begins. */
function createLimitedServer(
  { authority, timeoutMs }: ServerParts,
  proxied: ProxiedConnections,
  limiter: ConnectionLimiter,
): HttpServer {
  const server = createHttpServer({
    tls: {
      ...secureContext(authority.serverCertificates.current('enroll')),
      // Enrollment needs no client certificate; each route declares whether it needs one.
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: timeoutMs,
    },
    admit: (socket, admitted) =>
      proxied.accept(socket, (client) => (limiter.admit(socket, client) ? admitted() : socket.destroy())),
    headersTimeout: timeoutMs,
    requestTimeout: timeoutMs,
    connectionsCheckingInterval: timeoutMs / 10,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: HEADERS_MAX,
    noDelay: true,
  });
  server.on('secureConnection', (socket: TLSSocket) => limiter.handshakeFinished(socket));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    limiter.handshakeFailed(error, socket);
  });
  return server;
}

/** `attach` connects the application's request handler to the server. */
function createApplication(responses: ErrorResponses, attach: (handle: RequestListener) => Server): FastifyInstance {
  const app = fastify({
    serverFactory: (handler) => attach(handler),
    bodyLimit: CSR_BODY_MAX,
    exposeHeadRoutes: false,
    frameworkErrors: responses.error,
    clientErrorHandler: respondToClientError,
    return503OnClosing: false,
  });
  requireRouteAuthentication(app);
  app.setErrorHandler(responses.error);
  app.setNotFoundHandler(responses.notFound);
  // A certificate signing request is the only body that is read.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(EST_MEDIA_TYPES.request, { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  return app;
}

interface EnrollRates {
  readonly enrollments: RateLimit;
  readonly renewals: RateLimit;
}

function createRates({ limits, monotonic, random }: ServerParts): EnrollRates {
  const of = ratesOf(limits);
  return {
    enrollments: createRateLimit({ monotonic, random, ...of.enrollments }),
    renewals: createRateLimit({ monotonic, random, ...of.renewals }),
  };
}

/** By what they limit. */
function ratesOf(limits: EnrollLimits): Readonly<Record<'enrollments' | 'renewals' | 'connections', Rates>> {
  return {
    enrollments: {
      perSecond: limits.enrollmentsPerSecond,
      perSecondPerAddress: limits.enrollmentsPerSecondPerAddress,
    },
    renewals: { perSecond: limits.renewalsPerSecond, perSecondPerAddress: limits.renewalsPerSecondPerAddress },
    connections: { perSecond: limits.connectionsPerSecond, perSecondPerAddress: limits.connectionsPerSecondPerAddress },
  };
}

function createAuthentication(parts: ServerParts, workQueue: WorkQueue, rates: EnrollRates): ClientAuthentication {
  const { authority, registry, now } = parts;
  return createClientAuthentication({
    ...parts,
    certificates: { issuer: authority.issuer, registry, now },
    nodes: parts.nodes?.registry,
    clientCertHeader: createClientCertHeader({
      ...parts,
      from: parts.certificateProxies ?? [],
      issuer: authority.issuer,
    }),
    ...rates,
    workQueue,
  });
}

function routeDeps(parts: ServerParts, authentication: ClientAuthentication): RouteDeps {
  const { authority, registry, addresses, log, now, mqttUrl, counters } = parts;
  const { issuer, trust, hosts, status } = authority;
  return {
    trust,
    status,
    authentication,
    addresses,
    enrollment: { issuer, trust, hosts, registry, log, randomBytes: parts.randomBytes ?? randomBytes },
    recovery: { issuer, registry, log },
    renewal: { issuer, registry, onForked: parts.onForked, log },
    renewalWindow: parts.renewalWindow ?? (async (validity) => scheduledWindow(validity, 0)),
    onRenewed: parts.onRenewed ?? (() => {}),
    mqttUrl,
    now,
    counters,
  };
}

/** All settings of the TLS context: `setSecureContext` keeps none of the former ones. */
function secureContext({ key, cert, ca }: ServerCredentials): SecureContextOptions {
  return {
    key,
    cert,
    ca,
    // strongSwan's EST client speaks nothing newer.
    minVersion: 'TLSv1.2',
    // A resumed session skips the check of its certificate, and clients connect too rarely to need resumption.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

function listen(server: Server, { host, port }: EnrollServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenProblem(error, formatHostPort(host, port))));
    server.listen({ host, port }, resolve);
  });
}

function listenProblem(error: NodeJS.ErrnoException, address: string): Error {
  if (error.code === 'EADDRINUSE') {
    return new Problem('address_in_use', { reason: `enroll server: ${address}`, hint: 'choose another --enroll-port' });
  }
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'EACCES' || error.code === 'ENOTFOUND') {
    const reason = `enroll server cannot listen on ${address}: ${error.code}`;
    return new Problem('config_invalid', { reason, cause: error });
  }
  return error;
}
