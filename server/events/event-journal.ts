/** The journal of events: those of operators, certificates and security are in a reserve that events of devices do not evict. */

import { openJournalWithReserve, type Retention, type Telemetry } from '../../telemetry/index.ts';
import type { TelemetryOptions } from '../../telemetry/open.ts';
import { RESERVED_CLASSES, RESERVED_PART, reservedClassOf } from './event-classes.ts';

export interface EventJournalOptions extends TelemetryOptions {
  readonly retention: Retention;
}

/** On PostgreSQL as well (`server/cluster/cluster-events.ts`). */
export const RESERVED = { names: RESERVED_CLASSES, of: reservedClassOf, part: RESERVED_PART };

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export function openEventJournal(options: EventJournalOptions): Promise<Telemetry<string>> {
  return openJournalWithReserve({ ...options, reserved: RESERVED });
}
