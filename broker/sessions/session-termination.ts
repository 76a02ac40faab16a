/**
 * Ends the sessions of this node after a revocation, a suspension or another change of a device, and reports what ended. Pending
 * connections are decided again. What is stored is the part of `broker/keeper/stored-state-changes.ts`.
 */

import type { Identity } from '@rollcall/protocol';
import type { TerminationReport } from '../../registry/index.ts';
import type { Subject } from '../access/acl.ts';
import type { ConnectionAuthorizer } from '../access/connection-authorizer.ts';
import type { SessionReauthorizer } from '../access/session-reauthorizer.ts';
import type { DisconnectReason } from '../events.ts';
import type { SessionChange } from '../routing/bus.ts';
import type { LiveSessions } from './live-sessions.ts';
import type { Session } from './session.ts';

/** Reasons that end a session at once: without another acknowledgement, and without its will. */
const IMMEDIATE: ReadonlySet<DisconnectReason> = new Set(['revoked', 'suspended']);

export function isImmediate(reason: DisconnectReason): boolean {
  return IMMEDIATE.has(reason);
}

export interface SessionTerminationOptions {
  readonly authorizer: Pick<ConnectionAuthorizer, 'statusChanged'>;
  readonly sessions: LiveSessions;
  readonly reauthorizer: SessionReauthorizer;
}

export class SessionTermination {
  readonly #options: SessionTerminationOptions;

  constructor(options: SessionTerminationOptions) {
    this.#options = options;
  }

  apply(change: SessionChange): Promise<TerminationReport> {
    switch (change.kind) {
      case 'disconnect':
        return this.disconnect(change.identity, change.reason);
      case 'disconnect certificate':
        return this.disconnectCertificate(change.identity, change.serial);
      case 'reauthorize':
        return this.reauthorize(change.subject);
    }
  }

  /** Ends every session of an identity. */
  async disconnect(identity: Identity, reason: DisconnectReason): Promise<TerminationReport> {
    const { authorizer, sessions } = this.#options;
    const isAtOnce = isImmediate(reason);
    if (isAtOnce) authorizer.statusChanged();
    const ended = sessions.ofIdentity(identity);
    for (const session of ended) {
      if (isAtOnce) session.terminate(reason);
      else session.end(reason);
    }
    await Promise.all(ended.map((session) => session.whenFinished()));
    return reportOf(ended);
  }

  /** Ends the sessions that use this certificate. Stored state stays: it also belongs to the holder's other certificate. */
  async disconnectCertificate(identity: Identity, serial: string): Promise<TerminationReport> {
    const { authorizer, sessions } = this.#options;
    authorizer.statusChanged();
    const ended = sessions.ofIdentity(identity).filter((session) => session.facts.serial === serial);
    for (const session of ended) session.terminate('revoked');
    await Promise.all(ended.map((session) => session.whenFinished()));
    return reportOf(ended);
  }

  /** Applies a new group, new labels or a quarantine to the live sessions of an identity. */
  async reauthorize(subject: Subject): Promise<TerminationReport> {
    const { authorizer, sessions, reauthorizer } = this.#options;
    authorizer.statusChanged();
    const live = sessions.ofIdentity(subject.identity).filter((session) => !session.isEnded);
    for (const session of live) {
      // A device does not repeat subscriptions that quarantine removed, but it subscribes anew in a new session.
      const isReleased = session.facts.subject.isQuarantined === true && subject.isQuarantined !== true;
      session.facts = { ...session.facts, subject };
      if (isReleased) session.end('resumed');
    }
    await Promise.all(live.filter((session) => !session.isEnded).map((session) => reauthorizer.reauthorize(session)));
    const ended = live.filter((session) => session.isEnded);
    await Promise.all(ended.map((session) => session.whenFinished()));
    return reportOf(ended);
  }
}

function reportOf(ended: readonly Session[]): TerminationReport {
  const times = ended.flatMap(({ lastMessageAt }) => (lastMessageAt === undefined ? [] : [lastMessageAt]));
  return { sessionsClosed: ended.length, lastMessageAt: times.length === 0 ? undefined : Math.max(...times) };
}
