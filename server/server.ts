/**
 * A whole server: opens every part, connects the parts, and closes them in reverse order. `store-options.ts` and
 * `server-options.ts` hold the options of each part. Reads no flag and prints nothing.
 */

import { type Problem, serverUrl } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Broker } from '../broker/index.ts';
import type { ClockState } from '../console/index.ts';
import type { Registry } from '../registry/index.ts';
import { type HeartbeatBounds, lockDirectory } from '../storage/index.ts';
import { type RestoredNote, readRestoredNote, removeRestoredNote } from './backup/restored-note.ts';
import { openCertificateAuthority } from './certificate-authority.ts';
import { createClockCheck } from './clock.ts';
import { isSkewed } from './cluster/clock-skew.ts';
import { openCluster } from './cluster/cluster.ts';
import { isShared } from './cluster/node-settings.ts';
import type { Config } from './config/config.ts';
import { expectWorkers } from './config/workers.ts';
import { connectParts } from './connect-parts.ts';
import type { ServerContext } from './context.ts';
import { openDataDirectory } from './data-directory.ts';
import { LoadTestFollower } from './load-test-follower.ts';
import { setLogLevel } from './logger.ts';
import { expectUsableDirectory } from './migration/usable-store.ts';
import { type ContextOptions, openContext, openProbes } from './open-context.ts';
import { OpenParts } from './open-parts.ts';
import { openServers } from './open-servers.ts';
import { openStores } from './open-stores.ts';
import { applyConfig, type ReloadReport } from './reload.ts';

export interface FleetServerOptions extends ContextOptions {
  /**
   * Another process has the name of this node (Problem `node_exists`), an operator removed it (`node_removed`), or others took over its sessions
   * (`node_superseded`): the server has to be closed. After the last one it can be started again. Called once.
   */
  readonly lost?: (problem: Problem) => void;
  /** Whether the server is still wanted when it has started: a start that waits for a database fails at once when it is aborted. */
  readonly stopped?: AbortSignal;
  /** Of a node that shares a store. Other nodes rely on the default bounds: with others a test breaks the fencing of a node. */
  readonly heartbeat?: HeartbeatBounds;
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

/** Closes the parts that are open and throws the Problem of the first part that cannot be opened. */
export async function startFleetServer(options: FleetServerOptions): Promise<FleetServer> {
  const opened = new OpenParts();
  const ownership: Ownership = { isHeard: () => false, expectOwn: async () => {}, lost: undefined, shared: [] };
  const starting = new AbortController();
  const stop = () => starting.abort();
  options.stopped?.addEventListener('abort', stop);
  if (options.stopped?.aborted === true) stop(); // Before this start, while the server before it was closed.
  try {
    return await start({ ...options, stopped: starting.signal }, opened, ownership);
  } catch (error) {
    // What fails because others have what this node had says so, whichever part of it failed first.
    await ownership.expectOwn().catch(() => {});
    await closeParts(opened, ownership, options.log).catch((cause: unknown) =>
      options.log.warn({ err: cause }, 'a part did not close'),
    );
    throw ownership.lost ?? error;
  } finally {
    options.stopped?.removeEventListener('abort', stop);
  }
}

/** Of a node that starts. */
interface Ownership {
  /** Its heartbeats are confirmed, so its database answers. */
  isHeard: () => boolean;
  /** Looks whether others have taken over its sessions. */
  expectOwn: () => Promise<void>;
  /** As `FleetServerOptions.lost`. */
  lost: Problem | undefined;
  /** What is open of the database that it shares with others. */
  readonly shared: Closable[];
}

async function start(options: FleetServerOptions, opened: OpenParts, ownership: Ownership): Promise<FleetServer> {
  const { mqtt, telemetry } = options.config;
  expectWorkers({
    ...{ workers: mqtt.workers, isShared: isShared(options.config) },
    ...{ queuedBytes: telemetry.queuedBytes, packet: mqtt.limits.packet },
  });

  // 1. The data directory: the lock is acquired before anything in it is opened, and released last.
  const data = openDataDirectory(options.config.data);
  const lock = lockDirectory(data.path);
  opened.add({ close: async () => lock.release() });

  // 2. Probes, which answer from here on; and the name of this node, where it is one of several.
  const alone = openContext(options, data, opened);
  const { config, readiness, log } = alone;
  if (!isShared(config)) expectUsableDirectory(data.path);
  const healthUrl = await openProbes(alone, opened);
  const { heartbeat, stopped } = options;
  const cluster = isShared(config)
    ? opened.add(await openCluster({ ...alone, heartbeat, ...(stopped && { stopped }) }))
    : undefined;
  const context = { ...alone, cluster };
  cluster?.onLost((problem) => {
    ownership.lost = problem;
  });
  if (cluster !== undefined) {
    ownership.shared.push(cluster.database);
    ownership.isHeard = () => cluster.liveness() === 'alive';
  }

  // 3. The stores, the clock that they know, and the CA.
  const restored = readRestoredNote(data.path);
  const stores = await openStores(context, restored && 'restore', opened);
  ownership.expectOwn = async () => stores.shared?.nodes.expectOwn();
  if (cluster !== undefined) ownership.shared.push(stores.registry);
  const clock = await createClock(context, stores.registry);
  const { authority, statusUrl } = opened.add(await openCertificateAuthority(context, stores.registry));
  if (restored !== undefined) await recordRestore(restored, stores.registry, context);
  opened.add(
    await LoadTestFollower.start({
      registry: stores.registry,
      loadTests: context.limits.loadTests,
      log: log.child({ component: 'registry' }),
    }),
  );

  // 4. The servers, and what follows from changes.
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
    close: () => closeParts(opened, ownership, log),
  };
}

/** A supervisor is told to allow 30 seconds beyond the drain: the last sessions take up to a third of that. */
const DATABASE_ANSWERS_MS = 12_000;
const LOOK_AGAIN_MS = 1_000;

interface Closable {
  close(): Promise<void>;
}

/** A database that does not answer is given up: each part would wait for it in its turn, and what it has not confirmed is not acknowledged. */
async function closeParts(opened: OpenParts, { shared, isHeard }: Ownership, log: Logger): Promise<void> {
  const giveUp = () => {
    // Something else takes long, such as clients, or much that is still stored.
    if (isHeard()) {
      timer = setTimeout(giveUp, LOOK_AGAIN_MS);
      return;
    }
    log.warn('the database does not answer, and is given up');
    for (const one of shared) one.close().catch((cause: unknown) => log.warn({ err: cause }, 'a part did not close'));
  };
  let timer = shared.length > 0 ? setTimeout(giveUp, DATABASE_ANSWERS_MS) : undefined;
  try {
    await opened.close();
  } finally {
    clearTimeout(timer);
  }
}

function webSocketUrl({ config, publicHost }: ServerContext, { webSocketPort }: Broker): string | undefined {
  return webSocketPort === undefined
    ? undefined
    : `${serverUrl('wss', publicHost, webSocketPort)}${config.mqtt.webSocket.path}`;
}

/** Whether the clock of this machine can be trusted: by what the registry has seen, and by the database that several nodes share. */
async function createClock(
  { cluster, metrics, now, log }: ServerContext,
  registry: Registry,
): Promise<() => ClockState> {
  const ownClock = await createClockCheck(registry, { now, log });
  if (cluster === undefined) return ownClock;
  metrics.collectFrom('store', { counters: () => ({ clock_skew_seconds: cluster.skew().skew / 1_000 }) });
  return () => (ownClock() === 'ok' && isSkewed(cluster.skew()) ? 'skewed' : ownClock());
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
