/**
 * A whole server: opens every part, connects the parts, and closes them in reverse order. `store-options.ts` and
 * `server-options.ts` hold the options of each part. Reads no flag and prints nothing.
 */

import { lifecycleTopic, type Problem, serverUrl, UNKNOWN_NAME } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { type Broker, MAIN_NODE } from '../broker/index.ts';
import { type ClockState, type Console, createConsole, createProbeServer } from '../console/index.ts';
import {
  type Authority,
  createEnrollServer,
  createExpiryMonitor,
  createRenewalSchedule,
  type EnrollServer,
  type RenewalSchedule,
} from '../enroll/index.ts';
import { createRequestLimits } from '../limits/index.ts';
import type { Registry } from '../registry/index.ts';
import { lockDirectory } from '../storage/index.ts';
import { type RestoredNote, readRestoredNote, removeRestoredNote } from './backup/restored-note.ts';
import { openCertificateAuthority } from './certificate-authority.ts';
import { createClockCheck } from './clock.ts';
import { isShared, isSkewed, openCluster } from './cluster/cluster.ts';
import { enrollUrlOf, mayReportExpiry, noEnrollServer } from './cluster/node-parts.ts';
import type { Config } from './config/config.ts';
import type { ServerContext } from './context.ts';
import { type DataDirectory, openDataDirectory } from './data-directory.ts';
import { DescriptorMonitor } from './descriptor-monitor.ts';
import { LoadTestFollower } from './load-test-follower.ts';
import { setLogLevel } from './logger.ts';
import { type CounterSource, collectTelemetry, Metrics } from './metrics.ts';
import { expectUsableDirectory } from './migration/usable-store.ts';
import { type OpenBroker, openBroker } from './open-broker.ts';
import { OpenParts } from './open-parts.ts';
import { openStores } from './open-stores.ts';
import { createOverviewMonitor } from './overview/overview.ts';
import { PresenceRecorder } from './presence-recorder.ts';
import { Readiness } from './readiness.ts';
import { applyUnconfirmedChanges, connectRegistryChangeHandlers } from './registry-change-handlers.ts';
import { applyConfig, type ReloadReport } from './reload.ts';
import { runtimeText } from './runtime.ts';
import { consoleOptions, enrollOptions, renewalOptions } from './server-options.ts';
import { Simulations } from './simulations/simulations.ts';
import type { Stores } from './store-options.ts';
import { connectTrustBundle } from './trust-bundle.ts';

export interface FleetServerOptions {
  readonly config: Config;
  readonly version: string;
  /** Environment variables that hold the credentials of sinks. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /**
   * Another process has the name of this node (Problem `node_exists`), an operator removed it (`node_removed`), or others took over its sessions
   * (`node_superseded`): the server has to be closed. After the last one it can be started again. Called once.
   */
  readonly lost?: (problem: Problem) => void;
  /** Counters of the log's destination. */
  readonly logLines?: CounterSource;
}

export interface FleetServer {
  readonly enrollUrl: string;
  readonly mqttUrl: string;
  /** Of MQTT over WebSocket; undefined when it is not configured. */
  readonly webSocketUrl: string | undefined;
  readonly consoleUrl: string;
  /** `http://host:port` of CRLs and OCSP; undefined when it is not configured. */
  readonly certificateStatusUrl: string | undefined;
  /** Path of the operator socket. */
  readonly socket: string;
  /** `http://host:port` of `/livez` and `/readyz`; undefined when it is not configured. */
  readonly healthUrl: string | undefined;
  /** Path of the root certificate, PEM. */
  readonly trustBundle: string;
  /** A one-time link for the first operator; undefined when there is one. Its fragment is a secret: it is for a person alone. */
  createSetUpLink(): Promise<string | undefined>;
  /** Whether there is no operator yet. */
  needsFirstOperator(): Promise<boolean>;
  /** Applies a new configuration, and says what changed. One that changes nothing reads the certificate files again. */
  reload(config: Config): Promise<ReloadReport>;
  /**
   * Is not ready from now on, accepts no device and no enrollment, finishes what is being stored, and ends the sessions at the configured
   * rate. The console stays open. To be called before `close()`; idempotent.
   */
  drain(): Promise<void>;
  /** Disconnects clients, flushes the journal, frees every address. Idempotent. */
  close(): Promise<void>;
}

