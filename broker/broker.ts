/**
 * The broker: who may say what on which topic, over mutual TLS. Wires listener, gate, sessions and aedes together and is
 * the only door of this room. Certificates and tokens are issued elsewhere; messages are stored by telemetry.
 */

import { constants, X509Certificate } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { performance } from 'node:perf_hooks';
import tls from 'node:tls';
import { Aedes } from 'aedes';
import mqemitter from 'mqemitter';
import type { Logger } from 'pino';
import { formatIdentity, type Identity, identityName } from '../contract/identity.ts';
import type { PolicyScope } from '../contract/policy.ts';
import { policyScopes } from '../contract/policy.ts';
import { Problem } from '../contract/problem.ts';
import { fleetEventTopic } from '../contract/topics.ts';
import { type Decision, Rights, type Subject, type Verb } from './acl.ts';
import { type Admitted, ConnectionGate, type StandingDirectory } from './connection-gate.ts';
import { Counters } from './counters.ts';
import { Door } from './door.ts';
import type { BrokerEvent, DisconnectReason } from './events.ts';
import { readFromGate } from './gated-parser.ts';
import { createHooks, ownerOf, type TelemetryIntake, withoutEngineDedupe } from './hooks.ts';
import { type BrokerLimits, DEFAULT_LIMITS, topicLimits } from './limits.ts';
import type { MqttWire } from './mqtt-wire.ts';
import { Policies, type PolicyDirectory } from './policies.ts';
import { type EngineSession, Session, type SessionListener } from './session.ts';
import { SessionStore } from './session-store.ts';
import { Sessions } from './sessions.ts';

/** The part of the registry that the broker asks. */
export type DeviceDirectory = StandingDirectory & PolicyDirectory;

/** PEM texts. */
export interface BrokerTls {
  readonly key: string | Buffer;
  /** The server's chain, leaf first. */
  readonly cert: string | Buffer;
  /** Root and issuing CA: what a client chain may end in. */
  readonly ca: string | Buffer;
}

export interface BrokerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly tls: BrokerTls;
  /** The CAs whose client certificates count as ours, PEM, one or more. A chain to the root alone is not enough. */
  readonly issuers: string | Buffer;
  readonly trustDomain: string;
  readonly directory: DeviceDirectory;
  readonly telemetry: TelemetryIntake;
  readonly limits?: Partial<BrokerLimits>;
  readonly now: () => number;
  readonly log: Logger;
  /** Called synchronously; what it throws is logged. */
  readonly onEvent?: (event: BrokerEvent) => void;
}

export interface LiveSession {
  readonly identity: Identity;
  readonly clientId: string;
  readonly address: string;
  readonly serial: string;
  readonly connectedAt: number;
  readonly notAfter: number;
}

export interface Explanation {
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
   * Ends every session of an identity. With reason `revoked` also forgets what it left behind, publishes no will, and
   * writes `$fleet/events/presence/disconnected/<name>` in its place. Resolves when aedes has let go of all of them.
   */
  disconnect(identity: Identity, reason: DisconnectReason): Promise<{ readonly sessionsClosed: number }>;
  sessions(): readonly LiveSession[];
  counters(): Readonly<Record<string, number>>;
  explain(subject: Subject, verb: Verb, topic: string): Promise<Explanation>;
  /** Stops listening, lets messages being stored finish, disconnects everybody. Once; later calls wait for the first. */
  close(): Promise<void>;
}

/** How long `close()` waits for messages that are being stored. */
const CLOSE_GRACE = 5_000;
/** aedes looks for wills of dead brokers at four times this; it has none, but the timer cannot be switched off. */
const ENGINE_HEARTBEAT = 3_600_000;

