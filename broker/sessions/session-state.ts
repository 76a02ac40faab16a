/**
 * The sessions of one broker: those that are connected, what is stored for persistent ones, the policies that apply to both,
 * and the reporter of what happens to them.
 */

import { parseIdentity } from '@rollcall/protocol';
import type { CloneSuspicion } from '../access/clone-detector.ts';
import { type PolicyDirectory, PolicyResolver } from '../access/policy-resolver.ts';
import type { BrokerContext } from '../broker-context.ts';
import { topicLimits } from '../broker-limits.ts';
import type { BrokerEvent, ShareExceeded } from '../events.ts';
import { AedesPersistence } from '../routing/aedes-persistence.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import { LiveSessions } from './live-sessions.ts';
import { SessionReporter } from './session-reporter.ts';

export interface SessionState {
  readonly sessions: LiveSessions;
  readonly store: SessionStore;
  readonly persistence: AedesPersistence;
  readonly policies: PolicyResolver;
  readonly reporter: SessionReporter;
  /** Stops reporting owners that exceed their share of the store. */
  stop(): void;
}

export interface SessionStateOptions {
  readonly store: SessionStore;
  readonly directory: PolicyDirectory;
  readonly onEvent: ((event: BrokerEvent) => void) | undefined;
  readonly onCloneSuspected: ((suspicion: CloneSuspicion) => void) | undefined;
}

/** Resolves when the sessions of an earlier run are loaded. */
export async function openSessionState(context: BrokerContext, options: SessionStateOptions): Promise<SessionState> {
  const { limits, log, now } = context;
  const { store, directory, onEvent, onCloneSuspected } = options;
  const reporter = new SessionReporter({ ...context, onEvent, onCloneSuspected });
  const sessions = new LiveSessions(limits.takeoversPerMinute);
  const policies = new PolicyResolver(directory, topicLimits(limits), log);
  const reportShare = (owner: string, share: ShareExceeded) => {
    const identity = parseIdentity(owner);
    if (identity !== undefined) reporter.shareExceeded(identity, share);
  };
  const persistence = new AedesPersistence(
    store,
    limits,
    (clientId) => sessions.find(clientId),
    (owner, bytes) => reportShare(owner, { kept: 'retained', bound: 'own', bytes }),
  );
  const stop = store.onRefused(({ kind, owner, bytes, heldBytes }) =>
    reportShare(owner, { kept: kind, bound: 'shared', bytes, heldBytes }),
  );
  await persistence.load((subject) => policies.rightsOf(subject), now());
  return { sessions, store, persistence, policies, reporter, stop };
}
