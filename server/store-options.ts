/** Options of the registry, the journals, the sinks and the session store, from the configuration. Opens nothing. */

import type { OpenCluster, OpenSessionStore, openSessionStore } from '../broker/index.ts';
import type { Registry } from '../registry/index.ts';
import type { openRegistry, RegistryRules } from '../registry/open.ts';
import type { LaneTelemetry, openSinks, SegmentStats, SinkSettings, Sinks, Telemetry } from '../telemetry/index.ts';
import type { EmbeddedTelemetry, openTelemetry } from '../telemetry/open.ts';
import type { ServerContext } from './context.ts';
import type { FleetEvents, openFleetEvents } from './events/open.ts';
import { devicesOf, groupOf } from './registry-lookups.ts';

export interface Stores {
  readonly registry: Registry;
  /** With the intakes of nodes in threads where the store is this machine's, and with the claims of devices where several nodes have it. */
  readonly telemetry: Telemetry & Partial<Pick<EmbeddedTelemetry, 'connectNode'> & Pick<LaneTelemetry, 'claimed'>>;
  readonly events: FleetEvents;
  readonly sinks: Sinks;
  readonly sessions: Pick<OpenSessionStore, 'store' | 'close'>;
  /** The same with what nodes say to each other, where several have the store. */
  readonly shared: OpenCluster | undefined;
}

/** After a restore, positions of new messages must differ from those that were used after the backup was made. */
export type OpenedAfter = 'restore' | undefined;

const DAY_MS = 24 * 3_600_000;

export function registryOptions(context: ServerContext): Parameters<typeof openRegistry>[0] {
  return { file: context.data.registryFile, isInspected: true, ...registryRules(context) };
}

/** What does not depend on the engine. */
export function registryRules({ config, metrics, now, log }: ServerContext): RegistryRules {
  const { overlap, recovery } = config.certificates;
  return {
    observeTermination: (seconds) => metrics.observeTermination(seconds),
    overlapMs: overlap,
    recovery: { graceMs: recovery.graceDays * DAY_MS, recoveries: recovery.recoveries },
    now,
    log: log.child({ component: 'registry' }),
  };
}

export function telemetryOptions(
  context: ServerContext,
  registry: Registry,
  after: OpenedAfter,
): Parameters<typeof openTelemetry>[0] {
  const { config, data } = context;
  return {
    directory: data.telemetry,
    after,
    diskFloor: config.telemetry.diskFloor,
    ...(config.mqtt.workers > 1 && { nodes: config.mqtt.workers }),
    ...telemetryRules(context, registry),
  };
}

/** What does not depend on the engine. */
export function telemetryRules({ config, metrics, now, log }: ServerContext, registry: Registry) {
  const { queuedBytes, patience, retention, shares, streams } = config.telemetry;
  return {
    limits: { queuedBytes, patience },
    retention,
    shares,
    streams,
    devicesOf: (group: string) => devicesOf(group, registry),
    removed: (segments: readonly RemovedSegment[]) => recordRemoval(segments, registry),
    observeCommit: (seconds: number) => metrics.observeCommit(seconds),
    now,
    log: log.child({ component: 'telemetry' }),
  };
}

type RemovedSegment = Pick<SegmentStats, 'name' | 'messages' | 'bytes'>;

async function recordRemoval(segments: readonly RemovedSegment[], registry: Registry): Promise<void> {
  for (const { name, messages, bytes } of segments) {
    await registry.recordAction({
      actor: 'server/retention',
      action: 'telemetry.pruned',
      subject: `telemetry/${name}`,
      outcome: 'done',
      details: { messages, bytes },
    });
  }
}

export function eventOptions(
  { config, data, now, log }: ServerContext,
  registry: Registry,
  after: OpenedAfter,
): Parameters<typeof openFleetEvents>[0] {
  return {
    directory: data.events,
    after,
    trustDomain: config.trustDomain,
    registry,
    retention: config.events.retention,
    now,
    log: log.child({ component: 'events' }),
  };
}

export function sinkOptions(
  { config, data, now, log }: ServerContext,
  settings: readonly SinkSettings[],
  sources: { readonly registry: Registry; readonly telemetry: Telemetry; readonly events: FleetEvents },
): Parameters<typeof openSinks>[0] {
  const { registry, telemetry, events } = sources;
  return {
    settings,
    journals: { telemetry, events: events.journal },
    directory: data.sinks,
    trustDomain: config.trustDomain,
    groupOf: (name) => groupOf(name, registry),
    now,
    random: Math.random,
    log: log.child({ component: 'sinks' }),
  };
}

export function sessionStoreOptions(context: ServerContext): Parameters<typeof openSessionStore>[0] {
  return { file: context.data.sessionFile, isInspected: true, ...sessionRules(context) };
}

/** What does not depend on the engine. */
export function sessionRules({ config, now, log }: ServerContext) {
  const { queuedMessages, queuedBytes } = config.mqtt.limits;
  return {
    limits: { queuedMessages, queuedBytes, storedBytes: config.sessions.keptBytes },
    now,
    log: log.child({ component: 'sessions' }),
  };
}
