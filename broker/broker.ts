/**
 * The broker: MQTT 3.1.1 and 5 over mutual TLS. This file opens the parts in order and closes them in the reverse order. Certificates
 * and tokens are issued by `enroll/`; messages are stored by `telemetry/`.
 */

import { X509Certificate } from 'node:crypto';
import {
  formatIdentity,
  type Identity,
  type PolicyDocument,
  type PolicyScope,
  parseIdentity,
} from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { LoadTestExemptions, RefusalLog } from '../limits/index.ts';
import type { TerminationReport } from '../registry/index.ts';
import { type PolicyVerb, Rights, type Subject } from './access/acl.ts';
import type { CloneSuspicion } from './access/clone-detector.ts';
import type { CertificateStatusDirectory } from './access/connection-authorizer.ts';
import { applyPolicyChanges } from './access/policy-changes.ts';
import { type PolicyPreview, previewPolicy } from './access/policy-preview.ts';
import type { PolicyDirectory } from './access/policy-resolver.ts';
import { SessionReauthorizer } from './access/session-reauthorizer.ts';
import { type BrokerContext, createBrokerContext } from './broker-context.ts';
import { type BrokerLimits, topicLimits } from './broker-limits.ts';
import type { BrokerEvent, DisconnectReason } from './events.ts';
import { type Keeper, loadStoredSessions, openKeeper } from './keeper/open-keeper.ts';
import type { ServerMessage } from './keeper/server-messages.ts';
import { type ConnectionAdmission, openConnectionAdmission } from './listener/connection-admission.ts';
import type { WebSocketOptions } from './listener/mqtt-listener.ts';
import type { BrokerTls } from './listener/tls-listener.ts';
import { type MessagePipeline, openMessagePipeline } from './message-pipeline.ts';
import type { SessionChange } from './routing/bus.ts';
import { DeliveredKeys } from './routing/delivered-keys.ts';
import { LocalBus } from './routing/local-bus.ts';
import { MessageRouter } from './routing/message-router.ts';
import { type Reachability, reachabilityOf } from './routing/reachability.ts';
import { LocalRoutes } from './routing/routes.ts';
import type { TelemetryIntake } from './routing/telemetry-intake.ts';
import type { SessionStore } from './session-store/session-store.ts';
import type { LiveSession } from './sessions/live-sessions.ts';
import { type DrainOptions, drainSessions, endAllSessions } from './sessions/session-shutdown.ts';
import { SessionStarter } from './sessions/session-starter.ts';
import { createSessionState, type SessionState } from './sessions/session-state.ts';
import { startSessionSweep } from './sessions/session-sweep.ts';
import { SessionTermination } from './sessions/session-termination.ts';

/** The part of the registry that the broker asks. */
export type BrokerDirectory = CertificateStatusDirectory & PolicyDirectory;

export interface BrokerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
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

/** Limits that can change while the broker runs: those that are read at each new connection. */
const LIVE_LIMITS = [
  'connectionsPerSecondPerAddress',
  'handshakes',
  'handshakesPerAddress',
  'sessionsPerIdentity',
] as const satisfies readonly (keyof BrokerLimits)[];

type LiveLimit = (typeof LIVE_LIMITS)[number];

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
  sessions(): readonly LiveSession[];
  /** Identities with stored state. */
  owners(): readonly Identity[];
  counters(): Readonly<Record<string, number>>;
  /** What this policy would do to live sessions if it were set for the scope. */
  previewPolicy(scope: PolicyScope, document: PolicyDocument): Promise<PolicyPreview>;
  explain(subject: Subject, verb: PolicyVerb, topic: string): Promise<PolicyExplanation>;
  /** Applies these limits to new connections at once. */
  applyLimits(limits: Pick<BrokerLimits, LiveLimit>): void;
  /**
   * Stops accepting connections, and ends the sessions at a limited rate: clients of MQTT 5 are told that the server stops, or where to go.
   * A second call, and one after `close()`, does nothing.
   */
  drain(options: DrainOptions): Promise<void>;
  /** Stops listening, waits for messages that are being stored, and ends all sessions. Idempotent. */
  close(): Promise<void>;
}

