/**
 * The operators' console: one HTTP application behind two listeners, a unix socket protected by file permissions and HTTPS,
 * on loopback by default. Serves the API and the web pages, and no device.
 */

import { type AddressInfo, isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { canonicalHost, Problem, sendProblem, serverUrl } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { createHttpServer, RequestBudget, type RequestHandlers, type RequestLimits } from '../limits/index.ts';
import type { Registry } from '../registry/index.ts';
import type { Telemetry } from '../telemetry/index.ts';
import { AccessControl, type ListenerKind } from './access.ts';
import { createApplication } from './application.ts';
import type { OidcOptions } from './auth/oidc/oidc-options.ts';
import { OidcSignIn } from './auth/oidc/oidc-sign-in.ts';
import { OperatorCertificates } from './auth/operator-certificates.ts';
import { OperatorSignIn } from './auth/operator-sign-in.ts';
import { openBearerKey } from './bearer-key.ts';
import { type ClientCertificateOptions, type ConsoleTls, ConsoleTlsContext } from './console-tls.ts';
import { Followers } from './followers.ts';
import { IdempotentActs } from './idempotency.ts';
import { HTTP_LIMITS, Listener, listenOnTcp } from './listener.ts';
import type { EventFeed } from './routes/events.ts';
import { addRoutes } from './routes/routes.ts';
import type { SinkControl } from './routes/sinks.ts';
import type { ServerControls } from './server-controls.ts';
import { listenOnUnixSocket } from './unix-socket.ts';
import { addWebPages } from './web-pages.ts';

export interface ConsoleOptions {
  readonly socketPath: string;
  readonly host: string;
  /** Further names under which operators reach it; any other Host header is refused. */
  readonly publicHosts?: readonly string[];
  /** 0 picks a free one. */
  readonly port: number;
  readonly tls: ConsoleTls;
  /** Made at the first start, mode 0600. */
  readonly operatorKeyFile: string;
  /** Made at the first start, mode 0600: reads `/metrics` and nothing else. */
  readonly metricsKeyFile: string;
  /** Of operators who sign in; 8 hours and 7 days unless given. Milliseconds. */
  readonly sessions?: { readonly idle: number; readonly lifetime: number };
  /** Undefined: the TCP listener asks for no client certificate. */
  readonly clientCertificates?: ClientCertificateOptions | undefined;
  /** Undefined: operators do not sign in with an identity provider. */
  readonly oidc?: OidcOptions | undefined;
  readonly registry: Registry;
  readonly telemetry: Telemetry;
  readonly events: EventFeed;
  readonly sinks: SinkControl;
  readonly controls: ServerControls;
  readonly version: string;
  /** `node 26.10.0` */
  readonly runtime: string;
  /** The name of this node among several; `main` where the server is alone. */
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** Shared with the other servers of the fleet. */
  readonly requestLimits: RequestLimits;
}

export interface Console {
  readonly port: number;
  /** `https://host:port`, for a browser. */
  readonly url: string;
  readonly socketPath: string;
  /** For new connections; open ones keep their certificate. */
  replaceTls(tls: ConsoleTls): void;
  /** Reads the CAs and the CRL of operators' certificates again, as happens every five seconds. */
  checkClientCertificates(): void;
  /** A one-time link with which a person adds the first operator; undefined when there is one. Its fragment is a secret. */
  createSetUpLink(): Promise<string | undefined>;
  /** Ends followers with a line that gives the reason, lets running requests finish for two seconds, and frees both addresses. */
  close(): Promise<void>;
}

const SESSIONS = { idle: 8 * 3_600_000, lifetime: 7 * 86_400_000 };
const HANDSHAKE_TIMEOUT_MS = 10_000;
const MIN_TLS_VERSION = 'TLSv1.2';
/** Of all clients of the unix socket together, so that a program in a loop cannot starve the server. */
const LOCAL_REQUESTS_PER_SECOND = 1_000;

/**
 * Opens the console. Problem `private_key_exposed`, `data_directory_unusable`, `data_directory_busy`, `address_in_use`
 * or `config_invalid` when it cannot; then nothing stays open.
 */
export async function createConsole(options: ConsoleOptions): Promise<Console> {
  const { registry, telemetry, controls, version, runtime, node, now, log, requestLimits } = options;
  const { refusalLog } = requestLimits;
  const key = await openBearerKey('operator', options.operatorKeyFile);
  const metricsKey = await openBearerKey('metrics', options.metricsKeyFile);
  const { clientCertificates } = options;
  const certificates =
    clientCertificates === undefined
      ? undefined
      : new OperatorCertificates({ name: clientCertificates.name, registry, now, log, refusalLog });
  const access = new AccessControl({
    certificates,
    key,
    metricsKey,
    registry,
    hosts: [options.host, ...(options.publicHosts ?? [])],
    now,
    log,
    refusalLog,
  });
  const followers = new Followers({ now, registry, log });
  const stopWatching = registry.onOperatorAccessEnded((ended) => followers.end(ended));
  const { idle: idleMs, lifetime: lifetimeMs } = options.sessions ?? SESSIONS;
  const { otherChallenges } = controls;
  const signIn = new OperatorSignIn({ registry, now, log, refusalLog, idleMs, lifetimeMs, otherChallenges });
  const { oidc: provider } = options;
  const oidc =
    provider === undefined ? undefined : new OidcSignIn({ oidc: provider, signIn, registry, now, log, refusalLog });
  const linkUrl = (secret: string) => {
    const { port } = tcp.server.address() as AddressInfo;
    return `${serverUrl('https', browserHost(options), port)}/set-up#${secret}`;
  };
  const acts = new IdempotentActs({ registry, log, now });
  const app = await createApplication({ access, acts, version, now, log, refusalLog });
  addRoutes(app, {
    registry,
    telemetry,
    events: options.events,
    sinks: options.sinks,
    followers,
    controls,
    access,
    signIn,
    certificates,
    oidc,
    linkUrl,
    version,
    runtime,
    node,
    now,
  });
  addWebPages(app);
  await app.ready();

  const handlersOf = (listener: ListenerKind): RequestHandlers => ({
    handle: (request, response) => {
      access.setListener(request, listener);
      app.routing(request, response);
    },
    refuse: (response, retryAfter, address) => {
      const problem = new Problem('rate_limited', { retryAfter });
      refusalLog.write(log, 'debug', address, { code: problem.code, address }, 'operator request refused');
      sendProblem(response, problem, now());
    },
  });
  const localRequests = new RequestBudget({
    perSecondPerAddress: LOCAL_REQUESTS_PER_SECOND,
    monotonic: () => performance.now(),
    random: Math.random,
  });
  const unix = new Listener(localRequests.attach(createHttpServer(HTTP_LIMITS), handlersOf('unix')), log, refusalLog);
  const tlsLimits = { minVersion: MIN_TLS_VERSION, handshakeTimeout: HANDSHAKE_TIMEOUT_MS } as const;
  const clientTls = clientCertificates === undefined ? {} : { requestCert: true, rejectUnauthorized: false };
  const tls = new ConsoleTlsContext(options.tls, clientCertificates, log);
  const tlsServer = createHttpServer({ ...HTTP_LIMITS, tls: { ...tls.context(), ...clientTls, ...tlsLimits } });
  tlsServer.on('secureConnection', (socket: TLSSocket) => certificates?.noteConnection(socket));
  const tcp = new Listener(requestLimits.requests.attach(tlsServer, handlersOf('tcp')), log, refusalLog);
  tcp.server.on('tlsClientError', (error, socket) => {
    const address = socket.remoteAddress ?? 'gone';
    refusalLog.write(log, 'debug', address, { address, reason: error.message }, 'console handshake failed');
    socket.destroy(); // Node leaves a socket whose handshake timed out open
  });

  tls.onChange((context, cause) => {
    tcp.server.setSecureContext({ ...context, minVersion: MIN_TLS_VERSION });
    if (cause === 'client certificates') certificates?.forgetConnections();
  });

  await unix.open((server) => listenOnUnixSocket(server, options.socketPath));
  try {
    await tcp.open((server) => listenOnTcp(server, options.host, options.port));
  } catch (error) {
    stopWatching();
    tls.close();
    await Promise.all([unix.close(), app.close()]);
    throw error;
  }
  const { port } = tcp.server.address() as AddressInfo;
  const url = serverUrl('https', browserHost(options), port);
  log.info({ host: options.host, url, socket: options.socketPath }, 'console listens');

  return {
    port,
    url,
    socketPath: options.socketPath,
    createSetUpLink: async () => {
      if (!(await registry.needsFirstOperator())) return undefined;
      return linkUrl((await registry.createSignInLink(undefined, 'server/console')).secret);
    },
    replaceTls: (next) => tls.replace(next),
    checkClientCertificates: () => tls.check(),
    close: async () => {
      stopWatching();
      tls.close();
      followers.close();
      await Promise.all([unix.close(), tcp.close()]);
      await app.close();
    },
  };
}

/** A host name where there is one: passkeys work under no address. */
function browserHost({ host, publicHosts = [] }: ConsoleOptions): string {
  const isLoopback = ['localhost', '127.0.0.1', '::1'].includes(host);
  if (isLoopback) return 'localhost';
  return publicHosts.find((name) => isIP(name) === 0) ?? publicHosts[0] ?? canonicalHost(host) ?? host;
}