interface Servers {
  readonly broker: Broker;
  readonly nodes: OpenBroker['nodes'];
  readonly enroll: EnrollServer;
  readonly renewals: RenewalSchedule;
  readonly console: Console;
  readonly mqttUrl: string;
  readonly enrollUrl: string;
}

/** Closes the parts that are open and throws the Problem of the first part that cannot be opened. */
export async function startFleetServer(options: FleetServerOptions): Promise<FleetServer> {
  const opened = new OpenParts();
  const ownership: Ownership = { expectOwn: async () => {}, lost: undefined };
  try {
    return await start(options, opened, ownership);
  } catch (error) {
    // What fails because others have what this node had says so, whichever part of it failed first.
    await ownership.expectOwn().catch(() => {});
    await opened.close();
    throw ownership.lost ?? error;
  }
}

/** Of a node that starts. */
interface Ownership {
  /** Looks whether others have taken over its sessions. */
  expectOwn: () => Promise<void>;
  /** As `FleetServerOptions.lost`. */
  lost: Problem | undefined;
}

async function start(options: FleetServerOptions, opened: OpenParts, ownership: Ownership): Promise<FleetServer> {
  const data = openDataDirectory(options.config.data);
  // The lock is acquired before anything in the directory is opened, and released last.
  const lock = lockDirectory(data.path);
  opened.add({ close: async () => lock.release() });
  const alone = openContext(options, data, opened);
  const { config, readiness, now, log } = alone;
  if (!isShared(config)) expectUsableDirectory(data.path);
  const healthUrl = await openProbes(alone, opened);
  const context = { ...alone, cluster: isShared(config) ? opened.add(await openCluster(alone)) : undefined };
  context.cluster?.onLost((problem) => {
    ownership.lost = problem;
  });

  const restored = readRestoredNote(data.path);
  const stores = await openStores(context, restored && 'restore', opened);
  const { cluster } = context;
  ownership.expectOwn = async () => stores.shared?.nodes.expectOwn();
  const ownClock = await createClockCheck(stores.registry, { now, log });
  const clock = (): ClockState => (ownClock() === 'ok' && cluster && isSkewed(cluster.skew()) ? 'skewed' : ownClock());
  if (cluster !== undefined) {
    context.metrics.collectFrom('store', {
      counters: () => ({ clock_skew_seconds: cluster.skew().skew / 1_000 }),
    });
  }
  const { authority, statusUrl } = opened.add(await openCertificateAuthority(context, stores.registry));
  if (restored !== undefined) await recordRestore(restored, stores.registry, context);

  opened.add(
    await LoadTestFollower.start({
      registry: stores.registry,
      loadTests: context.limits.loadTests,
      log: log.child({ component: 'registry' }),
    }),
  );
  const servers = await openServers(context, stores, { authority, clock }, opened);
  await connectParts(context, stores, { authority, servers }, opened);
  readiness.serving({
    ...stores,
    ...(cluster && { isHeard: () => cluster.liveness() === 'alive' && !cluster.isDrained() }),
  });
  cluster?.onLost((problem) => options.lost?.(problem));

  return {
    enrollUrl: servers.enrollUrl,
    mqttUrl: servers.mqttUrl,
    webSocketUrl: webSocketUrl(context, servers.broker),
    consoleUrl: servers.console.url,
    certificateStatusUrl: statusUrl,
    healthUrl,
    socket: data.socket,
    trustBundle: data.trustBundle,
    createSetUpLink: () => servers.console.createSetUpLink(),
    needsFirstOperator: () => stores.registry.needsFirstOperator(),
    reload: (next) =>
      applyConfig(config, next, {
        ...servers,
        authority,
        requests: context.limits.requests,
        setLogLevel: (level) => {
          setLogLevel(log, level);
          servers.nodes.setLogLevel(level);
        },
      }),
    drain: async () => {
      readiness.draining();
      await Promise.all([servers.enroll.close(), servers.broker.drain(config.drain)]);
    },
    close: () => opened.close(),
  };
}

