/** The TLS listener: asks every client for a certificate, decides about none, resumes nothing. */

import { constants } from 'node:crypto';
import tls from 'node:tls';
import type { Logger } from 'pino';
import type { ConnectionAuthorizer } from '../access/connection-authorizer.ts';
import type { ConnectionRefusals } from '../access/connection-refusals.ts';
import type { ConnectionLimiter } from './connection-limiter.ts';
import { type ListeningSockets, openListeningSockets } from './listening-sockets.ts';

/** PEM texts. */
export interface BrokerTls {
  readonly key: string | Buffer;
  /** The server's chain, leaf first. */
  readonly cert: string | Buffer;
  /** Root and issuing CA: what a client chain may end in. */
  readonly ca: string | Buffer;
}

export interface TlsListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: BrokerTls;
  /** Milliseconds for the handshake alone; the door counts from the accept. */
  readonly handshakeTimeout: number;
  readonly limiter: ConnectionLimiter;
  readonly authorizer: ConnectionAuthorizer;
  readonly refusals: ConnectionRefusals;
  readonly log: Logger;
}

export interface TlsListener extends ListeningSockets {
  /** For handshakes from now on. */
  replaceTls(tls: BrokerTls): void;
}

/**
 * A turn with so many new handshakes takes some 10 ms, so that others are hardly kept waiting; and a turn that something else
 * makes ten times as long still lets in 80 a second.
 */
const ACCEPTED_PER_TURN = 8;

/** Throws Problem `address_in_use`. */
export async function openTlsListener({
  host,
  port,
  limiter,
  authorizer,
  refusals,
  log,
  ...options
}: TlsListenerOptions): Promise<TlsListener> {
  // It listens on nothing itself: what the door admits is put into it.
  const server = tls.createServer({
    ...secureContext(options.tls),
    requestCert: true,
    rejectUnauthorized: false, // the gate decides, so that it can say why
    handshakeTimeout: Math.max(1, options.handshakeTimeout),
  });
  server.on('secureConnection', (socket) => authorizer.handshakeFinished(socket));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const slot = limiter.find(socket);
    socket.on('error', () => {});
    socket.destroy(); // Node reports a handshake that takes too long, and leaves it open
    if (slot === undefined) return;
    if (error.code === 'ECONNRESET') slot.abandon();
    else slot.release();
    const isSlow = error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT';
    const detail = error.code ?? error.message;
    refusals.report(isSlow ? 'connect_timeout' : 'handshake_failed', slot.address, { detail });
  });
  const acceptors = await openListeningSockets({
    host,
    port,
    perTurn: ACCEPTED_PER_TURN,
    accepted: (socket) => {
      if (limiter.admit(socket)) server.emit('connection', socket);
    },
    // That must not end the process.
    failed: (error) => log.error({ err: error }, 'listener failed'),
  });
  return { ...acceptors, replaceTls: (replacement) => server.setSecureContext(secureContext(replacement)) };
}

/** Everything that `setSecureContext` would otherwise reset. */
function secureContext({ key, cert, ca }: BrokerTls): tls.SecureContextOptions {
  return {
    key,
    cert,
    ca,
    minVersion: 'TLSv1.2',
    // Nothing resumes: a resumed session has been let in past expiry, past revocation and even without a certificate.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}
