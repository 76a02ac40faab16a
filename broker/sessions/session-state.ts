/** The connected sessions of one broker node, the policies that apply to them, and the reporter of what happens to them. */

import type { CloneSuspicion, Takeover } from '../access/clone-detector.ts';
import { type PolicyDirectory, PolicyResolver } from '../access/policy-resolver.ts';
import type { BrokerContext } from '../broker-context.ts';
import { topicLimits } from '../broker-limits.ts';
import type { BrokerEvent } from '../events.ts';
import { LiveSessions } from './live-sessions.ts';
import { SessionReporter } from './session-reporter.ts';

export interface SessionState {
  readonly sessions: LiveSessions;
  readonly policies: PolicyResolver;
  readonly reporter: SessionReporter;
}

export interface SessionStateOptions {
  readonly directory: PolicyDirectory;
  readonly onEvent?: ((event: BrokerEvent) => void) | undefined;
  readonly onCloneSuspected?: ((suspicion: CloneSuspicion) => void) | undefined;
  /** Is told each takeover, where another thread looks for clones. */
  readonly onTookOver?: ((takeover: Takeover) => void) | undefined;
}

export function createSessionState(context: BrokerContext, options: SessionStateOptions): SessionState {
  const { limits, log } = context;
  const { directory, onEvent, onCloneSuspected, onTookOver } = options;
  return {
    sessions: new LiveSessions(limits.takeoversPerMinute),
    policies: new PolicyResolver(directory, topicLimits(limits), log),
    reporter: new SessionReporter({ ...context, onEvent, onCloneSuspected, onTookOver }),
  };
}
