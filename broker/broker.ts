/**
 * The broker: who may say what on which topic, over mutual TLS. Wires limiter, authorizer, sessions and engine together and is the
 * only way into this module. Certificates and tokens are issued elsewhere; messages are stored by telemetry.
 */

import { X509Certificate } from 'node:crypto';
import { type Identity, type PolicyScope, parseIdentity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { RefusalLog } from '../limits/index.ts';
import type { TerminationReport } from '../registry/index.ts';
import { type PolicyVerb, Rights, type Subject } from './access/acl.ts';
import type { CloneSuspicion } from './access/clone-detector.ts';
import {
  type AuthorizedConnection,
  type CertificateStatusDirectory,
  ConnectionAuthorizer,
} from './access/connection-authorizer.ts';
import { ConnectionRefusals } from './access/connection-refusals.ts';
import { applyPolicyChanges } from './access/policy-changes.ts';
import { type PolicyDirectory, PolicyResolver } from './access/policy-resolver.ts';
import { SessionReauthorizer } from './access/session-reauthorizer.ts';
import { BrokerCounters } from './broker-counters.ts';
import { type BrokerLimits, DEFAULT_LIMITS, topicLimits } from './broker-limits.ts';
import type { BrokerEvent, DisconnectReason, ShareExceeded } from './events.ts';
import { ConnectionLimiter } from './listener/connection-limiter.ts';
import { type BrokerTls, openTlsListener } from './listener/tls-listener.ts';
import { Backpressure } from './mqtt/backpressure.ts';
import type { MqttConnection } from './mqtt/connection.ts';
import { PauseReason } from './mqtt/receive-loop.ts';
import { StorageShareLimiter } from './mqtt/storage-share-limiter.ts';
import { TelemetryFastPath, type TelemetryFastPathOptions } from './mqtt/telemetry-fast-path.ts';
import { createRoutingEngine } from './routing/aedes-engine.ts';
import { ownerOf, type TelemetryIntake } from './routing/aedes-hooks.ts';
import { AedesPersistence } from './routing/aedes-persistence.ts';
import { DeliveredKeys } from './routing/delivered-keys.ts';
import type { SessionStore } from './session-store/session-store.ts';
import { LiveSessions } from './sessions/live-sessions.ts';
import { PendingWills } from './sessions/pending-wills.ts';
import { QueueReplay } from './sessions/queue-replay.ts';
import { Session, type SessionListener } from './sessions/session.ts';
import { SessionReporter } from './sessions/session-reporter.ts';
import { SessionTermination } from './sessions/session-termination.ts';

/** The part of the registry that the broker asks. */
export type BrokerDirectory = CertificateStatusDirectory & PolicyDirectory;

export interface BrokerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly tls: BrokerTls;
  /** The CAs whose client certificates count as ours, PEM, one or more. A chain to the root alone is not enough. */
  readonly issuers: string | Buffer;
  readonly trustDomain: string;
  readonly directory: BrokerDirectory;
  readonly telemetry: TelemetryIntake;
  /** What is remembered between connections; closed by whoever opened it, after the broker. */
  readonly sessions: SessionStore;
  readonly limits?: Partial<BrokerLimits>;
  readonly now: () => number;
  readonly log: Logger;
  /** One credential seems to be used in two places. Called synchronously; what it throws is logged. */
  readonly onCloneSuspected?: (suspicion: CloneSuspicion) => void;
  /** Called synchronously; what it throws is logged. */
  readonly onEvent?: (event: BrokerEvent) => void;
  /** Shared with the other servers of the fleet; one of its own, as `limits` say, without it. */
  readonly refusalLog?: RefusalLog;
  /** Numbers for connections, each greater than the one before. Without it they begin with 1 at each start. */
  readonly nextSequence?: () => number;
}

