/** Checks the certificate of a broker that a user names, before the run: a fleet that trusts another CA would only count failed handshakes. */

import { isIP } from 'node:net';
import { checkServerIdentity, connect, type PeerCertificate, type TLSSocket } from 'node:tls';
import type { TlsIdentity, TlsTarget } from '../devices/tls-connections.ts';
import { RunRefused } from './run-options.ts';

const ANSWER_MS = 10_000;

export interface BrokerCheck {
  readonly target: TlsTarget;
  /** The CAs that the run trusts. */
  readonly rootPem: string;
  /** Of one device: a broker may end a handshake without a client certificate before its own certificate is checked. */
  readonly identity: TlsIdentity | undefined;
}

/** Throws {@link RunRefused} for an untrusted chain or another name. A broker that does not answer is left to the run, which counts it. */
export async function checkBroker({ target, rootPem, identity }: BrokerCheck): Promise<void> {
  const name = target.servername ?? target.host;
  const socket = connect({
    ...{
      host: target.host,
      port: target.port,
      ca: rootPem,
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      timeout: ANSWER_MS,
    },
    ...(isIP(name) === 0 && { servername: name }),
    ...(identity !== undefined && {
      key: identity.keyPem,
      cert: identity.certificatePem + (identity.issuersPem ?? ''),
    }),
  });
  const fault = await new Promise<string | undefined>((resolve) => {
    socket.once('secureConnect', () => resolve(faultOf(socket, name)));
    socket.once('error', () => resolve(undefined));
    socket.once('timeout', () => resolve(undefined));
    socket.once('close', () => resolve(undefined));
  });
  socket.on('error', () => {}); // a broker may still refuse the client certificate
  socket.destroy();
  if (fault !== undefined) throw new RunRefused(fault);
}

function faultOf(socket: TLSSocket, name: string): string | undefined {
  const { authorizationError } = socket;
  if (authorizationError) {
    const code = authorizationError instanceof Error ? authorizationError.message : String(authorizationError);
    return `expected a broker certificate from a CA that the run trusts, found ${code}: --target-ca FILE names the CA of the broker`;
  }
  const certificate = socket.getPeerCertificate();
  if (checkServerIdentity(name, certificate) === undefined) return undefined;
  return `expected a broker certificate for ${name}, found one for ${namesIn(certificate)}: --target-name NAME says which name to expect`;
}

function namesIn({ subjectaltname, subject }: PeerCertificate): string {
  return subjectaltname ?? subject?.CN?.toString() ?? 'no name';
}