export async function createBroker(options: BrokerOptions): Promise<Broker> {
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
  const keeper = openKeeper(context, stored, { policies, reporter, telemetry, deliveredKeys, routing: router, bus });
  router.onMemberGone = (message, share, member) => keeper.redelivery.memberGone(message, share, member);
  const pipeline = openMessagePipeline(context, state, {
    ...{ telemetry, router, bus, deliveredKeys },
    sessions: keeper.sessions,
  });
  const nextSequence = options.nextSequence ?? countFromOne();
  const starter = new SessionStarter({ context, state, pipeline, nextSequence });
  const admission = await openConnectionAdmission(context, state, {
    ...options,
    issuers: readIssuers(options.issuers),
    authorized: (connection) => starter.start(connection),
  }).catch(async (error: unknown) => {
    pipeline.stop();
    keeper.stop();
    await router.close(); // Its timers would keep the process alive.
    throw error;
  });
  const reauthorizer = createReauthorizer(context, state, pipeline);
  const { authorizer } = admission;
  const termination = new SessionTermination({ sessions, authorizer, reauthorizer });
  bus.onChange = async (change) => {
    const applied = termination.apply(change);
    await Promise.all([applied, keeper.changes.apply(change, applied)]);
    return applied;
  };
  const applyToStored = (scope: PolicyScope) => keeper.changes.policyChanged(scope);
  const stopPolicyChanges = applyPolicyChanges({ ...state, directory, applyToStored, reauthorizer, log: context.log });
  const stopSweep = startSessionSweep(context, state, pipeline, (time) => keeper.sweep(time));
  let stopped: Promise<void> | undefined;
  let draining: Promise<void> | undefined;
  let closing: Promise<void> | undefined;

  const stopAccepting = (): Promise<void> => {
    if (stopped !== undefined) return stopped;
    keeper.wills.stop(); // All clients of a server that stops connect again.
    stopped = admission.listener.close();
    admission.authorizer.close();
    return stopped;
  };
  const drain = async (drainOptions: DrainOptions): Promise<void> => {
    void stopAccepting();
    await drainSessions(state, options.serverReference, drainOptions);
  };
  const close = async (): Promise<void> => {
    stopPolicyChanges();
    pipeline.stop();
    keeper.stop();
    stopSweep();
    const accepted = stopAccepting();
    await endAllSessions(state, options.serverReference);
    admission.proxied.close();
    admission.limiter.close();
    await router.close();
    await accepted;
  };
  return {
    ...operations({ context, state, pipeline, keeper, bus, admission }),
    drain(drainOptions) {
      draining ??= closing === undefined ? drain(drainOptions) : Promise.resolve();
      return draining;
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}

interface BrokerParts {
  readonly context: BrokerContext;
  readonly state: SessionState;
  readonly pipeline: MessagePipeline;
  readonly keeper: Keeper;
  readonly bus: LocalBus;
  readonly admission: ConnectionAdmission;
}

function operations(parts: BrokerParts): Omit<Broker, 'drain' | 'close'> {
  const { context, state, pipeline, keeper, bus, admission } = parts;
  const { policies, sessions } = state;
  const { serverMessages } = keeper;
  const confirmed = async (change: SessionChange) => sumOf(await bus.confirm(change));
  return {
    port: admission.listener.port,
    webSocketPort: admission.listener.webSocketPort,
    replaceTls(replacement, issuers) {
      admission.listener.replaceTls(replacement);
      if (issuers !== undefined) admission.authorizer.setIssuers(readIssuers(issuers));
    },
    disconnect: (identity, reason) => confirmed({ kind: 'disconnect', identity, reason }),
    disconnectCertificate: (identity, serial) => confirmed({ kind: 'disconnect certificate', identity, serial }),
    reauthorize: (subject) => confirmed({ kind: 'reauthorize', subject }),
    publish: (topic, payload, qos) => serverMessages.publish({ topic, payload, qos }),
    retain: (topic, payload) => serverMessages.publish({ topic, payload, qos: 1, retain: true }),
    send: (message) => serverMessages.send(message),
    listen: (topic, receive) => pipeline.router.listen(topic, ({ payload }) => receive(Buffer.from(payload))),
    reachability: async (clientId, topic) => reachabilityOf(clientId, topic, { ...keeper, connected: sessions }),
    retained: async (topic) => serverMessages.retained(topic),
    replaceRetained: (topic, owner, next) => serverMessages.replaceRetained(topic, formatIdentity(owner), next),
    applyLimits(limits) {
      const changed = Object.fromEntries(LIVE_LIMITS.map((name) => [name, limits[name]]));
      Object.assign(context.limits, changed);
      admission.limiter.limitsChanged();
    },
    sessions: () => sessions.describe(),
    owners: () => [...keeper.owners()].flatMap((owner) => parseIdentity(owner) ?? []),
    counters: () => countersOf(parts),
    previewPolicy: (scope, document) =>
      previewPolicy(scope, document, { policies, sessions, limits: topicLimits(context.limits) }),
    async explain(subject, verb, topic) {
      const { document, source } = await policies.resolve(subject);
      const decision = new Rights(document, subject, topicLimits(context.limits)).may(verb, topic);
      if (decision.allowed) return { allowed: true, source, rule: decision.rule };
      return { allowed: false, source, reason: decision.reason };
    },
  };
}

/** What all nodes did together. */
function sumOf(reports: readonly TerminationReport[]): TerminationReport {
  const times = reports.flatMap(({ lastMessageAt }) => lastMessageAt ?? []);
  const sessionsClosed = reports.reduce((sum, report) => sum + report.sessionsClosed, 0);
  return { sessionsClosed, lastMessageAt: times.length === 0 ? undefined : Math.max(...times) };
}

function createReauthorizer(
  { log }: BrokerContext,
  { policies, reporter }: SessionState,
  { handlers }: MessagePipeline,
): SessionReauthorizer {
  return new SessionReauthorizer({
    policies,
    unsubscribe: handlers.unsubscribe,
    log,
    withdrawn: (session, filter) => reporter.subscriptionWithdrawn(session, filter),
  });
}

function countersOf({ context, state, pipeline, keeper, admission }: BrokerParts): Record<string, number> {
  const { dropped, expired, storedBytes, retained, queued, isNearlyFull, commits } = keeper.store.counters();
  return {
    ...context.counters.snapshot(),
    messages_expired: context.counters.messagesExpired + expired,
    sessions: state.sessions.size,
    ...admission.limiter.counters(),
    event_loop_busy_seconds_total: performance.eventLoopUtilization().active / 1_000,
    sessions_not_read: pipeline.backpressure.pausedSessions,
    sessions_over_share: pipeline.storageShareLimiter.heldSessions,
    retained: keeper.store.retainedCount,
    persistent_sessions: keeper.persistentSessions.size,
    messages_not_queued: dropped,
    session_store_bytes: storedBytes,
    retained_message_bytes: retained.bytes,
    queued_message_bytes: queued.bytes,
    'session_store_refused/kind=retained': retained.refused,
    'session_store_refused/kind=queued': queued.refused,
    session_store_short: isNearlyFull ? 1 : 0,
    session_commits: commits,
  };
}

/** Sequence numbers of connections that start with 1 at each start of the server. */
function countFromOne(): () => number {
  let last = 0;
  return () => {
    last += 1;
    return last;
  };
}

function readIssuers(pem: string | Buffer): readonly X509Certificate[] {
  const blocks = pem.toString().match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new RangeError('expected at least one issuing CA in PEM, found none');
  return blocks.map((block) => new X509Certificate(block));
}
