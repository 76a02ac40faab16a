/**
 * What a connection hears, and what the house hears, when it does not become a session: the CONNACK code, the count, the
 * event, and a log line that does not come too often. Decides about nobody.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { RefusalLog } from '../../limits/index.ts';
import type { Counters } from '../broker-counters.ts';
import type { BrokerEvent, ConnectFailure, PeerDescription } from '../events.ts';
import { describePeer } from './peer-certificate.ts';

export interface RefusalsOptions {
  readonly refusalLog: RefusalLog;
  readonly counters: Counters;
  readonly log: Logger;
  readonly now: () => number;
  readonly onEvent: (event: BrokerEvent) => void;
}

/** CONNACK return codes (MQTT 3.1.1, table 3.1). */
export const CONNACK = { version: 1, identifier: 2, unavailable: 3, notAuthorized: 5 } as const;
const LINGER = 1_000;

const CONNACK_OF: Partial<Record<ConnectFailure, number>> = {
  protocol_version: CONNACK.version,
  client_id_missing: CONNACK.identifier,
  client_id_not_allowed: CONNACK.identifier,
  registry_failed: CONNACK.unavailable,
  policy_failed: CONNACK.unavailable,
  takeover_limited: CONNACK.unavailable,
  too_many_sessions: CONNACK.unavailable,
  server_shutdown: CONNACK.unavailable,
};

/** No answer at all: they do not speak MQTT, or not to the end. */
const UNANSWERED: ReadonlySet<ConnectFailure> = new Set(['protocol_violation', 'connect_timeout']);

export class Refusals {
  readonly #options: RefusalsOptions;

  constructor(options: RefusalsOptions) {
    this.#options = options;
  }

  /** Counts, reports and (not too often per address) logs a connection that does not become a session. */
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

  /** Logs, at the rate of refusals, that a connection could not be judged. */
  failed(error: unknown, address: string): void {
    const { log, refusalLog } = this.#options;
    refusalLog.write(log, 'error', address, { err: error, address }, 'connection could not be judged');
  }
}

/** The CONNACK packet; undefined when there is to be no answer. */
export function answerTo(reason: ConnectFailure): Buffer | undefined {
  return UNANSWERED.has(reason) ? undefined : connack(CONNACK_OF[reason] ?? CONNACK.notAuthorized);
}

function connack(code: number): Buffer {
  return Buffer.from([0x20, 0x02, 0x00, code]);
}

/**
 * Answers and closes a connection that has no wire yet; what the client still sends is thrown away, so that the answer is
 * not lost by a reset.
 */
export function refuseSocket(socket: TLSSocket): void {
  socket.on('error', () => {});
  socket.resume();
  socket.end(connack(CONNACK.notAuthorized));
  setTimeout(() => socket.destroy(), LINGER).unref();
}