function webSocketUrl({ config, publicHost }: ServerContext, { webSocketPort }: Broker): string | undefined {
  return webSocketPort === undefined
    ? undefined
    : `${serverUrl('wss', publicHost, webSocketPort)}${config.mqtt.webSocket.path}`;
}

function openContext(
  { config, version, environment = {}, now, log, logLines }: FleetServerOptions,
  data: DataDirectory,
  opened: OpenParts,
): ServerContext {
  const descriptors = opened.add(new DescriptorMonitor({ log, now: () => performance.now() }));
  const limits = createRequestLimits(
    {
      requestsPerSecondPerAddress: config.requests.perSecondPerAddress,
      refusalLogsPerMinute: config.mqtt.limits.refusalLogsPerMinute,
    },
    now,
  );
  const metrics = new Metrics({ version, runtime: runtimeText, log });
  metrics.collectFrom('descriptors', descriptors);
  metrics.collectFrom('refusals', limits.refusalLog);
  metrics.collectFrom('loadTests', limits.loadTests);
  if (logLines !== undefined) metrics.collectFrom('logLines', logLines);
  const publicHost = config.publicHosts[0] as string;
  const readiness = new Readiness();
  const startTime = now() / 1_000;
  metrics.collectFrom('server', {
    counters: async () => ({ ready: await readiness.isReady(), start_time_seconds: startTime }),
  });
  return {
    ...{ config, data, environment, publicHost, version, limits, metrics, readiness, now, log },
    cluster: undefined,
  };
}

/** Opened before the stores, and closed after them: a probe is answered while the server starts and stops. */
async function openProbes(context: ServerContext, opened: OpenParts): Promise<string | undefined> {
  const { config, readiness, limits, now } = context;
  if (!config.health.listen) return undefined;
  const { host, port } = config.health;
  const { refusalLog } = limits;
  const isReady = () => readiness.isReady();
  const log = context.log.child({ component: 'health' });
  const probes = opened.add(await createProbeServer({ host, port, isReady, refusalLog, now, log }));
  return serverUrl('http', host, probes.port);
}

async function recordRestore(restored: RestoredNote, registry: Registry, { data, log }: ServerContext): Promise<void> {
  log.warn({ ...restored }, 'restored from a backup: revocations after the backup are missing');
  await registry.recordAction({
    actor: 'server/restore',
    action: 'fleet.restored',
    subject: `backup/${restored.takenAt}`,
    outcome: 'done',
    details: { restoredAt: restored.restoredAt },
  });
  // A session that ended after the backup would be live again, and a link that was used could be used again.
  await registry.endAllOperatorSessions('server/restore');
  removeRestoredNote(data.path);
}

