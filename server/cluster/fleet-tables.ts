/** All tables of a shared store. Each module makes its own when it opens; this is for what concerns all of them. */

import { SESSION_TABLES } from '../../broker/index.ts';
import { registryTables } from '../../registry/open.ts';
import {
  CURSOR_TABLES,
  LEASE_TABLES,
  NODE_TABLES,
  STORE_GENERATION_TABLES,
  STORE_NOTE_TABLES,
  type TableSet,
} from '../../storage/postgres/index.ts';
import { journalTables } from '../../telemetry/index.ts';

export function fleetTables(): readonly TableSet[] {
  return [
    ...[LEASE_TABLES, NODE_TABLES, CURSOR_TABLES, STORE_NOTE_TABLES, STORE_GENERATION_TABLES],
    ...[registryTables(), SESSION_TABLES, journalTables('telemetry'), journalTables('events')],
  ];
}
