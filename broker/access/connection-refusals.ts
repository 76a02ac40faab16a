/**
 * Reports a connection that does not become a session: the CONNACK code to the client; a count, an event and a rate-limited
 * log line to the operator. The decision is made elsewhere.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { RefusalLog } from '../../limits/index.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerEvent, ConnectFailure, PeerDescription } from '../events.ts';
import { describePeer } from './peer-certificate.ts';

export interface ConnectionRefusalsOptions {
  readonly refusalLog: RefusalLog;
  readonly counters: BrokerCounters;
  readonly log: Logger;
  readonly now: () => number;
  readonly onEvent: (event: BrokerEvent) => void;
}

/** CONNACK return codes (MQTT 3.1.1, table 3.1). */
export const CONNACK_CODE = { version: 1, identifier: 2, unavailable: 3, notAuthorized: 5 } as const;
const LINGER_MS = 1_000;

const CODE_OF_REASON: Partial<Record<ConnectFailure, number>> = {
  protocol_version: CONNACK_CODE.version,
  client_id_missing: CONNACK_CODE.identifier,
  client_id_not_allowed: CONNACK_CODE.identifier,
  registry_failed: CONNACK_CODE.unavailable,
  policy_failed: CONNACK_CODE.unavailable,
  takeover_limited: CONNACK_CODE.unavailable,
  too_many_sessions: CONNACK_CODE.unavailable,
  server_shutdown: CONNACK_CODE.unavailable,
};

/** No CONNACK is sent: the client did not send a valid CONNECT. */
const WITHOUT_CONNACK: ReadonlySet<ConnectFailure> = new Set(['protocol_violation', 'connect_timeout']);

export class ConnectionRefusals {
  readonly #options: ConnectionRefusalsOptions;

  constructor(options: ConnectionRefusalsOptions) {
    this.#options = options;
  }

  /** Counts and reports a refused connection, and logs it at a limited rate per address. */
  report(
    reason: ConnectFailure,
    address: string,
    about: {
      detail?: string | undefined;
      certificate?: X509Certificate | undefined;
      identity?: Identity | undefined;
    } = {},
  ): void {
    const { counters, log, now, onEvent, refusalLog } = this.#options;
    counters.countRefusal(reason);
    const peer: PeerDescription = describePeer(about.certificate);
    const { detail, identity } = about;
    const named = identity === undefined ? {} : { identity: formatIdentity(identity) };
    refusalLog.write(log, 'warn', address, { reason, detail, address, ...peer, ...named }, 'connection refused');
    onEvent({
      type: 'connect_failed',
      at: now(),
      address,
      reason,
      ...peer,
      ...(detail === undefined ? {} : { detail }),
      ...(identity === undefined ? {} : { identity }),
    });
  }

  /** Logs, at the rate of refusals, that a decision failed with an error. */
  authorizationFailed(error: unknown, address: string): void {
    const { log, refusalLog } = this.#options;
    refusalLog.write(log, 'error', address, { err: error, address }, 'connection could not be authorized');
  }
}

/** The CONNACK packet; undefined when none is to be sent. */
export function connackFor(reason: ConnectFailure): Buffer | undefined {
  return WITHOUT_CONNACK.has(reason) ? undefined : connack(CODE_OF_REASON[reason] ?? CONNACK_CODE.notAuthorized);
}

function connack(code: number): Buffer {
  return Buffer.from([0x20, 0x02, 0x00, code]);
}

/**
 * Sends CONNACK and closes a socket that has no MqttConnection yet. Data from the client is discarded, so that a reset does not
 * overtake the answer.
 */
export function refuseSocket(socket: TLSSocket): void {
  socket.on('error', () => {});
  socket.resume();
  socket.end(connack(CONNACK_CODE.notAuthorized));
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}
