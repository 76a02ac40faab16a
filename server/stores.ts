/**
 * The fleet's memory and its data: registry, journals, sinks and sessions, opened in the order in which they need each other.
 * No address is open yet.
 */

import type { Logger } from 'pino';
import { inspectSessionFile, type OpenSessionStore, openSessionStore } from '../broker/index.ts';
import { inspectRegistry, type Registry } from '../registry/index.ts';
import { openRegistry } from '../registry/open.ts';
import { inspectSinks, inspectTelemetry, openSinks, type Sinks, type Telemetry } from '../telemetry/index.ts';
import { openTelemetry } from '../telemetry/open.ts';
import type { Config } from './config/config.ts';
import { sinkSettings } from './config/sink-settings.ts';
import type { DataDirectory } from './data-directory.ts';
import { type FleetEvents, inspectFleetEvents, openFleetEvents } from './events/open.ts';
import type { Metrics } from './metrics.ts';
import type { OpenParts } from './open-parts.ts';
import { devicesOf, groupOf } from './registry-lookups.ts';
import { reportOverShare } from './share-reports.ts';

export interface FleetMemoryOptions {
  readonly config: Config;
  readonly data: DataDirectory;
  /** Positions of what is stored from now on must not be ones that a backup was taken before. */
  readonly after: 'restore' | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly metrics: Metrics;
  readonly now: () => number;
  readonly log: Logger;
}

export interface FleetMemory {
  readonly registry: Registry;
  readonly telemetry: Telemetry;
  readonly events: FleetEvents;
  readonly sinks: Sinks;
  readonly sessions: OpenSessionStore;
}

/**
 * Throws what opening would refuse, and changes nothing: a version that can't use one database must leave the others to the
 * version that can.
 */
function inspectFleetMemory(data: DataDirectory): void {
  inspectRegistry(data.registryFile);
  inspectSessionFile(data.sessionFile);
  inspectTelemetry(data.telemetry);
  inspectFleetEvents(data.events);
}

/** Each part is added to `opened` as soon as it is open. None is changed when one can't be used. */
export async function openFleetMemory(
  { config, data, after, environment, metrics, now, log }: FleetMemoryOptions,
  opened: OpenParts,
): Promise<FleetMemory> {
  const settings = sinkSettings(config.sinks, { environment, now });
  inspectFleetMemory(data);
  inspectSinks({ settings, directory: data.sinks });
  const registry = opened.add(
    await openRegistry({
      file: data.registryFile,
      isInspected: true,
      observeTermination: (seconds) => metrics.observeTermination(seconds),
      overlapMs: config.certificates.overlap,
      recovery: {
        graceMs: config.certificates.recovery.graceDays * 24 * 3_600_000,
        recoveries: config.certificates.recovery.recoveries,
      },
      now,
      log: log.child({ component: 'registry' }),
    }),
  );
  const telemetry = opened.add(
    await openTelemetry({
      directory: data.telemetry,
      after,
      limits: { queuedBytes: config.telemetry.queuedBytes, patience: config.telemetry.patience },
      retention: config.telemetry.retention,
      shares: config.telemetry.shares,
      streams: config.telemetry.streams,
      diskFloor: config.telemetry.diskFloor,
      devicesOf: (group) => devicesOf(group, registry),
      removed: async (segments) => {
        for (const { name, messages, bytes } of segments) {
          const subject = `telemetry/${name}`;
          const details = { messages, bytes };
          await registry.recordAction({
            actor: 'server/retention',
            action: 'telemetry.pruned',
            subject,
            outcome: 'done',
            details,
          });
        }
      },
      now,
      log: log.child({ component: 'telemetry' }),
    }),
  );
  const events = opened.add(
    await openFleetEvents({
      directory: data.events,
      after,
      trustDomain: config.trustDomain,
      registry,
      retention: config.events.retention,
      now,
      log: log.child({ component: 'events' }),
    }),
  );
  reportOverShare({ telemetry, events: events.log, log });
  const sinks = opened.add(
    await openSinks({
      settings,
      journals: { telemetry, events: events.journal },
      directory: data.sinks,
      trustDomain: config.trustDomain,
      groupOf: (name) => groupOf(name, registry),
      now,
      random: Math.random,
      log: log.child({ component: 'sinks' }),
    }),
  );
  const { queuedMessages, queuedBytes } = config.mqtt.limits;
  const sessions = opened.add(
    await openSessionStore({
      file: data.sessionFile,
      isInspected: true,
      limits: { queuedMessages, queuedBytes, storedBytes: config.sessions.keptBytes },
      now,
      log: log.child({ component: 'sessions' }),
    }),
  );
  return { registry, telemetry, events, sinks, sessions };
}