/** Opens the broker, then the EST server, then the console, because each publishes the address of the previous one. */
async function openServers(
  context: ServerContext,
  stores: Stores,
  { authority, clock }: { readonly authority: Authority; readonly clock: () => ClockState },
  opened: OpenParts,
): Promise<Servers> {
  const { data, publicHost, metrics, now, log } = context;
  const { registry, telemetry, events, sinks } = stores;
  const name = context.cluster?.node ?? MAIN_NODE;
  const presence = opened.add(
    new PresenceRecorder({ registry, broker: name, log: log.child({ component: 'presence' }) }),
  );
  await presence.start();
  const { broker, nodes } = await openBroker(context, stores, { authority, presence }, opened);
  const mqttUrl = serverUrl('mqtts', publicHost, broker.port || context.config.mqtt.port);
  const renewals = createRenewalSchedule(renewalOptions(context, stores, broker));
  const onRecorded = () => void events.pollAudit();
  const expiry = opened.add(
    createExpiryMonitor({
      ...{ registry, authority, onRecorded, now },
      mayReport: mayReportExpiry(context, opened),
      log: log.child({ component: 'enroll' }),
    }),
  );
  const enroll = opened.add(
    context.config.node.roles.includes('enroll')
      ? await createEnrollServer(enrollOptions(context, stores, { authority, renewals, mqttUrl }))
      : noEnrollServer(context),
  );
  const enrollUrl = enrollUrlOf(context, enroll.port);
  metrics.collectFrom('nodes', nodes); // Asks the nodes for what the broker has counted.
  metrics.collectFrom('broker', broker);
  metrics.collectFrom('enroll', enroll);
  metrics.collectFrom('expiry', expiry);
  metrics.collectFrom('events', events);
  metrics.collectFrom('sinks', sinks);
  collectTelemetry(metrics, telemetry);
  const overview = opened.add(createOverviewMonitor({ context, stores, broker, nodes, enroll, expiry }));
  const simulations = opened.add(
    new Simulations({
      directory: data.simulations,
      environment: context.environment,
      registry,
      now,
      log: log.child({ component: 'simulations' }),
    }),
  );
  const console = opened.add(
    await createConsole(
      consoleOptions(context, stores, {
        authority,
        broker,
        presence,
        renewals,
        overview,
        nodes,
        simulations,
        enrollUrl,
        enrollPort: enroll.port,
        mqttUrl,
        clock,
      }),
    ),
  );
  return { broker, nodes, enroll, renewals, console, mqttUrl, enrollUrl };
}

/** Applies changes that were committed while no server ran, then each change at its commit. */
async function connectParts(
  { cluster, data, now, log }: ServerContext,
  { registry, events }: Stores,
  { authority, servers }: { readonly authority: Authority; readonly servers: Servers },
  opened: OpenParts,
): Promise<void> {
  const { broker, renewals, console } = servers;
  await connectTrustBundle(authority, broker, data.trustBundle);
  const failed = (message: string) => (error: unknown) => log.error({ err: error }, message);
  renewals.republishNotices().catch(failed('renewal notices were not published again'));
  await applyUnconfirmedChanges(broker, registry);

  registry.onRevocation(({ holder, serials }) => {
    if (holder.kind !== 'device') return;
    for (const serial of serials) {
      renewals.withdrawNotice(holder.id, serial).catch(failed('renewal notice was not withdrawn'));
    }
  });
  const afterChange = (affectsCrl: boolean) => {
    void events.pollAudit();
    if (affectsCrl) authority.status.refresh().catch(failed('revocation list was not rebuilt'));
  };
  connectRegistryChangeHandlers({
    node: cluster === undefined ? MAIN_NODE : undefined,
    now,
    registry,
    broker,
    onRevoked: () => afterChange(true),
    // Certificates of a suspended device are on hold (RFC 5280, certificateHold) until its status changes.
    onChanged: ({ operation }) => afterChange(['suspend', 'resume', 'quarantine'].includes(operation)),
    log,
  });
  // Events are published after their commit, and not after the broker begins to close.
  const stopPublishing = events.log.follow({}, (event) => {
    if (!events.isOwn(event)) return;
    const { type, name, json } = event;
    const topic = lifecycleTopic(type, name === UNKNOWN_NAME ? undefined : name);
    void broker.publish(topic, Buffer.from(json), type === 'presence.connect_failed' ? 0 : 1);
  });
  opened.add({ close: async () => stopPublishing() });
  authority.serverCertificates.onChange('broker', (credentials) => broker.replaceTls(credentials));
  authority.serverCertificates.onChange('console', (credentials) => console.replaceTls(credentials));
}