export async function createBroker(options: BrokerOptions): Promise<Broker> {
  const limits: BrokerLimits = { ...DEFAULT_LIMITS, ...options.limits };
  const { log, now } = options;
  const counters = new Counters();
  const sessions = new Sessions(limits.takeoversPerMinute);
  const policies = new Policies(options.directory, topicLimits(limits), log);
  const store = new SessionStore(limits, counters, (clientId) => {
    const session = sessions.find(clientId);
    return session === undefined ? undefined : ownerOf(session.facts.subject.identity);
  });
  const byWire = new WeakMap<MqttWire, Session>();

  const emit = (event: BrokerEvent): void => {
    try {
      options.onEvent?.(event);
    } catch (error) {
      log.error({ err: error, event: event.type }, 'event listener failed');
    }
  };

  const factsOf = (session: Session) => {
    const { subject, clientId, address, serial } = session.facts;
    return { identity: subject.identity, clientId, address, serial };
  };

  const engine = await Aedes.createBroker({
    mq: mqemitter({ concurrency: 0, matchEmptyLevels: true }),
    persistence: store,
    concurrency: 0, // a reader that does not read must not use up the slots of the others
    heartbeatInterval: ENGINE_HEARTBEAT,
    connectTimeout: limits.connectTimeout,
    drainTimeout: 0, // never waits: a wire takes everything, and who does not read is disconnected
    maxTopicLevels: limits.topicLevels,
    maxInflightInbound: limits.inflight,
    queueLimit: limits.inflight,
    ...createHooks({
      limits,
      now,
      counters,
      store,
      telemetry: options.telemetry,
      sessionOf: (wire) => byWire.get(wire),
      denied: (session, verb, topic, decision) => {
        const why = decision.allowed ? '' : decision.reason;
        log.warn({ identity: formatIdentity(session.facts.subject.identity), verb, topic, why }, 'refused by policy');
        emit({ type: 'acl_denied', at: now(), ...factsOf(session), verb, topic, why });
      },
    }),
  });
  const noDedupe = withoutEngineDedupe(engine);
  const enginePublish = engine.publish.bind(engine) as (...values: unknown[]) => void;
  // aedes tells other brokers about each client under $SYS; there is no other, and nobody may read it.
  engine.publish = ((packet: { readonly topic: string }, ...rest: unknown[]) => {
    if (!packet.topic.startsWith('$SYS/')) return enginePublish(packet, ...rest);
    const done = rest.find((value) => typeof value === 'function') as (() => void) | undefined;
    done?.();
  }) as typeof engine.publish;
  const sessionOf = (client: { readonly conn: unknown }) => byWire.get(client.conn as MqttWire);

  engine.on('clientReady', (client) => {
    const session = sessionOf(client);
    if (session === undefined) return;
    session.isReady = true;
    counters.connected += 1;
    if (!session.isEnded) emit({ type: 'connected', at: now(), ...factsOf(session) });
    // aedes still has to count CONNECT as done before it may read on.
    process.nextTick(() => session.wire.ready());
  });
  engine.on('keepaliveTimeout', (client) => sessionOf(client)?.note('keepalive_timeout'));
  const engineFailed = (client: { readonly conn: unknown }, error: Error) => {
    const session = sessionOf(client);
    if (session === undefined || session.isEnded || session.wire.isGone) return;
    const isInflight = error.message.startsWith('maxInflightInbound');
    if (!isInflight) log.warn({ err: error, ...factsOf(session) }, 'engine ended a session');
    session.note(isInflight ? 'limit_exceeded' : 'server_error');
  };
  engine.on('clientError', engineFailed);
  engine.on('connectionError', engineFailed);
  (engine as unknown as NodeJS.EventEmitter).on('error', (error: unknown) =>
    log.error({ err: error }, 'engine failed'),
  );

  const listener: SessionListener = {
    ending(session, reason) {
      counters.countDisconnect(reason);
      const { connectedAt } = session.facts;
      log.info(
        { ...factsOf(session), identity: formatIdentity(session.facts.subject.identity), reason },
        'session ended',
      );
      emit({ type: 'disconnected', at: now(), connectedAt, reason, ...factsOf(session) });
    },
    finished(session) {
      sessions.remove(session);
      store.left(session.facts.clientId, now());
    },
    violated(session, violation) {
      log.warn({ ...factsOf(session), clause: violation.clause, says: violation.says }, 'protocol violation');
    },
    messageStored() {
      counters.messagesAccepted += 1;
    },
    storageFailed(session, error) {
      log.error({ err: error, clientId: session.facts.clientId }, 'message could not be stored');
    },
  };

  function admitted({ wire, subject, rights, connect, address, serial, notAfter }: Admitted): void {
    const facts = { subject, clientId: connect.clientId, address, serial, connectedAt: now(), notAfter };
    const session = new Session(facts, wire, rights, limits, now, listener);
    byWire.set(wire, session);
    sessions.add(session);
    store.arrived(connect.clientId, ownerOf(subject.identity), subject, rights, connect.clean);
    wire.handTo(session);
    wire.open((conn) => {
      const client = engine.handle(conn as never) as EngineSession;
      client.duplicates = noDedupe;
      readFromGate(client._parser);
      session.engine = client;
      return client;
    });
  }

  const door = new Door({ limits, now, refused: (reason, address) => gate.report(reason, address) });
  const gate: ConnectionGate = new ConnectionGate(
    {
      limits,
      trustDomain: options.trustDomain,
      directory: options.directory,
      policies,
      sessions,
      door,
      counters,
      log,
      now,
      onEvent: emit,
      admitted,
    },
    readIssuers(options.issuers),
  );

  const server = tls.createServer({
    ...tlsOptions(options.tls),
    requestCert: true,
    rejectUnauthorized: false, // our own gate decides, so that it can say why
    handshakeTimeout: Math.max(1, limits.connectTimeout),
    noDelay: true,
  });
  server.on('secureConnection', (socket) => gate.accept(socket));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const half = door.find(socket);
    socket.on('error', () => {});
    socket.destroy(); // Node reports a slow handshake here and closes nothing
    if (half !== undefined) {
      half.settle();
      gate.report('handshake_failed', half.address, { detail: error.code ?? error.message });
    }
  });
  door.guard(server);

  const stopWatching = options.directory.onPolicyChange((scope) => {
    policies.forget(scope);
    applyPolicies(scope).catch((error: unknown) => log.error({ err: error, scope }, 'policy could not be applied'));
  });

  async function applyPolicies(scope: PolicyScope): Promise<void> {
    const concerns = (subject: Subject) => policyScopes(subject.identity, subject.group).includes(scope);
    for (const session of [...sessions.all()]) {
      const { subject, clientId } = session.facts;
      if (!concerns(subject) || session.isEnded) continue;
      let rights: Rights;
      try {
        rights = await policies.rightsOf(subject);
      } catch (error) {
        log.error({ err: error, clientId }, 'policy could not be read');
        session.end('server_error');
        continue;
      }
      session.rights = rights;
      if (!rights.mayConnect(clientId).allowed) session.end('policy_changed');
      else withdraw(session);
    }
    for (const kept of store.keptSessions()) {
      if (concerns(kept.subject)) kept.setRights(await policies.rightsOf(kept.subject));
    }
  }

  /** Unsubscribes a session from what it may no longer hear. */
  function withdraw(session: Session): void {
    const client = session.engine;
    if (client === undefined || session.isEnded) return;
    const lost = Object.keys(client.subscriptions).filter((filter) => !session.rights.maySubscribe(filter).allowed);
    if (lost.length === 0) return;
    client.unsubscribe({ cmd: 'unsubscribe', unsubscriptions: lost } as never, () => {});
    void store.removeSubscriptions({ id: session.facts.clientId }, lost);
  }

  const sweepTimer = setInterval(sweep, limits.sweepInterval);
  sweepTimer.unref();

  function sweep(): void {
    const time = now();
    const stalledBefore = performance.now() - limits.stallTimeout;
    for (const session of sessions.all()) {
      if (session.isEnded) continue;
      if (session.facts.notAfter <= time) session.end('certificate_expired');
      else if (session.wire.stalledSince > 0 && session.wire.stalledSince < stalledBefore) session.cut('slow_consumer');
    }
    sessions.sweep(time);
    door.sweep(time);
    gate.sweep(time);
    void store.sweep(time);
  }

  await listen(server, options.host, options.port);

  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    stopWatching();
    clearInterval(sweepTimer);
    const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
    gate.close();
    const live = [...sessions.all()];
    for (const session of live) session.wire.pauseReading();
    await within(CLOSE_GRACE, Promise.all(live.map((session) => session.order.emptied())));
    for (const session of live) {
      session.suppressWill();
      session.end('server_shutdown');
    }
    await within(CLOSE_GRACE, Promise.all(live.map((session) => session.finished())));
    door.close();
    for (const session of live) session.wire.socket.destroy();
    await new Promise<void>((resolve) => engine.close(resolve));
    await stopped;
  }

  return {
    port: (server.address() as AddressInfo).port,

    replaceTls(replacement, issuers) {
      server.setSecureContext(tlsOptions(replacement));
      if (issuers !== undefined) gate.setIssuers(readIssuers(issuers));
    },

    async disconnect(identity, reason) {
      if (reason === 'revoked') gate.revocationHappened();
      const ended = sessions.of(identity);
      for (const session of ended) {
        if (reason === 'revoked') session.cut(reason);
        else session.end(reason);
      }
      await Promise.all(ended.map((session) => session.finished()));
      if (reason === 'revoked') {
        await store.purge(ownerOf(identity));
        for (const session of ended) announceRevoked(session);
      }
      return { sessionsClosed: ended.length };
    },

    sessions() {
      const live: LiveSession[] = [];
      for (const session of sessions.all()) {
        if (!session.isReady || session.isEnded) continue;
        live.push({ ...factsOf(session), connectedAt: session.facts.connectedAt, notAfter: session.facts.notAfter });
      }
      return live;
    },

    counters() {
      return {
        ...counters.snapshot(),
        sessions: sessions.size,
        half_open: door.halfOpen,
        retained: store.retainedCount,
        kept_sessions: store.keptCount,
      };
    },

    async explain(subject, verb, topic) {
      const { document, source } = await policies.appliedTo(subject);
      const decision: Decision = new Rights(document, subject, topicLimits(limits)).may(verb, topic);
      return decision.allowed
        ? { allowed: true, source, rule: decision.rule }
        : { allowed: false, source, reason: decision.reason };
    },

    close() {
      closing ??= close();
      return closing;
    },
  };

  /** Stands in for the will of a revoked client. */
  function announceRevoked(session: Session): void {
    const { identity, clientId, serial } = factsOf(session);
    const payload = JSON.stringify({
      identity: formatIdentity(identity),
      clientId,
      serial,
      reason: 'revoked',
      at: new Date(now()).toISOString(),
    });
    engine.publish(
      {
        cmd: 'publish',
        topic: fleetEventTopic(['presence', 'disconnected', identityName(identity)]),
        payload: Buffer.from(payload),
        qos: 1,
        retain: false,
        dup: false,
      },
      (error) => {
        if (error) log.error({ err: error }, 'event could not be published');
      },
    );
  }
}

function tlsOptions({ key, cert, ca }: BrokerTls): tls.SecureContextOptions {
  return {
    key,
    cert,
    ca,
    minVersion: 'TLSv1.2',
    // Nothing resumes: a resumed session has been let in past expiry, revocation and even without a certificate.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

function readIssuers(pem: string | Buffer): readonly X509Certificate[] {
  const blocks = pem.toString().match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new RangeError('expected at least one issuing CA in PEM, found none');
  return blocks.map((block) => new X509Certificate(block));
}

function listen(server: tls.Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = `${host}:${port}: ${error.code ?? error.message}`;
      reject(error.code === 'EADDRINUSE' ? new Problem('address_in_use', { reason, cause: error }) : error);
    });
    server.listen(port, host, () => {
      server.removeAllListeners('error');
      server.on('error', () => {}); // accept() failing for want of descriptors must not end the process
      resolve();
    });
  });
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
