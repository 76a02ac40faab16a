/** What other modules ask of the broker that concerns the state of sessions, and no connection by itself. */

import { formatIdentity, parseIdentity } from '@rollcall/protocol';
import type { TerminationReport } from '../../registry/index.ts';
import { Rights } from '../access/acl.ts';
import type { PolicyResolver } from '../access/policy-resolver.ts';
import type { Broker } from '../broker.ts';
import type { BrokerContext } from '../broker-context.ts';
import { topicLimits } from '../broker-limits.ts';
import type { Bus, SessionChange } from '../routing/bus.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import { reachabilityOf } from '../routing/reachability.ts';
import type { ConnectedClients } from './connected-clients.ts';
import type { Keeper } from './open-keeper.ts';

export interface KeeperParts {
  readonly context: BrokerContext;
  readonly policies: PolicyResolver;
  readonly keeper: Keeper;
  readonly bus: Bus;
  readonly router: MessageRouter;
  readonly connected: ConnectedClients;
}

type KeeperOperations = Pick<
  Broker,
  | 'disconnect'
  | 'disconnectCertificate'
  | 'reauthorize'
  | 'publish'
  | 'retain'
  | 'send'
  | 'listen'
  | 'reachability'
  | 'retained'
  | 'replaceRetained'
  | 'owners'
  | 'explain'
>;

export function keeperOperations({ context, policies, keeper, bus, router, connected }: KeeperParts): KeeperOperations {
  const { serverMessages } = keeper;
  const confirmed = async (change: SessionChange) => sumOf(await bus.confirm(change));
  return {
    disconnect: (identity, reason) => confirmed({ kind: 'disconnect', identity, reason }),
    disconnectCertificate: (identity, serial) => confirmed({ kind: 'disconnect certificate', identity, serial }),
    reauthorize: (subject) => confirmed({ kind: 'reauthorize', subject }),
    publish: (topic, payload, qos) => serverMessages.publish({ topic, payload, qos }),
    retain: (topic, payload) => serverMessages.publish({ topic, payload, qos: 1, retain: true }),
    send: (message) => serverMessages.send(message),
    listen: (topic, receive) => router.listen(topic, ({ payload }) => receive(Buffer.from(payload))),
    reachability: async (clientId, topic) => reachabilityOf(clientId, topic, { ...keeper, connected }),
    retained: async (topic) => serverMessages.retained(topic),
    replaceRetained: (topic, owner, next) => serverMessages.replaceRetained(topic, formatIdentity(owner), next),
    owners: () => [...keeper.owners()].flatMap((owner) => parseIdentity(owner) ?? []),
    async explain(subject, verb, topic) {
      const { document, source } = await policies.resolve(subject);
      const decision = new Rights(document, subject, topicLimits(context.limits)).may(verb, topic);
      if (decision.allowed) return { allowed: true, source, rule: decision.rule };
      return { allowed: false, source, reason: decision.reason };
    },
  };
}

/** Counters of what is stored. `expired` has to be added to what the nodes count as expired. */
export function storedCounters({ store, persistentSessions }: Keeper): {
  readonly expired: number;
  readonly stored: Record<string, number>;
} {
  const { dropped, expired, storedBytes, retained, queued, isNearlyFull, commits } = store.counters();
  return {
    expired,
    stored: {
      retained: store.retainedCount,
      persistent_sessions: persistentSessions.size,
      messages_not_queued: dropped,
      session_store_bytes: storedBytes,
      retained_message_bytes: retained.bytes,
      queued_message_bytes: queued.bytes,
      'session_store_refused/kind=retained': retained.refused,
      'session_store_refused/kind=queued': queued.refused,
      session_store_short: isNearlyFull ? 1 : 0,
      session_commits: commits,
    },
  };
}

/** What all nodes did together. */
function sumOf(reports: readonly TerminationReport[]): TerminationReport {
  const times = reports.flatMap(({ lastMessageAt }) => lastMessageAt ?? []);
  const sessionsClosed = reports.reduce((sum, report) => sum + report.sessionsClosed, 0);
  const lastMessageAt = times.length === 0 ? undefined : Math.max(...times);
  const nodes = reports.flatMap((report) => report.nodes ?? []);
  return { sessionsClosed, lastMessageAt, ...(nodes.length > 0 && { nodes }) };
}
