/** Applies a changed policy to the live sessions that it concerns, and to what is stored. */

import type { PolicyScope } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { LiveSessions } from '../sessions/live-sessions.ts';
import { type PolicyDirectory, type PolicyResolver, scopesOf } from './policy-resolver.ts';
import type { SessionReauthorizer } from './session-reauthorizer.ts';

export interface PolicyChangesOptions {
  readonly directory: PolicyDirectory;
  readonly policies: PolicyResolver;
  readonly sessions: LiveSessions;
  /** Applies it to stored sessions. */
  readonly applyToStored: (scope: PolicyScope) => Promise<void>;
  readonly reauthorizer: SessionReauthorizer;
  readonly log: Logger;
}

/** Returns the function that stops it. */
export function applyPolicyChanges(options: PolicyChangesOptions): () => void {
  const { directory, policies, sessions, applyToStored, reauthorizer, log } = options;
  return directory.onPolicyChange((scope) => {
    policies.invalidate(scope);
    apply(scope).catch((error: unknown) => log.error({ err: error, scope }, 'policy could not be applied'));
  });

  async function apply(scope: PolicyScope): Promise<void> {
    for (const session of [...sessions.all()]) {
      if (!session.isEnded && scopesOf(session.facts.subject).includes(scope)) await reauthorizer.reauthorize(session);
    }
    await applyToStored(scope);
  }
}
