/** A session store without a file, for sessions that end with their connections. */

import { SessionStore, type SessionStoreLimits } from './session-store.ts';

const DONE = Promise.resolve();

export function createMemorySessionStore(limits: SessionStoreLimits, now: () => number): SessionStore {
  const commits = {
    commits: 0,
    queuedBytes: 0,
    add() {},
    schedule() {},
    durable: () => DONE,
    hasRoomFor: () => true,
  };
  const none = { sessions: [], subscriptions: [], bodies: [], queued: [], incoming: [], retained: [], wills: [] };
  return new SessionStore(limits, commits, none, now, () => 0);
}