export interface LiveSession {
  readonly identity: Identity;
  readonly clientId: string;
  readonly address: string;
  readonly serial: string;
  readonly connectedAt: number;
  readonly notAfter: number;
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
  /** New handshakes use it at once; no connection is dropped. */
  replaceTls(tls: BrokerTls, issuers?: string | Buffer): void;
  /**
   * Ends every session of an identity. With reason `revoked` or `suspended` at once and without its will; with `revoked`
   * also forgets what it left behind. Resolves when aedes has let go of all of them.
   */
  disconnect(identity: Identity, reason: DisconnectReason): Promise<TerminationReport>;
  /** Ends the sessions that came with this certificate, at once and without a will; forgets nothing. */
  disconnectCertificate(identity: Identity, serial: string): Promise<TerminationReport>;
  /** Holds an identity to a new group, new labels or a quarantine. Resolves with the sessions that could not stay. */
  reauthorize(subject: Subject): Promise<TerminationReport>;
  /** Delivers a message of the server's own to those who subscribed to its topic and may receive it. */
  publish(topic: string, payload: Buffer, qos: 0 | 1): Promise<void>;
  /** Keeps a message of the server's own under one of its topics, and delivers it; an empty payload removes it. */
  retain(topic: string, payload: Buffer): Promise<void>;
  sessions(): readonly LiveSession[];
  /** Everyone who left something to be remembered. */
  owners(): readonly Identity[];
  counters(): Readonly<Record<string, number>>;
  explain(subject: Subject, verb: PolicyVerb, topic: string): Promise<PolicyExplanation>;
  /** Stops listening, lets messages being stored finish, disconnects everybody. Once; later calls wait for the first. */
  close(): Promise<void>;
}

/** How long `close()` waits for messages that are being stored, and then for aedes. */
const CLOSE_GRACE = 5_000;

/** How long clients have to come back after a start before the wills they left are published. */
const WILL_GRACE = 10_000;

