/** What a policy would do to the live sessions that it would decide for, without setting it. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PolicyDocument, PolicyScope, TopicLimits } from '@rollcall/protocol';
import type { LiveSessions } from '../sessions/live-sessions.ts';
import { Rights } from './acl.ts';
import type { PolicyResolver } from './policy-resolver.ts';

export interface PolicyPreview {
  /** Live sessions that the policy would decide for. */
  readonly sessions: number;
  /** Of these, those that may not connect under it and would end. */
  readonly ended: number;
  /** Subscriptions that the others would lose. */
  readonly subscriptionsLost: number;
  /** The first of them; without a filter the session would end. */
  readonly lost: readonly { readonly clientId: string; readonly filter?: string }[];
}

/** Over all nodes. */
export interface FleetPolicyPreview extends PolicyPreview {
  /** Nodes that ended meanwhile or did not answer in time: their sessions are not counted. */
  readonly unanswered: readonly string[];
}

const MAX_SHOWN = 100;
const SESSIONS_PER_TURN = 100;

/** Examines all sessions, some per turn of the event loop. */
export async function previewPolicy(
  scope: PolicyScope,
  document: PolicyDocument,
  parts: { readonly policies: PolicyResolver; readonly sessions: LiveSessions; readonly limits: TopicLimits },
): Promise<PolicyPreview> {
  const { policies, sessions, limits } = parts;
  const found = { sessions: 0, ended: 0, subscriptionsLost: 0 };
  const lost: { clientId: string; filter?: string }[] = [];
  let examined = 0;
  for (const session of [...sessions.all()]) {
    examined += 1;
    if (examined % SESSIONS_PER_TURN === 0) await nextTurn();
    const { subject, clientId } = session.facts;
    if (session.isEnded || !(await policies.wouldDecide(scope, subject))) continue;
    found.sessions += 1;
    const rights = new Rights(document, subject, limits);
    if (!rights.mayConnect(clientId).allowed) {
      found.ended += 1;
      if (lost.length < MAX_SHOWN) lost.push({ clientId });
      continue;
    }
    for (const { filter } of session.subscriptions.all()) {
      if (rights.maySubscribe(filter).allowed) continue;
      found.subscriptionsLost += 1;
      if (lost.length < MAX_SHOWN) lost.push({ clientId, filter });
    }
  }
  return { ...found, lost };
}

/** What several nodes found out. */
export function sumOfPreviews(previews: readonly PolicyPreview[]): PolicyPreview {
  const sum = { sessions: 0, ended: 0, subscriptionsLost: 0 };
  for (const { sessions, ended, subscriptionsLost } of previews) {
    sum.sessions += sessions;
    sum.ended += ended;
    sum.subscriptionsLost += subscriptionsLost;
  }
  return { ...sum, lost: previews.flatMap(({ lost }) => lost).slice(0, MAX_SHOWN) };
}
