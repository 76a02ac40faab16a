import type { Identity, PolicyDocument, PolicyScope } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { LoadTestExemptions, RefusalLog } from '../limits/index.ts';
import type { TerminationReport } from '../registry/index.ts';
import type { PolicyVerb, Subject } from './access/acl.ts';
import type { CloneSuspicion } from './access/clone-detector.ts';
import type { CertificateStatusDirectory } from './access/identity-authorizer.ts';
import type { FleetPolicyPreview } from './access/policy-preview.ts';
import type { PolicyDirectory } from './access/policy-resolver.ts';
import { createBrokerContext } from './broker-context.ts';
import type { BrokerLimits, LiveLimits } from './broker-limits.ts';
import type { BrokerEvent, DisconnectReason } from './events.ts';
import { keeperOperations, storedCounters } from './keeper/keeper-operations.ts';
import { loadStoredSessions, openKeeper } from './keeper/open-keeper.ts';
import type { ServerMessage } from './keeper/server-messages.ts';
import type { WebSocketOptions } from './listener/mqtt-listener.ts';
import type { BrokerTls } from './listener/tls-listener.ts';
import { openNode } from './open-node.ts';
import { DeliveredKeys } from './routing/delivered-keys.ts';
import { LocalBus } from './routing/local-bus.ts';
import { MessageRouter } from './routing/message-router.ts';
import type { Reachability } from './routing/reachability.ts';
import { LocalRoutes } from './routing/routes.ts';
import type { TelemetryIntake } from './routing/telemetry-intake.ts';
import type { SessionStore } from './session-store/session-store.ts';
import type { LiveSession } from './sessions/live-sessions.ts';
import { MAIN_NODE, type SessionPage, type SessionQuery } from './sessions/session-page.ts';
import type { DrainOptions } from './sessions/session-shutdown.ts';
import { createSessionState } from './sessions/session-state.ts';

/** The part of the registry that the broker asks. */
export type BrokerDirectory = CertificateStatusDirectory & PolicyDirectory;

export interface BrokerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** False: it serves no client of its own, and only does what concerns all; true when left out. */
  readonly listens?: boolean;
  /** Networks of proxies whose connections begin with a header of the PROXY protocol; none by default. */
  readonly proxies?: readonly string[];
  /** MQTT over WebSocket; not served by default. */
  readonly webSocket?: WebSocketOptions;
  readonly tls: BrokerTls;
  /** The CAs whose client certificates are accepted, PEM, one or more. A chain to the root alone is not accepted. */
  readonly issuers: string | Buffer;
  readonly trustDomain: string;
  readonly directory: BrokerDirectory;
  readonly telemetry: TelemetryIntake;
  /** Persistent sessions. The caller opened it and closes it after the broker. */
  readonly sessions: SessionStore;
  readonly limits?: Partial<BrokerLimits>;
  /** `host:port` that clients of MQTT 5 are sent to when this broker stops. */
  readonly serverReference?: string | undefined;
  readonly now: () => number;
  readonly log: Logger;
  /** One credential seems to be used in two places. Called synchronously; an exception is logged. */
  readonly onCloneSuspected?: (suspicion: CloneSuspicion) => void;
  /** Called synchronously; an exception is logged. */
  readonly onEvent?: (event: BrokerEvent) => void;
  /** Shared with the fleet's other servers. By default the broker has its own, with the rate of `limits`. */
  readonly refusalLog?: RefusalLog;
  /** Addresses without limits per address, shared with the fleet's other servers. By default there are none. */
  readonly loadTests?: Pick<LoadTestExemptions, 'find'> | undefined;
  /** Sequence numbers of connections, each greater than the one before. By default they start with 1 at each start. */
  readonly nextSequence?: () => number;
}

export interface PolicyExplanation {
  readonly allowed: boolean;
  /** Where the deciding policy comes from. */
  readonly source: PolicyScope | 'built-in';
  /** The template that grants it. */
  readonly rule?: string;
  /** Why nothing grants it. */
  readonly reason?: string;
}

