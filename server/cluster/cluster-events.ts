/**
 * Opens the fleet's events on the store that several nodes share: each node records its own, and one of them, with a lease, turns the audit
 * into events. Its position moves with the lease.
 */

import { parseDecimal } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Registry } from '../../registry/index.ts';
import { CursorRow } from '../../storage/postgres/index.ts';
import type { LaneTelemetry, Retention } from '../../telemetry/index.ts';
import { openPostgresTelemetry } from '../../telemetry/index.ts';
import { AuditFollower } from '../events/audit-follower.ts';
import { RESERVED } from '../events/event-journal.ts';
import { EventLog } from '../events/event-log.ts';
import { AUDIT_POLL_MS, EVENT_LIMITS, eventCounters, type FleetEvents } from '../events/open.ts';
import type { Cluster } from './cluster.ts';
import { ConnectionTimes } from './connection-times.ts';
import { LeasedPart } from './leased-part.ts';

export interface ClusterEventsOptions {
  readonly cluster: Pick<Cluster, 'database' | 'wakes' | 'node' | 'skew'> & {
    readonly singletons: Pick<Cluster['singletons'], 'compete'>;
  };
  readonly trustDomain: string;
  readonly registry: Pick<Registry, 'exportAudit' | 'listAudit'>;
  readonly retention: Retention;
  /** As of telemetry. */
  readonly after?: 'restore' | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

export interface ClusterEvents extends FleetEvents {
  readonly journal: LaneTelemetry<string>;
}

const AUDIT = 'audit';

export async function openClusterEvents(options: ClusterEventsOptions): Promise<ClusterEvents> {
  const { cluster, trustDomain, registry, retention, after, now, log } = options;
  const { database, wakes, node, singletons } = cluster;
  const journal = await openPostgresTelemetry<string>({
    ...{ database, journal: 'events', node, wakes, retention, after, now, log },
    ...{ limits: EVENT_LIMITS, reserved: RESERVED },
  });
  const events = new EventLog({ journal, trustDomain, now, log });
  const follower = new LeasedPart<AuditFollower>({
    singletons,
    name: AUDIT,
    open: async (term) => {
      const fence = term.fence.bind(term);
      const parse = (text: string) => parseDecimal(text, 0);
      const cursor = await CursorRow.open({ database, name: AUDIT, parse, fence });
      const store = storeOfTerm(events, journal);
      return AuditFollower.open({ registry, events: { store }, cursor, pollEvery: AUDIT_POLL_MS, log });
    },
    close: (audit) => audit.close(),
    log,
  });
  const stopListening = wakes.onWake(AUDIT, () => void follower.current?.poll());
  const connections = new ConnectionTimes(() => now() + cluster.skew().skew);
  return {
    log: events,
    journal,
    isOwn: ({ position }) => journal.isOwn(position),
    nextConnection: () => connections.next(),
    pollAudit: async () => {
      if (follower.current === undefined) wakes.wake(AUDIT);
      else await follower.current.poll();
    },
    counters: () => eventCounters(events),
    close: async () => {
      stopListening();
      await follower.close();
      await events.close();
    },
  };
}

/** The holder before this one may have stored some of the next events: their keys are read again, once a name. */
function storeOfTerm(events: EventLog, journal: LaneTelemetry<string>): EventLog['store'] {
  const read = new Map<string, Promise<void>>();
  return async (event, id) => {
    const name = EventLog.nameOf(event);
    let keys = read.get(name);
    if (keys === undefined) {
      keys = journal.claimed(name);
      read.set(name, keys);
    }
    await keys;
    await events.store(event, id);
  };
}
