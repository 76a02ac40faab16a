/**
 * Reports a connection that does not become a session to the operator: a count, an event and a rate-limited log line. The decision is made
 * elsewhere, and `refusal-explanations.ts` has what the client is told.
 */

import type { X509Certificate } from 'node:crypto';
import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { describeRefusedCertificate, type RefusalLog } from '../../limits/index.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerEvent, ConnectFailure } from '../events.ts';

export interface ConnectionRefusalsOptions {
  readonly refusalLog: RefusalLog;
  readonly counters: BrokerCounters;
  readonly log: Logger;
  readonly now: () => number;
  readonly onEvent: (event: BrokerEvent) => void;
}

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
    const peer = describeRefusedCertificate(about.certificate);
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
