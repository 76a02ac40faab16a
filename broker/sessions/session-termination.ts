import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { TerminationReport } from '../../registry/index.ts';
import type { Subject } from '../access/acl.ts';
import type { ConnectionAuthorizer } from '../access/connection-authorizer.ts';
import type { PolicyResolver } from '../access/policy-resolver.ts';
import type { SessionReauthorizer } from '../access/session-reauthorizer.ts';
import type { DisconnectReason } from '../events.ts';
import type { AedesPersistence } from '../routing/aedes-persistence.ts';
import type { LiveSessions } from './live-sessions.ts';
import type { Session } from './session.ts';

/** They end at once: without another acknowledgement, and without a will. */
const IMMEDIATE: ReadonlySet<DisconnectReason> = new Set(['revoked', 'suspended']);

export interface SessionTerminationOptions {
  readonly authorizer: Pick<ConnectionAuthorizer, 'statusChanged'>;
  readonly sessions: LiveSessions;
  readonly persistence: AedesPersistence;
  readonly policies: PolicyResolver;
  readonly reauthorizer: SessionReauthorizer;
}

export class SessionTermination {
  readonly #options: SessionTerminationOptions;
  /** Which change of an identity came last, while one is being applied. */
  readonly #latest = new Map<string, symbol>();

  constructor(options: SessionTerminationOptions) {
    this.#options = options;
  }

  /** Ends every session of an identity; with `revoked` also forgets all that it left behind. */
  async disconnect(identity: Identity, reason: DisconnectReason): Promise<TerminationReport> {
    const { authorizer, sessions, persistence } = this.#options;
    const isCut = IMMEDIATE.has(reason);
    if (isCut) authorizer.statusChanged();
    const ended = sessions.ofIdentity(identity);
    for (const session of ended) {
      if (isCut) session.terminate(reason);
      else session.end(reason);
    }
    await Promise.all(ended.map((session) => session.whenFinished()));
    if (isCut) for (const session of ended) await persistence.delWill({ id: session.facts.clientId });
    if (reason === 'revoked') await persistence.purge(formatIdentity(identity));
    else if (isCut) await persistence.dropPendingWills(formatIdentity(identity));
    return reportOf(ended);
  }

  /** Ends the sessions that came with this certificate. What is kept for the identity is its other certificate's as well. */
  async disconnectCertificate(identity: Identity, serial: string): Promise<TerminationReport> {
    const { authorizer, sessions, persistence } = this.#options;
    authorizer.statusChanged();
    const ended = sessions.ofIdentity(identity).filter((session) => session.facts.serial === serial);
    for (const session of ended) session.terminate('revoked');
    await Promise.all(ended.map((session) => session.whenFinished()));
    for (const session of ended) await persistence.delWill({ id: session.facts.clientId });
    return reportOf(ended);
  }

  /** Holds an identity to its new group, labels or quarantine, in live sessions and in what is kept for it. */
  async reauthorize(subject: Subject): Promise<TerminationReport> {
    const { authorizer, sessions, persistence, policies, reauthorizer } = this.#options;
    authorizer.statusChanged();
    const key = formatIdentity(subject.identity);
    // They were written under rights that quarantine takes away.
    if (subject.isQuarantined === true) void persistence.dropPendingWills(formatIdentity(subject.identity));
    const change = Symbol(key);
    this.#latest.set(key, change);
    const live = sessions.ofIdentity(subject.identity).filter((session) => !session.isEnded);
    for (const session of live) {
      // What quarantine took away it would not ask for again by itself; a new session does.
      const isReleased = session.facts.subject.isQuarantined === true && subject.isQuarantined !== true;
      session.facts = { ...session.facts, subject };
      if (isReleased) session.end('resumed');
    }
    await Promise.all(live.filter((session) => !session.isEnded).map((session) => reauthorizer.reauthorize(session)));
    const rights = await policies.rightsOf(subject);
    if (this.#latest.get(key) === change) {
      for (const kept of persistence.persistentSessions.handles()) {
        if (formatIdentity(kept.subject.identity) === key) kept.setRights(rights, subject);
      }
      this.#latest.delete(key);
    }
    const ended = live.filter((session) => session.isEnded);
    await Promise.all(ended.map((session) => session.whenFinished()));
    return reportOf(ended);
  }
}

function reportOf(ended: readonly Session[]): TerminationReport {
  const times = ended.flatMap(({ lastMessageAt }) => (lastMessageAt === undefined ? [] : [lastMessageAt]));
  return { sessionsClosed: ended.length, lastMessageAt: times.length === 0 ? undefined : Math.max(...times) };
}