export async function createBroker(options: BrokerOptions): Promise<Broker> {
  const limits: BrokerLimits = { ...DEFAULT_LIMITS, ...options.limits };
  const { directory, telemetry, log, now } = options;
  const counters = new BrokerCounters();
  let connections = 0;
  const nextSequence =
    options.nextSequence ??
    (() => {
      connections += 1;
      return connections;
    });
  const sessions = new LiveSessions(limits.takeoversPerMinute);
  const policies = new PolicyResolver(directory, topicLimits(limits), log);
  const byWire = new WeakMap<MqttConnection, Session>();
  const live = (clientId: string) => {
    const session = sessions.find(clientId);
    if (session === undefined) return undefined;
    const { subject } = session.facts;
    return { owner: ownerOf(subject.identity), subject, isEnded: session.isEnded, filters: session.filters };
  };
  const shareExceeded = (owner: string, share: ShareExceeded) => {
    const identity = parseIdentity(owner);
    if (identity !== undefined) reports.shareExceeded(identity, share);
  };
  const persistence = new AedesPersistence(options.sessions, limits, live, (owner, bytes) =>
    shareExceeded(owner, { kept: 'retained', bound: 'own', bytes }),
  );
  const stopHearingOfRefusals = options.sessions.onRefused(({ kind, owner, bytes, heldBytes }) =>
    shareExceeded(owner, { kept: kind, bound: 'shared', bytes, heldBytes }),
  );
  await persistence.load((subject) => policies.rightsOf(subject), now());

  const refusalLog = options.refusalLog ?? new RefusalLog({ perMinutePerSource: limits.refusalLogsPerMinute, now });
  const reports = new SessionReporter({
    refusalLog,
    counters,
    log,
    now,
    onEvent: options.onEvent,
    onCloneSuspected: options.onCloneSuspected,
  });
  const replay = new QueueReplay(persistence, limits.replayPerSecond);
  const backpressure = new Backpressure({ sessions: () => sessions.all(), log });
  const storageShareLimiter = new StorageShareLimiter({
    shares: telemetry.shares,
    sessions: () => sessions.all(),
    find: (clientId) => sessions.find(clientId),
  });
  const deliveredKeys = new DeliveredKeys();
  const engine = await createRoutingEngine({
    deliveredKeys,
    limits,
    now,
    log,
    counters,
    persistence,
    telemetry,
    backpressure,
    storageShareLimiter,
    replay,
    sessionOf: (connection) => byWire.get(connection),
    connectFinished(session) {
      session.isConnectFinished = true;
      // aedes still has to count CONNECT as done before it may read on.
      replay.start(session, () => process.nextTick(() => session.connection.connectFinished()));
    },
    accessDenied: (session, verb, topic, why) => reports.accessDenied(session, verb, topic, why),
    shareExceeded: (identity, share) => reports.shareExceeded(identity, share),
  });

  const pendingWills = new PendingWills({
    persistence,
    gracePeriod: WILL_GRACE,
    now,
    log,
    deliveredKeys,
    rightsOf: (subject) => policies.rightsOf(subject),
    admits: ({ identity, group }, stream) =>
      identity.kind !== 'device' ||
      (storageShareLimiter.mayStore(identity, group) && telemetry.streams?.admit(identity.id, stream) !== false),
    accept: (message) => telemetry.accept(message),
    publish: (message) => engine.publish(message),
  });

  const fastPathOptions: TelemetryFastPathOptions = {
    inflight: limits.inflight,
    now,
    counters,
    telemetry,
    backpressure,
    subscriptions: engine.subscriptions,
    deliveredKeys,
    forward: (topic, { payload, qos }, done) => engine.forward({ topic, payload, qos }, done),
  };

  const sessionListener: SessionListener = {
    ending: (session, reason) => reports.ended(session, reason),
    finished(session) {
      sessions.remove(session);
      backpressure.sessionEnded(session);
      storageShareLimiter.sessionEnded(session);
      persistence.persistentSessions.clientDisconnected(session.facts.clientId, now());
    },
    protocolViolated: (session, violation) => reports.protocolViolated(session, violation),
    failed: (session, error) => reports.failed(session, error),
    messageStored() {
      counters.messagesAccepted += 1;
    },
    storageFailed: (session, error) => reports.storageFailed(session, error),
  };

  function authorized({ connection, subject, rights, connect, address, serial, notAfter }: AuthorizedConnection): void {
    const { clientId, clean } = connect;
    const facts = { subject, sequence: nextSequence(), clientId, address, serial, connectedAt: now(), notAfter };
    const session = new Session(facts, connection, rights, limits, now, sessionListener);
    byWire.set(connection, session);
    void pendingWills.publish(clientId);
    sessions.add(session);
    persistence.persistentSessions.clientConnected(clientId, ownerOf(subject.identity), subject, rights, clean);
    reports.connected(session);
    connection.setOwner(session);
    const handle = () => {
      session.aedesClient = engine.attach(connection);
      return engine.inputOf(session.aedesClient);
    };
    connection.startEngine(handle, new TelemetryFastPath(session, fastPathOptions));
    storageShareLimiter.update(session);
  }

  const refusals = new ConnectionRefusals({
    refusalLog,
    counters,
    log,
    now,
    onEvent: (event) => reports.event(event),
  });
  const limiter = new ConnectionLimiter({
    limits,
    now,
    refused: (reason, address) => refusals.report(reason, address),
  });
  const authorizer = new ConnectionAuthorizer(
    {
      limits,
      trustDomain: options.trustDomain,
      directory,
      policies,
      sessions,
      limiter,
      counters,
      log,
      now,
      refusals,
      tookOver: (takeover) => reports.tookOver(takeover),
      authorized,
    },
    readIssuers(options.issuers),
  );
  const { host, port } = options;
  const listener = await openTlsListener({
    host,
    port,
    tls: options.tls,
    handshakeTimeout: limits.connectTimeout,
    limiter,
    authorizer,
    refusals,
    log,
  }).catch(async (error: unknown) => {
    await engine.close(); // its timers would keep the process alive
    throw error;
  });
  const reauthorizer = new SessionReauthorizer({
    policies,
    persistence,
    log,
    withdrawn: (session, topic) => reports.subscriptionWithdrawn(session, topic),
  });
  const termination = new SessionTermination({ authorizer, sessions, persistence, policies, reauthorizer });
  const stopWatching = applyPolicyChanges({ directory, policies, sessions, persistence, reauthorizer, log });
  const stopHearingOfPressure = telemetry.onPressure((isBehind) => backpressure.setPressure(isBehind));
  const sweepTimer = setInterval(sweep, limits.sweepInterval);
  sweepTimer.unref();

  /** One timer for all: one per session would cost more than it finds. */
  function sweep(): void {
    const time = now();
    const monotonic = performance.now();
    for (const session of sessions.all()) {
      if (session.isEnded) continue;
      if (session.facts.notAfter <= time) session.end('certificate_expired');
      else if (session.connection.stalledFor(monotonic) > limits.stallTimeout) session.terminate('slow_consumer');
    }
    storageShareLimiter.sweep();
    sessions.sweep(time);
    reports.sweep(time);
    persistence.sweep(time);
  }

  async function close(): Promise<void> {
    stopWatching();
    stopHearingOfPressure();
    storageShareLimiter.stop();
    stopHearingOfRefusals();
    pendingWills.stop();
    clearInterval(sweepTimer);
    const stopped = listener.close();
    authorizer.close();
    const live = [...sessions.all()];
    for (const session of live) session.connection.pauseReading(PauseReason.shutdown);
    await within(CLOSE_GRACE, Promise.all(live.map((session) => session.acknowledgements.whenEmpty())));
    for (const session of live) {
      session.suppressWill();
      session.end('server_shutdown');
    }
    await within(CLOSE_GRACE, Promise.all(live.map((session) => session.whenFinished())));
    for (const session of live) await persistence.delWill({ id: session.facts.clientId });
    limiter.close();
    await engine.close();
    await stopped;
  }

  let closing: Promise<void> | undefined;

  return {
    port: listener.port,
    replaceTls(replacement, issuers) {
      listener.replaceTls(replacement);
      if (issuers !== undefined) authorizer.setIssuers(readIssuers(issuers));
    },
    disconnect: (identity, reason) => termination.disconnect(identity, reason),
    disconnectCertificate: (identity, serial) => termination.disconnectCertificate(identity, serial),
    reauthorize: (subject) => termination.reauthorize(subject),
    // A fleet that reconnects causes two events per device; the engine need not see what nobody wants.
    publish: async (topic, payload, qos) => {
      if (engine.subscriptions.hasSubscriber(topic)) await engine.publish({ topic, payload, qos });
    },
    retain: (topic, payload) => engine.publish({ topic, payload, qos: 1, retain: true }),
    sessions: () =>
      [...sessions.all()]
        .filter((session) => !session.isEnded)
        .map(({ eventFields, facts: { connectedAt, notAfter } }) => ({ ...eventFields, connectedAt, notAfter })),
    counters: () => ({
      ...counters.snapshot(),
      sessions: sessions.size,
      ...limiter.counters(),
      event_loop_busy_seconds_total: performance.eventLoopUtilization().active / 1_000,
      sessions_not_read: backpressure.pausedSessions,
      sessions_over_share: storageShareLimiter.heldSessions,
      retained: persistence.retainedCount,
      kept_sessions: persistence.persistentSessions.size,
      ...storedCounters(options.sessions),
    }),
    owners: () => [...persistence.owners()].flatMap((owner) => parseIdentity(owner) ?? []),
    async explain(subject, verb, topic) {
      const { document, source } = await policies.resolve(subject);
      const decision = new Rights(document, subject, topicLimits(limits)).may(verb, topic);
      if (decision.allowed) return { allowed: true, source, rule: decision.rule };
      return { allowed: false, source, reason: decision.reason };
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}

function storedCounters(sessions: SessionStore): Record<string, number> {
  const { dropped, storedBytes, retained, queued, isNearlyFull, commits } = sessions.counters();
  return {
    messages_not_queued: dropped,
    kept_bytes: storedBytes,
    kept_retained_bytes: retained.bytes,
    kept_queued_bytes: queued.bytes,
    'kept_refused_total/kept=retained': retained.refused,
    'kept_refused_total/kept=queued': queued.refused,
    kept_short: isNearlyFull ? 1 : 0,
    session_commits: commits,
  };
}

function readIssuers(pem: string | Buffer): readonly X509Certificate[] {
  const blocks = pem.toString().match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new RangeError('expected at least one issuing CA in PEM, found none');
  return blocks.map((block) => new X509Certificate(block));
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