export interface Broker {
  readonly port: number;
  /** Of MQTT over WebSocket; undefined when it is not served. */
  readonly webSocketPort: number | undefined;
  /** New handshakes use it at once; no connection is dropped. */
  replaceTls(tls: BrokerTls, issuers?: string | Buffer): void;
  /**
   * Ends every session of an identity. With reason `revoked` or `suspended` at once and without its will; with `revoked`
   * also deletes what is stored for it. Resolves when all of them are finished.
   */
  disconnect(identity: Identity, reason: DisconnectReason): Promise<TerminationReport>;
  /** As {@link disconnect}, on all nodes, for what no change of the registry tells them. Nodes that do not answer in time are left out. */
  disconnectEverywhere(identity: Identity, reason: DisconnectReason): Promise<TerminationReport>;
  /** Ends the sessions that use this certificate, at once and without a will. Stored state stays. */
  disconnectCertificate(identity: Identity, serial: string): Promise<TerminationReport>;
  /** Applies a new group, new labels or a quarantine to an identity. Resolves with the sessions that ended. */
  reauthorize(subject: Subject): Promise<TerminationReport>;
  /** Delivers a message of the server to subscribers that may receive it. */
  publish(topic: string, payload: Buffer, qos: 0 | 1): Promise<void>;
  /** Retains a message of the server under one of its topics, and delivers it. An empty payload removes it. */
  retain(topic: string, payload: Buffer): Promise<void>;
  /** As {@link publish}, for a message whose sender has to know: throws Problem `unavailable` when it cannot be stored. */
  send(message: Omit<ServerMessage, 'retain'>): Promise<void>;
  /** Calls back with the payload of each message on this topic, until the returned function is called. */
  listen(topic: string, receive: (payload: Buffer) => void): () => void;
  /** How a message on this topic reaches a client. */
  reachability(clientId: string, topic: string): Promise<Reachability>;
  /** The retained message of a topic. */
  retained(topic: string): Promise<Buffer | undefined>;
  /**
   * Replaces the retained message of a topic by what `next` returns for the present one; no other message comes between. The message belongs
   * to `owner`. Throws what `next` throws, and Problem `body_too_large` or `unavailable`.
   */
  replaceRetained(topic: string, owner: Identity, next: (present: Buffer | undefined) => Buffer): Promise<void>;
  /** Those of this server alone. */
  sessions(): readonly LiveSession[];
  /**
   * Sessions of all nodes that share the state of sessions, in the order of their client ids. A page may have fewer than the limit, and not
   * be the last one.
   */
  sessionPage(query: SessionQuery): Promise<SessionPage>;
  /** Identities with stored state. */
  owners(): readonly Identity[];
  counters(): Readonly<Record<string, number>>;
  /** What this policy would do to live sessions of all nodes if it were set for the scope. */
  previewPolicy(scope: PolicyScope, document: PolicyDocument): Promise<FleetPolicyPreview>;
  explain(subject: Subject, verb: PolicyVerb, topic: string): Promise<PolicyExplanation>;
  /** Applies these limits to new connections at once. */
  applyLimits(limits: LiveLimits): void;
  /**
   * Stops accepting connections, and ends the sessions at a limited rate: clients of MQTT 5 are told that the server stops, or where to go.
   * A second call, and one after `close()`, does nothing.
   */
  drain(options: DrainOptions): Promise<void>;
  /** Stops listening, waits for messages that are being stored, and ends all sessions. Idempotent. */
  close(): Promise<void>;
}

/** A broker that is one node, and can be deaf. */
export interface NodeBroker extends Broker {
  /**
   * While it is deaf, the broker reads, acknowledges and delivers nothing, and accepts no connection; what its clients send waits with
   * them. For a node whose heartbeats are not confirmed.
   */
  setDeaf(isDeaf: boolean): void;
  /** Closes the sockets of all sessions at once. */
  closeSessions(): void;
  /**
   * Accepts no connection until `undrain()`, and ends the sessions at a limited rate; clients of MQTT 5 are told that another node of the
   * server has the same address. Resolves when none is left.
   */
  drainNode(options: Omit<DrainOptions, 'isNodeOnly'>): Promise<void>;
  undrain(): void;
}

/** A broker whose sessions and whose state of them are in this thread. Throws Problem `address_in_use`. */
export async function createBroker(options: BrokerOptions): Promise<NodeBroker> {
  const { directory, telemetry, onEvent, onCloneSuspected } = options;
  const context = createBrokerContext(options);
  const state = createSessionState(context, { directory, onEvent, onCloneSuspected });
  const { sessions, policies, reporter } = state;
  const stored = await loadStoredSessions(context, options.sessions, policies, sessions);
  const router = await MessageRouter.open({
    ...context,
    store: stored.store,
    routes: new LocalRoutes(stored.store, stored.shares),
    find: (clientId) => sessions.find(clientId),
  });
  const bus = new LocalBus({ router, sessions });
  const deliveredKeys = new DeliveredKeys();
  const nextSequence = options.nextSequence ?? countFromOne();
  const keeper = openKeeper(context, stored, {
    ...{ policies, reporter, telemetry, deliveredKeys, bus, nextSequence },
    routing: router,
  });
  router.onMemberGone = (message, share, member) => keeper.redelivery.memberGone(message, share, member);
  const parts = { telemetry, router, bus, deliveredKeys, sessions: keeper.sessions };
  const node = await openNode(context, state, parts, {
    ...options,
    sweep: (time) => keeper.sweep(time),
    applyPolicyToStored: (scope) => keeper.changes.policyChanged(scope),
    stopping: () => keeper.wills.stop(), // All clients of a server that stops connect again.
  }).catch((error: unknown) => {
    keeper.stop();
    throw error;
  });
  bus.onChange = async (change) => {
    const applied = node.apply(change);
    await Promise.all([applied, keeper.changes.apply(change, applied)]);
    return applied;
  };
  const { apply: _, ...operations } = node;
  const ofKeeper = keeperOperations({ context, policies, keeper, bus, router, connected: sessions });
  return {
    ...operations,
    ...ofKeeper,
    disconnectEverywhere: ofKeeper.disconnect,
    sessions: () => sessions.describe(),
    sessionPage: async (query) => ({ ...sessions.page(query, MAIN_NODE), unanswered: [] }),
    previewPolicy: async (scope, document) => ({ ...(await node.previewPolicy(scope, document)), unanswered: [] }),
    counters() {
      const { expired, stored: storedCounts } = storedCounters(keeper);
      const own = node.counters();
      return { ...own, ...storedCounts, messages_expired: (own.messages_expired ?? 0) + expired };
    },
    close() {
      keeper.stop();
      return node.close();
    },
  };
}

/** Sequence numbers of connections that start with 1 at each start of the server. */
export function countFromOne(): () => number {
  let last = 0;
  return () => {
    last += 1;
    return last;
  };
}
