/**
 * Accepts TCP connections, learns the client's address, applies the connection limiter, and performs the TLS handshake. Every client is asked for its
 * certificate; the connection authorizer judges it. TLS sessions are never resumed, and no OCSP response is stapled
 * (docs/decisions/0018-no-ocsp-stapling.md).
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { constants } from 'node:crypto';
import tls from 'node:tls';
import type { Logger } from 'pino';
import type { ProxiedConnections } from '../../limits/index.ts';
import type { ConnectionAuthorizer } from '../access/connection-authorizer.ts';
import type { ConnectionRefusals } from '../access/connection-refusals.ts';
import { clientTrust } from './client-trust.ts';
import type { ConnectionLimiter } from './connection-limiter.ts';
import type { ConnectionSlot } from './connection-slot.ts';
import { type ListeningSockets, openListeningSockets } from './listening-sockets.ts';
import type { WebSocketUpgrade } from './web-socket-upgrade.ts';

/** PEM texts. */
export interface BrokerTls {
  readonly key: string | Buffer;
  /** The server's chain, leaf first. */
  readonly cert: string | Buffer;
  /** Root and issuing CA: the trust anchors of client chains. */
  readonly ca: string | Buffer;
}

export interface TlsListenerOptions {
  readonly host: string;
  readonly port: number;
  /** Another node of this process listens on the port. */
  readonly isJoining?: boolean | undefined;
  readonly tls: BrokerTls;
  /** Milliseconds for the TLS handshake alone; the limiter's deadline includes CONNECT. */
  readonly handshakeTimeout: number;
  /** What clients speak over TLS; with `both` a client that offers no protocol (ALPN, RFC 7301) speaks MQTT. */
  readonly speaks: 'mqtt' | 'web socket' | 'both';
  readonly webSocket: WebSocketUpgrade | undefined;
  readonly proxied: ProxiedConnections;
  readonly limiter: ConnectionLimiter;
  readonly authorizer: ConnectionAuthorizer;
  readonly refusals: ConnectionRefusals;
  readonly log: Logger;
}

export interface TlsListener extends ListeningSockets {
  /** Applies to new handshakes. */
  replaceTls(tls: BrokerTls): void;
}

/**
 * Eight new handshakes take about 10 ms of one turn of the event loop. While other work makes turns ten times as long, the
 * listener still accepts 80 connections per second.
 */
const ACCEPTED_PER_TURN = 8;

const MQTT = 'mqtt';
const HTTP = 'http/1.1';
const PROTOCOLS = { mqtt: [MQTT], 'web socket': [HTTP], both: [MQTT, HTTP] } as const;

/** Throws Problem `address_in_use`. */
export async function openTlsListener(options: TlsListenerOptions): Promise<TlsListener> {
  const { host, port, isJoining, proxied, limiter, log } = options;
  // Node runs the events of a TLS handshake in the async context in which the TLS server was given the socket.
  const slots = new AsyncLocalStorage<ConnectionSlot>();
  const server = createTlsServer(slots, options);
  const sockets = await openListeningSockets({
    host,
    port,
    isJoining,
    perTurn: ACCEPTED_PER_TURN,
    accepted: (socket) =>
      proxied.accept(socket, (client) => {
        const slot = limiter.admit(socket, client);
        if (slot !== undefined) slots.run(slot, () => server.emit('connection', socket));
      }),
    failed: (error) => log.error({ err: error }, 'listener failed'),
  });
  return { ...sockets, replaceTls: (replacement) => server.setSecureContext(secureContext(replacement)) };
}

/** The server does not listen itself: it is given the connections that the limiter admitted. */
function createTlsServer(
  slots: AsyncLocalStorage<ConnectionSlot>,
  { tls: context, handshakeTimeout, speaks, webSocket, authorizer, refusals }: TlsListenerOptions,
): tls.Server {
  const server = tls.createServer({
    ...secureContext(context),
    requestCert: true,
    rejectUnauthorized: false, // The authorizer refuses, and states the reason.
    handshakeTimeout: Math.max(1, handshakeTimeout),
    ALPNProtocols: [...PROTOCOLS[speaks]],
  });
  server.on('secureConnection', (socket) => {
    const slot = slots.getStore();
    if (slot === undefined)
      socket.destroy(); // Without a slot the limits would not hold.
    else if (webSocket !== undefined && (speaks === 'web socket' || socket.alpnProtocol === HTTP)) {
      webSocket.accept(socket, slot);
    } else authorizer.handshakeFinished({ tls: socket, stream: socket, slot });
  });
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    socket.on('error', () => {});
    socket.destroy(); // Node reports a handshake timeout, but does not close the connection.
    const slot = slots.getStore();
    if (slot === undefined || slot.isReleased) return;
    if (error.code === 'ECONNRESET') slot.abandon();
    else slot.release();
    if (!slot.hasBegunTls && error.code === 'ECONNRESET') return; // It was counted as abandoned.
    const isTimeout = error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT';
    const detail = error.code ?? error.message;
    refusals.report(isTimeout ? 'connect_timeout' : 'handshake_failed', slot.address, { detail });
  });
  return server;
}

/** Contains every option that `setSecureContext` would otherwise reset. */
function secureContext({ key, cert, ca }: BrokerTls): tls.SecureContextOptions {
  return {
    key,
    cert,
    ...clientTrust(ca),
    minVersion: 'TLSv1.2',
    // A resumed TLS session has been accepted after expiry, after revocation and even without a certificate.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}
