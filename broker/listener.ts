/** The TLS listener: asks every client for a certificate, decides about none, resumes nothing. */

import { constants } from 'node:crypto';
import tls from 'node:tls';
import type { Logger } from 'pino';
import { Problem } from '../contract/problem.ts';
import type { ConnectionGate } from './connection-gate.ts';
import type { Door } from './door.ts';

/** PEM texts. */
export interface BrokerTls {
  readonly key: string | Buffer;
  /** The server's chain, leaf first. */
  readonly cert: string | Buffer;
  /** Root and issuing CA: what a client chain may end in. */
  readonly ca: string | Buffer;
}

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: BrokerTls;
  /** Milliseconds for the handshake alone; the door counts from the accept. */
  readonly handshakeTimeout: number;
  readonly door: Door;
  readonly gate: ConnectionGate;
  readonly log: Logger;
}

/** Throws Problem `address_in_use`. */
export async function openListener({ host, port, door, gate, log, ...options }: ListenerOptions): Promise<tls.Server> {
  const server = tls.createServer({
    ...secureContext(options.tls),
    requestCert: true,
    rejectUnauthorized: false, // the gate decides, so that it can say why
    handshakeTimeout: Math.max(1, options.handshakeTimeout),
    noDelay: true, // the answer to CONNECT would wait 40 ms for the acknowledgement of the handshake's last flight
  });
  server.on('secureConnection', (socket) => gate.accept(socket));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const half = door.find(socket);
    socket.on('error', () => {});
    socket.destroy(); // Node reports a handshake that takes too long, and leaves it open
    if (half === undefined) return;
    half.settle();
    const isSlow = error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT';
    gate.report(isSlow ? 'connect_timeout' : 'handshake_failed', half.address, { detail: error.code ?? error.message });
  });
  door.guard(server);
  await listen(server, host, port);
  // Accepting fails for want of file descriptors, for example; that must not end the process.
  server.on('error', (error) => log.error({ err: error }, 'listener failed'));
  return server;
}

/** Everything that `setSecureContext` would otherwise reset. */
export function secureContext({ key, cert, ca }: BrokerTls): tls.SecureContextOptions {
  return {
    key,
    cert,
    ca,
    minVersion: 'TLSv1.2',
    // Nothing resumes: a resumed session has been let in past expiry, past revocation and even without a certificate.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

function listen(server: tls.Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      const reason = `${host}:${port}: ${error.code ?? error.message}`;
      reject(error.code === 'EADDRINUSE' ? new Problem('address_in_use', { reason, cause: error }) : error);
    };
    server.once('error', failed);
    server.listen(port, host, () => {
      server.removeListener('error', failed);
      resolve();
    });
  });
}
