/**
 * The sessions of one broker: those that are connected, those that outlive their connection, the policies that apply to both, and the
 * reporter of what happens to them.
 */

import { parseIdentity } from '@rollcall/protocol';
import type { CloneSuspicion } from '../access/clone-detector.ts';
import { type PolicyDirectory, PolicyResolver } from '../access/policy-resolver.ts';
import type { BrokerContext } from '../broker-context.ts';
import { topicLimits } from '../broker-limits.ts';
import type { BrokerEvent, ShareExceeded } from '../events.ts';
import { PersistentSessions } from '../keeper/persistent-sessions.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import { LiveSessions } from './live-sessions.ts';
import { SessionReporter } from './session-reporter.ts';

export interface SessionState {
  readonly sessions: LiveSessions;
  readonly persistentSessions: PersistentSessions;
  readonly store: SessionStore;
  readonly policies: PolicyResolver;
  readonly reporter: SessionReporter;
  /** Reports an owner that exceeds its share of what is stored. */
  readonly reportShare: (owner: string, share: ShareExceeded) => void;
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
  const persistentSessions = new PersistentSessions({ store, longestExpiry: limits.sessionExpiry, now });
  const policies = new PolicyResolver(directory, topicLimits(limits), log);
  const reportShare = (owner: string, share: ShareExceeded) => {
    const identity = parseIdentity(owner);
    if (identity !== undefined) reporter.shareExceeded(identity, share);
  };
  const stop = store.onRefused(({ kind, owner, bytes, heldBytes }) =>
    reportShare(owner, { kept: kind, bound: 'shared', bytes, heldBytes }),
  );
  await persistentSessions.load((subject) => policies.rightsOf(subject));
  return { sessions, persistentSessions, store, policies, reporter, reportShare, stop };
}
