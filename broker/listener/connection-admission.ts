/** How connections reach the broker: TCP, limiter, TLS, authorizer; and the reports about those that are refused. */

import type { X509Certificate } from 'node:crypto';
import { type PendingConnectionCounts, ProxiedConnections, type ProxyRefusal } from '../../limits/index.ts';
import {
  type AuthorizedConnection,
  ConnectionAuthorizer,
  type ConnectionAuthorizerOptions,
} from '../access/connection-authorizer.ts';
import { ConnectionRefusals } from '../access/connection-refusals.ts';
import type { CertificateStatusDirectory } from '../access/identity-authorizer.ts';
import type { BrokerContext } from '../broker-context.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ConnectFailure } from '../events.ts';
import type { SessionState } from '../sessions/session-state.ts';
import { ConnectionLimiter } from './connection-limiter.ts';
import { type MqttListener, openMqttListener, type WebSocketOptions } from './mqtt-listener.ts';
import type { BrokerTls } from './tls-listener.ts';

export interface ConnectionAdmissionOptions {
  readonly host: string;
  readonly port: number;
  /** Another node of this process listens on the port. */
  readonly isJoining?: boolean | undefined;
  /** Networks of proxies whose connections begin with a header of the PROXY protocol. */
  readonly proxies?: readonly string[] | undefined;
  readonly webSocket?: WebSocketOptions | undefined;
  readonly tls: BrokerTls;
  /** CAs whose client certificates are accepted. */
  readonly issuers: readonly X509Certificate[];
  readonly trustDomain: string;
  readonly directory: CertificateStatusDirectory;
  readonly authorized: (connection: AuthorizedConnection) => void;
  readonly elsewhere?: ConnectionAuthorizerOptions['elsewhere'];
  /** False: no client can connect to this node. */
  readonly listens?: boolean | undefined;
  /** Refuses every connection while it returns why. */
  readonly refusesAll: () => ConnectFailure | undefined;
  /** Pending connections, counted together with those of other nodes. */
  readonly connections?: ((limits: BrokerLimits) => PendingConnectionCounts) | undefined;
}

export interface ConnectionAdmission {
  readonly proxied: ProxiedConnections;
  readonly limiter: ConnectionLimiter;
  readonly authorizer: ConnectionAuthorizer;
  readonly listener: MqttListener;
}

/** Throws Problem `address_in_use`. */
export async function openConnectionAdmission(
  context: BrokerContext,
  { sessions, policies, reporter }: SessionState,
  options: ConnectionAdmissionOptions,
): Promise<ConnectionAdmission> {
  const { proxies = [], issuers, trustDomain, directory, authorized, elsewhere, connections } = options;
  const { limits, log, now } = context;
  const refusals = new ConnectionRefusals({ ...context, onEvent: (event) => reporter.event(event) });
  const limiter = new ConnectionLimiter({
    limits,
    loadTests: context.loadTests,
    connections: connections?.(limits),
    refusesAll: options.refusesAll,
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
      elsewhere,
    },
    issuers,
  );
  const handshakeTimeout = limits.connectTimeout;
  const proxied = new ProxiedConnections({
    from: proxies,
    timeoutMs: handshakeTimeout,
    ...(limits.handshakes > 0 && { waitingMax: limits.handshakes }),
    refused: (reason, address, detail) => refusals.report(CONNECT_FAILURES[reason], address, { detail }),
  });
  const listener =
    options.listens === false
      ? NO_LISTENER
      : await openMqttListener({
          ...options,
          ...{ limits, handshakeTimeout },
          webSocket: options.webSocket,
          proxied,
          limiter,
          authorizer,
          refusals,
          log,
        });
  return { proxied, limiter, authorizer, listener };
}

const NO_LISTENER: MqttListener = { port: 0, webSocketPort: undefined, replaceTls: () => {}, close: async () => {} };

const CONNECT_FAILURES: Readonly<Record<ProxyRefusal, ConnectFailure>> = {
  proxy_header_missing: 'proxy_header_missing',
  proxy_header_invalid: 'proxy_header_invalid',
  proxy_header_late: 'connect_timeout',
  too_many_without_header: 'too_many_handshakes',
};
