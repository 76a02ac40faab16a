/** Opens the stores of a server: in its data directory, or on a PostgreSQL that several nodes share. */

import { openSessionStore } from '../broker/index.ts';
import { openRegistry } from '../registry/open.ts';
import { openSinks } from '../telemetry/index.ts';
import { openTelemetry } from '../telemetry/open.ts';
import { openClusterStores } from './cluster/cluster-stores.ts';
import { sinkSettings } from './config/sink-settings.ts';
import type { ServerContext } from './context.ts';
import { openFleetEvents } from './events/open.ts';
import type { OpenParts } from './open-parts.ts';
import { reportOverShare } from './share-reports.ts';
import { storeInspections } from './store-inspection.ts';
import {
  eventOptions,
  type OpenedAfter,
  registryOptions,
  type Stores,
  sessionStoreOptions,
  sinkOptions,
  telemetryOptions,
} from './store-options.ts';

/** Runs before any listener is open. Changes nothing when this version cannot use one of the stores. */
export async function openStores(context: ServerContext, after: OpenedAfter, opened: OpenParts): Promise<Stores> {
  const { config, data, environment, cluster, now, log } = context;
  const settings = sinkSettings(config.sinks, { environment, now });
  if (cluster !== undefined) {
    return openClusterStores(context, cluster, settings, opened);
  }
  for (const [, inspect] of storeInspections(data, settings)) inspect();
  const registry = opened.add(await openRegistry(registryOptions(context)));
  const telemetry = opened.add(await openTelemetry(telemetryOptions(context, registry, after)));
  const events = opened.add(await openFleetEvents(eventOptions(context, registry, after)));
  reportOverShare({ telemetry, events: events.log, log });
  const sinks = opened.add(await openSinks(sinkOptions(context, settings, { registry, telemetry, events })));
  const sessions = opened.add(await openSessionStore(sessionStoreOptions(context)));
  return { registry, telemetry, events, sinks, sessions, shared: undefined };
}
