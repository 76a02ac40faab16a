/**
 * The enroll server: HTTPS for devices that have no certificate yet and for those that renew theirs. Wires the guard in
 * front of TLS, the callers in front of the routes, and the certificate of the listener to the authority, which replaces
 * it while connections go on.
 */

import { constants, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { CSR_BODY_MAX, EST_MEDIA_TYPES, type Identity, Problem, serverUrl } from '@rollcall/protocol';
import fastify from 'fastify';
import type { Logger } from 'pino';
import { createRateLimit, type RequestLimits, WorkQueue } from '../../limits/index.ts';
import type { RecoveryStore, Registry } from '../../registry/index.ts';
import type { Authority } from '../ca/authority.ts';
import type { ServerCredentials } from '../ca/server-certificates.ts';
import { Counters } from '../counters.ts';
import type { RandomBytes } from '../x509/profile.ts';
import { createClientAuthentication } from './client-authentication.ts';
import type { CertificateHolder } from './client-certificate.ts';
import { limitConnections } from './connection-limiter.ts';
import { createErrorResponses, respondToClientError } from './error-responses.ts';
import { DEFAULT_ENROLL_LIMITS, type EnrollLimits } from './limits.ts';
import { type CertificateValidity, type RenewalWindow, scheduledWindow } from './renewal-windows.ts';
import { requireRouteAuthentication } from './route-authentication.ts';
import { addRoutes } from './routes.ts';

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
  /** Told after each renewal, with the certificate that vouched for it. */
  readonly onRenewed?: (holder: CertificateHolder) => void;
  /** A second key asks to follow a certificate that another has superseded. */
  readonly onForked?: (identity: Identity) => void;
  /** When a certificate is to be renewed; from its dates alone unless somebody knows better. */
  readonly renewalWindow?: (life: CertificateValidity, holder: Identity) => Promise<RenewalWindow>;
  /** What is not given is as in `DEFAULT_ENROLL_LIMITS`. */
  readonly limits?: Partial<EnrollLimits>;
  /** Shared with the other servers of the fleet. */
  readonly throttle: RequestLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly randomBytes?: RandomBytes;
  /** Milliseconds to finish a TLS handshake, to send a request's head, and to send all of it; 10 s. */
  readonly patienceMs?: number;
}

export interface EnrollServer {
  /** `https://host:port` under the first of the authority's hosts. */
  readonly url: string;
  readonly port: number;
  /** What it did since it started, by name, or name and label: `enroll_refused_total/code=token_rejected`. */
  counters(): Readonly<Record<string, number>>;
  /** Takes no more connections, lets requests finish for a moment, then ends what is left. */
  close(): Promise<void>;
}

const PATIENCE_MS = 10_000;
const KEEP_ALIVE_MS = 10_000;
/** A token of 512 characters in base64, and room for the usual rest. */
const HEADERS_MAX = 8_192;
const CLOSE_PATIENCE_MS = 2_000;

/** Throws Problem `address_in_use`, or `config_invalid` for an address that is not this machine's. */
export async function createEnrollServer(options: EnrollServerOptions): Promise<EnrollServer> {
  const { authority, registry, now, log } = options;
  const { issuer, trust, hosts } = authority;
  const { requests, refusalLog } = options.throttle;
  const limits = { ...DEFAULT_ENROLL_LIMITS, ...options.limits };
  const patience = options.patienceMs ?? PATIENCE_MS;
  const counts = new Counters();
  const clocks = { monotonic: () => performance.now(), random: Math.random };

  const server = createServer({
    ...secureContext(authority.serverCertificates.current('enroll')),
    // Everyone may come in, to enroll; who needs a certificate is decided per route.
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    handshakeTimeout: patience,
    headersTimeout: patience,
    requestTimeout: patience,
    connectionsCheckingInterval: patience / 10,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: HEADERS_MAX,
    noDelay: true,
  });
  const guard = limitConnections(server, { ...clocks, limits, log, refusalLog, counts });
  const stopListening = authority.serverCertificates.onChange('enroll', (credentials) => {
    server.setSecureContext(secureContext(credentials));
  });

  const answers = createErrorResponses({ now, log, refusalLog, counts });
  const app = fastify({
    serverFactory: (handler) => requests.attach(server, { handle: handler, refuse: answers.rateLimited }),
    bodyLimit: CSR_BODY_MAX,
    exposeHeadRoutes: false,
    frameworkErrors: answers.error,
    clientErrorHandler: respondToClientError,
    return503OnClosing: false,
  });
  requireRouteAuthentication(app);
  app.setErrorHandler(answers.error);
  app.setNotFoundHandler(answers.notFound);
  // A device's request is the only body that is read.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(EST_MEDIA_TYPES.request, { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  const turns = new WorkQueue({ waiting: limits.waiting });
  const callers = createClientAuthentication({
    peers: { issuer, registry, now },
    enrollments: createRateLimit({
      ...clocks,
      perSecond: limits.enrollmentsPerSecond,
      perSecondPerAddress: limits.enrollmentsPerSecondPerAddress,
    }),
    renewals: createRateLimit({
      ...clocks,
      perSecond: limits.renewalsPerSecond,
      perSecondPerAddress: limits.renewalsPerSecondPerAddress,
    }),
    turns,
    random: clocks.random,
    counts,
    log,
    refusalLog,
  });
  app.addHook('onRequest', (request) => callers.authenticate(request));
  addRoutes(app, {
    authority,
    callers,
    enrollment: { issuer, trust, hosts, registry, log, randomBytes: options.randomBytes ?? randomBytes },
    recovery: { issuer, registry, log },
    renewal: { issuer, registry, onForked: options.onForked, log },
    renewalWindow: options.renewalWindow ?? (async (life) => scheduledWindow(life, 0)),
    now,
    renewed: options.onRenewed ?? (() => {}),
    mqttUrl: options.mqttUrl,
    counts,
  });

  await app.ready();
  // Not by app.listen: for "localhost" it would start a second server, without our guard.
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  return {
    url: serverUrl('https', authority.hosts[0] as string, port),
    port,
    counters: () => ({ ...counts.snapshot(), enroll_waiting: turns.waiting }),
    close: async () => {
      stopListening();
      const impatience = setTimeout(() => server.closeAllConnections(), CLOSE_PATIENCE_MS);
      const closed = new Promise((resolve) => server.close(resolve));
      guard.close();
      server.closeIdleConnections();
      await closed;
      clearTimeout(impatience);
      await app.close();
    },
  };
}

/** All that a new certificate's context needs: `setSecureContext` starts from nothing. */
function secureContext({ key, cert, ca }: ServerCredentials): SecureContextOptions {
  return {
    key,
    cert,
    ca,
    // strongSwan's EST client speaks nothing newer.
    minVersion: 'TLSv1.2',
    // A resumed session skips the checks of its certificate, and nothing here is called often enough to miss it.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

function listen(server: Server, { host, port }: EnrollServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenProblem(error, `${urlHost(host)}:${port}`)));
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

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
