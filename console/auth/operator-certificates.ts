/**
 * Operators with a client certificate of a configured CA. OpenSSL verified the chain, the purpose and, with a CRL, the revocation in the
 * handshake; dates, name and operator are checked here for each request. A request of a browser is not admitted by it: a browser
 * sends the certificate with requests that other sites cause, too, so that a page begins a session with it first.
 */

import type { X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { describeRefusedCertificate, type RefusalLog } from '../../limits/index.ts';
import type { OperatorRole, Registry } from '../../registry/index.ts';
import { CERTIFICATE_NAMES, type CertificateName } from './certificate-name.ts';

export interface OperatorCertificatesOptions {
  /** Where the certificate has the name of the operator. */
  readonly name: CertificateName;
  readonly registry: Pick<Registry, 'findOperatorCredentials' | 'certificateStatus'>;
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

export interface CertifiedOperator {
  readonly operator: string;
  readonly role: OperatorRole;
  /** Lower-case hexadecimal without leading zeros. */
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

export class OperatorCertificates {
  readonly #options: OperatorCertificatesOptions;
  /** Connections that were verified with the present CAs and CRL. */
  #current = new WeakSet<object>();

  constructor(options: OperatorCertificatesOptions) {
    this.#options = options;
  }

  /** To be called after each handshake. */
  noteConnection(socket: TLSSocket): void {
    this.#current.add(socket);
  }

  /** After a change of the CAs or of the CRL: the certificates of open connections count no longer. */
  forgetConnections(): void {
    this.#current = new WeakSet();
  }

  /** Undefined without a certificate, and for one that is refused, with the reason in the log. */
  async find(request: IncomingMessage): Promise<CertifiedOperator | undefined> {
    const socket = request.socket as TLSSocket;
    const certificate = socket.getPeerX509Certificate?.();
    if (certificate === undefined) return undefined;
    const found = await this.#verify(socket, certificate);
    if (typeof found !== 'string') return found;
    const { log, refusalLog } = this.#options;
    const address = socket.remoteAddress ?? 'unknown';
    const fields = { address, reason: found, ...describeRefusedCertificate(certificate) };
    refusalLog.write(log, 'warn', address, fields, 'operator certificate refused');
    return undefined;
  }

  /** The reason of a refusal as text. */
  async #verify(socket: TLSSocket, certificate: X509Certificate): Promise<CertifiedOperator | string> {
    const { name, registry, now } = this.#options;
    if (socket.authorized !== true) return String(socket.authorizationError);
    if (!this.#current.has(socket)) return 'the CAs or the CRL changed since the handshake';
    const [begin, expiresAt] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
    if (now() < begin || now() >= expiresAt) return 'not within its dates';
    const serial = certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
    // Also where the CAs of operators include one of the fleet by mistake: a device may have the name of an operator.
    if ((await registry.certificateStatus(serial)).state !== 'unknown') return 'a certificate of a device or service';
    const operator = CERTIFICATE_NAMES[name](certificate);
    if (operator === undefined) return `expected exactly one name of the kind ${name}`;
    const credentials = await registry.findOperatorCredentials(operator);
    if (credentials?.state !== 'active') return `there is no active operator ${operator}`;
    return { operator, role: credentials.role, serial, expiresAt };
  }
}

/** Browsers send one of these with every request over HTTPS that another site could cause and that matters. */
export function isOfBrowser({ headers }: IncomingMessage): boolean {
  return headers.origin !== undefined || headers['sec-fetch-site'] !== undefined;
}
