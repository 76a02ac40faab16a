/** Opens the fleet's events: their journal, the numbers of connections, and the follower of the registry's audit. */

import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Registry } from '../../registry/index.ts';
import { CursorFile } from '../../storage/index.ts';
import {
  inspectReserve,
  inspectTelemetry,
  RESERVED_FILE,
  type Retention,
  type Telemetry,
} from '../../telemetry/index.ts';
import { AuditFollower } from './audit-follower.ts';
import { ConnectionNumbers } from './connection-numbers.ts';
import { openEventJournal } from './event-journal.ts';
import { EventLog, type StoredEvent } from './event-log.ts';

export interface FleetEventsOptions {
  /** Directory of the events; created with mode 0700 when it does not exist. */
  readonly directory: string;
  readonly trustDomain: string;
  readonly registry: Pick<Registry, 'exportAudit' | 'listAudit'>;
  readonly retention: Retention;
  /** The same option as in `openTelemetry()`. */
  readonly after?: 'restore' | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

export interface FleetEvents {
  readonly log: EventLog;
  /** The journal of the events, for sinks that read it from a position. */
  readonly journal: Telemetry<string>;
  /** Whether this server stored the event: of several that have the journal, one publishes it. */
  isOwn(event: Pick<StoredEvent, 'position'>): boolean;
  /** Returns a number greater than all before it, across restarts. */
  nextConnection(): number;
  /** Reads the audit now instead of at the next poll. */
  pollAudit(): Promise<void>;
  /** The keys are those of the metric definitions. */
  counters(): Readonly<Record<string, number>>;
  close(): Promise<void>;
}

/** The keys are those of the metric definitions. */
export function eventCounters(events: Pick<EventLog, 'counters'>): Readonly<Record<string, number>> {
  const { recorded, leftOut, dropped, waiting } = events.counters();
  return {
    events_recorded_total: recorded,
    events_left_out_total: leftOut,
    events_dropped_total: dropped,
    events_waiting: waiting,
  };
}

/** A batch waits longer than one of telemetry: no acknowledgement depends on it. */
export const EVENT_LIMITS = { window: 20, queuedBytes: 32 * 1_048_576, patience: 30_000 };
export const AUDIT_POLL_MS = 250;

/** Names of files in the directory of events. */
export const CONNECTIONS_FILE = 'connections.next';
export const AUDIT_POSITION_FILE = 'audit.position';

/** Throws the errors of `openFleetEvents()` for this directory, and changes nothing. */
export function inspectFleetEvents(directory: string): void {
  inspectTelemetry(directory);
  inspectReserve(join(directory, RESERVED_FILE));
  for (const name of [CONNECTIONS_FILE, AUDIT_POSITION_FILE]) CursorFile.ofNumbers(join(directory, name)).read();
}

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export async function openFleetEvents(options: FleetEventsOptions): Promise<FleetEvents> {
  const { directory, trustDomain, registry, retention, after, now, log } = options;
  const journal = await openEventJournal({
    directory,
    after,
    limits: EVENT_LIMITS,
    retention,
    now,
    log,
  });
  try {
    const events = new EventLog({ journal, trustDomain, now, log });
    const connections = new ConnectionNumbers(CursorFile.ofNumbers(join(directory, CONNECTIONS_FILE)));
    const cursor = CursorFile.ofNumbers(join(directory, AUDIT_POSITION_FILE));
    const audit = await AuditFollower.open({ registry, events, cursor, pollEvery: AUDIT_POLL_MS, log });
    return {
      log: events,
      journal,
      isOwn: () => true,
      nextConnection: () => connections.next(),
      pollAudit: () => audit.poll(),
      counters: () => eventCounters(events),
      close: async () => {
        await audit.close();
        await events.close();
      },
    };
  } catch (error) {
    await journal.close();
    throw error;
  }
}
