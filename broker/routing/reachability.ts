import { filterMatches, isShared } from '@rollcall/protocol';
import type { ConnectedClients } from '../keeper/connected-clients.ts';
import type { PersistentSessions } from '../keeper/persistent-sessions.ts';
import type { SessionStore } from '../session-store/session-store.ts';

/**
 * How a message on a topic reaches a client: `connected`: at once; `stored`: in the queue of its session, until it connects; `away`: it is
 * not connected and has no stored session; `not_subscribed`: its session does not subscribe to the topic; `not_allowed`: its policy does not
 * let it receive the topic.
 */
export type Reachability = 'connected' | 'stored' | 'away' | 'not_subscribed' | 'not_allowed';

export interface KnownSessions {
  readonly connected: ConnectedClients;
  readonly persistentSessions: Pick<PersistentSessions, 'has' | 'rightsOf'>;
  readonly store: Pick<SessionStore, 'subscriptionsOf'>;
}

export function reachabilityOf(
  clientId: string,
  topic: string,
  { connected, persistentSessions, store }: KnownSessions,
): Reachability {
  const live = connected.find(clientId);
  const isConnected = live !== undefined && !live.isEnded;
  if (!isConnected && !persistentSessions.has(clientId)) return 'away';
  const subscriptions = isConnected ? live.filters : store.subscriptionsOf(clientId);
  // A queue takes messages of subscriptions with QoS 1 and 2 only.
  const receives = [...subscriptions].some(
    ({ filter, qos }) => (isConnected || qos > 0) && !isShared(filter) && filterMatches(filter, topic),
  );
  if (!receives) return 'not_subscribed';
  const rights = isConnected ? live.rights : persistentSessions.rightsOf(clientId);
  if (rights?.mayReceive(topic).allowed !== true) return 'not_allowed';
  return isConnected ? 'connected' : 'stored';
}
