/** Opens the stores that several nodes share: registry, telemetry, events and sinks on PostgreSQL. Retention runs on one node at a time. */

import { Problem } from '@rollcall/protocol';
import { openCluster } from '../../broker/index.ts';
import { openPostgresRegistry } from '../../registry/open.ts';
import { ANSWERS_REQUESTS } from '../../storage/postgres/index.ts';
import type { Retention, SinkSettings } from '../../telemetry/index.ts';
import { openPostgresTelemetry } from '../../telemetry/index.ts';
import type { ServerContext } from '../context.ts';
import type { OpenParts } from '../open-parts.ts';
import { reportOverShare } from '../share-reports.ts';
import { registryRules, type Stores, sessionRules, sinkOptions, telemetryRules } from '../store-options.ts';
import type { Cluster } from './cluster.ts';
import { openClusterEvents } from './cluster-events.ts';
import { LeasedPart } from './leased-part.ts';
import { createLeasedSinks } from './leased-sinks.ts';

export async function openClusterStores(
  context: ServerContext,
  cluster: Cluster,
  settings: readonly SinkSettings[],
  opened: OpenParts,
): Promise<Stores> {
  const { config, now, log } = context;
  const { database, node, wakes, singletons } = cluster;
  const registry = opened.add(
    await openPostgresRegistry({
      ...{ database: database.apart({}), wakes, node, others: () => othersBeside(cluster), outdated: cluster.lose },
      databaseNow: () => Math.round(now() + cluster.skew().skew),
      ...registryRules(context),
    }),
  );
  await cluster.watchAudit(registry);
  // Positions that were given after the state of the database are not given again.
  const after = cluster.isRestored ? ('restore' as const) : undefined;
  const telemetry = opened.add(
    await openPostgresTelemetry({
      ...{ database, node, wakes, journal: 'telemetry' as const, after },
      ...telemetryRules(context, registry),
      retention: boundOf(context),
      // Others may do this before this node has its sessions, and so could not tell that they took them over.
      lost: () =>
        cluster.lose(new Problem('node_superseded', { reason: `another node fenced off the lane of ${node}` })),
    }),
  );
  const events = opened.add(
    await openClusterEvents({
      ...{ cluster, registry, after, now, trustDomain: config.trustDomain, retention: config.events.retention },
      log: log.child({ component: 'events' }),
    }),
  );
  const journals = [telemetry, events.journal];
  opened.add(
    new LeasedPart<true>({
      singletons,
      name: 'retention',
      open: async () => {
        for (const journal of journals) journal.setPruning(true);
        return true;
      },
      close: async () => {
        for (const journal of journals) journal.setPruning(false);
      },
      log: log.child({ component: 'telemetry' }),
    }),
  );
  reportOverShare({ telemetry, events: events.log, log });
  const sinks = opened.add(createLeasedSinks(cluster, sinkOptions(context, settings, { registry, telemetry, events })));
  const sessions = opened.add(
    await openCluster({
      ...{ database, wakes, node, monotonic: cluster.clock, heardAt: cluster.heardAt, onSuperseded: cluster.lose },
      onOutdated: cluster.lose,
      answering: async () => {
        const known = (await cluster.nodes()).filter(({ protocol }) => protocol.number >= ANSWERS_REQUESTS);
        return new Set(known.map(({ name }) => name));
      },
      telemetrySettled: () => telemetry.settled(),
      fenceOff: (transaction, dead) => telemetry.fenceOff(transaction, dead),
      ...sessionRules(context),
    }),
  );
  return { registry, telemetry, events, sinks, sessions, shared: sessions };
}

/** Their times by the database's clock. */
async function othersBeside({ node, nodes }: Cluster) {
  const found = (await nodes()).filter(({ name }) => name !== node);
  return found.map(({ name, startedAt, skew, liveness }) => ({ name, startedAt: startedAt + skew, liveness }));
}

/** A percentage is of a disk, which this machine does not know. */
function boundOf({ config, log }: ServerContext): Retention {
  const { bytes, age, groups } = config.telemetry.retention;
  if (typeof bytes === 'number') return { age, bytes, groups };
  if (age === 0) {
    log.warn('nothing removes telemetry from the database: set telemetry.retention.age, or bytes as a size');
  }
  return { age, groups, bytes: 0 };
}
