/** How connections reach the broker: TCP, limiter, TLS, authorizer; and the reports about those that are refused. */

import type { X509Certificate } from 'node:crypto';
import {
  type AuthorizedConnection,
  type CertificateStatusDirectory,
  ConnectionAuthorizer,
} from '../access/connection-authorizer.ts';
import { ConnectionRefusals } from '../access/connection-refusals.ts';
import type { BrokerContext } from '../broker-context.ts';
import type { SessionState } from '../sessions/session-state.ts';
import { ConnectionLimiter } from './connection-limiter.ts';
import { type BrokerTls, openTlsListener, type TlsListener } from './tls-listener.ts';

export interface ConnectionAdmissionOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: BrokerTls;
  /** CAs whose client certificates are accepted. */
  readonly issuers: readonly X509Certificate[];
  readonly trustDomain: string;
  readonly directory: CertificateStatusDirectory;
  readonly authorized: (connection: AuthorizedConnection) => void;
}

export interface ConnectionAdmission {
  readonly limiter: ConnectionLimiter;
  readonly authorizer: ConnectionAuthorizer;
  readonly listener: TlsListener;
}

/** Throws Problem `address_in_use`. */
export async function openConnectionAdmission(
  context: BrokerContext,
  { sessions, policies, reporter }: SessionState,
  { host, port, tls, issuers, trustDomain, directory, authorized }: ConnectionAdmissionOptions,
): Promise<ConnectionAdmission> {
  const { limits, log, now } = context;
  const refusals = new ConnectionRefusals({ ...context, onEvent: (event) => reporter.event(event) });
  const limiter = new ConnectionLimiter({
    limits,
    now,
    refused: (reason, address) => refusals.report(reason, address),
  });
  const authorizer = new ConnectionAuthorizer(
    {
      ...context,
      trustDomain,
      directory,
      policies,
      sessions,
      refusals,
      tookOver: (takeover) => reporter.tookOver(takeover),
      authorized,
    },
    issuers,
  );
  const handshakeTimeout = limits.connectTimeout;
  const listener = await openTlsListener({ host, port, tls, handshakeTimeout, limiter, authorizer, refusals, log });
  return { limiter, authorizer, listener };
}
