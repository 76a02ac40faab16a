/**
 * Reports what happens to sessions: events, counts, and log lines at a limited rate, so that no client can flood the log. Errors
 * of event listeners are logged.
 */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { RefusalLog } from '../../limits/index.ts';
import type { PolicyVerb } from '../access/acl.ts';
import { CloneDetector, type CloneSuspicion, type Takeover } from '../access/clone-detector.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerEvent, DisconnectReason, ShareExceeded } from '../events.ts';
import type { ProtocolViolation } from '../mqtt/codec/protocol-violations.ts';
import type { Session } from './session.ts';

export interface SessionReporterOptions {
  readonly refusalLog: RefusalLog;
  readonly counters: BrokerCounters;
  readonly log: Logger;
  readonly now: () => number;
  /** Called synchronously; an exception is logged. */
  readonly onEvent: ((event: BrokerEvent) => void) | undefined;
  /** Called synchronously; an exception is logged. */
  readonly onCloneSuspected: ((suspicion: CloneSuspicion) => void) | undefined;
  /** Is told each takeover, where another thread looks for clones. */
  readonly onTookOver: ((takeover: Takeover) => void) | undefined;
}

export class SessionReporter {
  readonly #options: SessionReporterOptions;
  readonly #clones = new CloneDetector();

  constructor(options: SessionReporterOptions) {
    this.#options = options;
  }

  event(event: BrokerEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch (error) {
      this.#options.log.error({ err: error, event: event.type }, 'event listener failed');
    }
  }

  connected(session: Session): void {
    this.#options.counters.connected += 1;
    const { version, sdkVersion } = session.connectPacket;
    const client = { mqttVersion: version === 5 ? '5' : '3.1.1', sdkVersion } as const;
    this.event({ type: 'connected', at: session.facts.connectedAt, ...client, ...session.eventFields });
  }

  ended(session: Session, reason: DisconnectReason): void {
    const { counters, log, now, refusalLog } = this.#options;
    counters.countDisconnect(reason);
    // Ordinary disconnects are logged at debug: a reconnecting fleet must not flood the log.
    const level = reason === 'client_disconnected' || reason === 'connection_lost' ? 'debug' : 'info';
    if (log.isLevelEnabled(level)) {
      const source = `ended ${session.facts.clientId}`;
      refusalLog.write(log, level, source, { ...session.logFields, reason }, 'session ended');
    }
    const { connectedAt } = session.facts;
    const at = now();
    const lastReceivedAt = Math.max(connectedAt, at - session.input.silentFor);
    this.event({ type: 'disconnected', at, connectedAt, lastReceivedAt, reason, ...session.eventFields });
  }

  accessDenied(session: Session, verb: PolicyVerb, topic: string, why: string): void {
    this.#warn(session, { verb, topic, why }, 'refused by policy');
    this.event({ type: 'acl_denied', at: this.#options.now(), ...session.eventFields, verb, topic, why });
  }

  /** A subscription was removed because it is not allowed any more. */
  subscriptionWithdrawn(session: Session, topic: string): void {
    const at = this.#options.now();
    this.event({ type: 'acl_denied', at, ...session.eventFields, verb: 'subscribe', topic, why: 'withdrawn' });
  }

  /** Called for each refusal. Log lines and events have their own rate limits. */
  shareExceeded(identity: Identity, share: ShareExceeded): void {
    const { log, now, refusalLog } = this.#options;
    const owner = formatIdentity(identity);
    refusalLog.write(log, 'warn', `share ${owner}`, { identity: owner, ...share }, 'share exceeded');
    this.event({ type: 'share_exceeded', at: now(), identity, share });
  }

  protocolViolated(session: Session, { packet, clause, description }: ProtocolViolation): void {
    this.#warn(session, { packet, clause, description }, 'protocol violation');
  }

  failed(session: Session, error: unknown): void {
    const { log, refusalLog } = this.#options;
    const fields = { ...session.logFields, err: error };
    refusalLog.write(log, 'error', session.facts.clientId, fields, 'packet could not be processed');
  }

  storageFailed(session: Session, error: unknown): void {
    // A storage failure concerns all sending clients at once, so all lines share one rate. The journal logs the cause.
    const { log, refusalLog } = this.#options;
    refusalLog.write(log, 'error', 'storage', { ...session.logFields, err: error }, 'message could not be stored');
  }

  /** A live session is displaced. Repeated displacement is reported as a suspected clone. */
  tookOver(takeover: Takeover): void {
    const { counters, log, now, onCloneSuspected, onTookOver } = this.#options;
    if (onTookOver !== undefined) {
      onTookOver(takeover);
      return;
    }
    const suspicion = this.#clones.recordTakeover(takeover, now());
    if (suspicion === undefined) return;
    counters.clonesSuspected += 1;
    const { identity, evidence, addresses, serials } = suspicion;
    log.warn({ identity: formatIdentity(identity), evidence, addresses, serials }, 'clone suspected');
    try {
      onCloneSuspected?.(suspicion);
    } catch (error) {
      log.error({ err: error }, 'clone listener failed');
    }
  }

  sweep(now: number): void {
    this.#clones.sweep(now);
  }

  /** Logs at a limited rate per client. */
  #warn(session: Session, about: Readonly<Record<string, string>>, message: string): void {
    const { log, refusalLog } = this.#options;
    refusalLog.write(log, 'warn', session.facts.clientId, { ...session.logFields, ...about }, message);
  }
}
