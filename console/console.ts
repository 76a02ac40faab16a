/**
 * The operators' console: one HTTP application behind two listeners of its own, a unix socket guarded by file permissions
 * and HTTPS, on loopback by default. Serves no device, and no web page.
 */

import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, isIP } from 'node:net';
import type { Logger } from 'pino';
import { Problem } from '../contract/problem.ts';
import type { Registry } from '../registry/registry.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { AccessControl, type Door } from './access.ts';
import { createApplication } from './application.ts';
import type { Fleet } from './fleet.ts';
import { Followers } from './followers.ts';
import { openOperatorKey } from './operator-key.ts';
import { addRoutes } from './routes.ts';
import { listenOnUnixSocket } from './unix-socket.ts';

export interface ConsoleTls {
  /** PEM. */
  readonly key: string;
  /** PEM, leaf first. */
  readonly cert: string;
}

export interface ConsoleOptions {
  readonly socketPath: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly tls: ConsoleTls;
  /** Made at the first start, mode 0600. */
  readonly operatorKeyFile: string;
  readonly registry: Registry;
  readonly telemetry: Telemetry;
  readonly fleet: Fleet;
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

export interface Console {
  readonly port: number;
  /** `https://host:port`. */
  readonly url: string;
  readonly socketPath: string;
  /** For new connections; those that are open keep what they have. */
  replaceTls(tls: ConsoleTls): void;
  /** Ends followers with a line that says why, lets requests in hand finish for five seconds, and frees both addresses. */
  close(): Promise<void>;
}

const HTTP_LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 5_000,
  keepAliveTimeout: 5_000,
} as const;
const SILENCE_MS = 120_000;
const HANDSHAKE_MS = 10_000;
const CONNECTIONS_AT_MOST = 256; // each door; operators are few
const CLOSE_GRACE_MS = 5_000;
const OLDEST_TLS = 'TLSv1.2';

/**
 * Opens the console. Problem `private_key_exposed`, `data_directory_unusable`, `data_directory_busy`, `address_in_use`
 * or `config_invalid` when it cannot; then nothing stays open.
 */
export async function createConsole(options: ConsoleOptions): Promise<Console> {
  const { registry, telemetry, fleet, version, now, log } = options;
  const key = await openOperatorKey(options.operatorKeyFile);
  const access = new AccessControl({ key, host: options.host, now, log });
  const followers = new Followers({ telemetry, now });
  const app = await createApplication({ access, version, now, log });
  addRoutes(app, { registry, telemetry, followers, fleet, version, now });
  await app.ready();

  const enterBy =
    (door: Door) => (request: Parameters<typeof app.routing>[0], response: Parameters<typeof app.routing>[1]) => {
      access.arrived(request, door);
      app.routing(request, response);
    };
  const unix = guarded(createServer(HTTP_LIMITS, enterBy('unix')), log);
  const tcp = createTlsServer(
    { ...HTTP_LIMITS, ...options.tls, minVersion: OLDEST_TLS, handshakeTimeout: HANDSHAKE_MS },
    enterBy('tcp'),
  );
  guarded(tcp, log);
  tcp.on('tlsClientError', (error, socket) => {
    log.debug({ address: socket.remoteAddress, reason: error.message }, 'console handshake failed');
    socket.destroy(); // Node leaves a socket whose handshake timed out open
  });

  await listenOnUnixSocket(unix, options.socketPath);
  try {
    await listenOnTcp(tcp, options);
  } catch (error) {
    await Promise.all([closeServer(unix), app.close()]);
    throw error;
  }
  const { port } = tcp.address() as AddressInfo;
  const url = `https://${isIP(options.host) === 6 ? `[${options.host}]` : options.host}:${port}`;
  log.info({ url, socket: options.socketPath }, 'console listens');

  return {
    port,
    url,
    socketPath: options.socketPath,
    replaceTls: (tls) => tcp.setSecureContext({ ...tls, minVersion: OLDEST_TLS }),
    close: async () => {
      followers.close();
      await Promise.all([closeServer(unix), closeServer(tcp)]);
      await app.close();
    },
  };
}

function guarded<S extends Server>(server: S, log: Logger): S {
  server.maxConnections = CONNECTIONS_AT_MOST;
  server.setTimeout(SILENCE_MS);
  server.on('error', (error) => log.error({ err: error }, 'console listener failed'));
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    log.debug({ reason: error.code }, 'malformed operator request');
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    else socket.destroy();
  });
  return server;
}

function listenOnTcp(server: Server, { host, port }: ConsoleOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const reason = `console on ${host} port ${port}: ${error.code}`;
      if (error.code === 'EADDRINUSE') reject(new Problem('address_in_use', { reason }));
      else
        reject(new Problem('config_invalid', { reason, hint: 'expected an address of this machine and a free port' }));
    };
    server.once('error', fail);
    server.listen({ host, port }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const grace = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
    server.close(() => {
      clearTimeout(grace);
      resolve();
    });
    server.closeIdleConnections();
  });
}
