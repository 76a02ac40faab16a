/** Accepted messages: appended to the journal, queried, pruned, forwarded by sinks. `open.ts` opens it. */

export type { JournalDigest } from './copy/copied-message.ts';
export type { JournalCopy } from './copy/copy-journal.ts';
export { Cursor, type Span } from './cursor.ts';
export { inspectTelemetry } from './inspection.ts';
export { type JournalCopies, loadJournalCopies } from './journal-copies.ts';
export type { NodeConnected } from './nodes/connected-nodes.ts';
export type { NodeConnection } from './nodes/node-calls.ts';
export { type NodeTelemetry, openNodeTelemetry } from './nodes/node-telemetry.ts';
export { openPostgresTelemetry } from './open-postgres.ts';
export { type Position, parsePosition, positionNumber } from './position.ts';
export type { LaneTelemetry, PostgresTelemetryOptions } from './postgres/open.ts';
export { journalTables } from './postgres/tables.ts';
export { openJournalWithReserve } from './reserve/journal-with-reserve.ts';
export { inspectReserve, RESERVED_FILE } from './reserve/reserved-messages.ts';
export { isLoopback } from './sinks/loopback.ts';
export {
  inspectSinks,
  openSinks,
  type SinkSettings,
  type Sinks,
  type SinksOptions,
  statusElsewhere,
  type TargetSettings,
} from './sinks/open.ts';
export { TABLE_NAME } from './sinks/table-name.ts';
export { type Secret, TargetUntrusted } from './sinks/target.ts';
export type { TargetTls, TlsFiles, TlsMaterial } from './sinks/tls.ts';
export type {
  AcceptCallbacks,
  Accepted,
  DeviceSelection,
  Retention,
  SegmentStats,
  StoredMessage,
  Telemetry,
  TelemetryBounds,
  TelemetryCounters,
  TelemetryMessage,
  TelemetryRange,
} from './telemetry.ts';
