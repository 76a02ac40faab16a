/** PostgreSQL without any domain: connections to the primary, and transactions that are confirmed by its standbys. */

export { type CommitMark, MARK_COLUMNS } from './confirmed-commits.ts';
export type { PostgresConnection, PreparedStatement, Result, Row, Statement } from './connection.ts';
export { CURSOR_TABLES, CursorRow, type CursorRowOptions, readCursors, writeCursors } from './cursor-table.ts';
export { PostgresDatabase, type PostgresTransaction, type TransactionOptions } from './database.ts';
export { type ClockSkew, DATABASE_NOW, measureClockSkew } from './database-clock.ts';
export { examinePostgres, type PostgresExamination } from './examination.ts';
export {
  ANSWERS_REQUESTS,
  expectNeighbours,
  FLEET_PROTOCOL,
  type FleetProtocol,
  whenNodesSettle,
} from './fleet-protocol.ts';
export { type HeldLease, LEASE_TABLES, type LeaseRecord, LeaseTable } from './leases.ts';
export { type LiveNode, readLiveNodes } from './live-nodes.ts';
export {
  expectNoNewerTables,
  expectUsableTables,
  hasTables,
  type Migration,
  migrate,
  type TableSet,
  type TableVersion,
  versionsOf,
} from './migrations.ts';
export { NODE_LEASES, NodeLease, type NodeLeaseOptions } from './node-lease.ts';
export {
  type ListedNode,
  NODE_TABLES,
  type NodeLiveness,
  type NodeOrder,
  type NodeRecord,
  NodeRecords,
  type NumberedOrder,
} from './node-records.ts';
export { NodeRoles, nodeRoleName, type RemovedRole } from './node-roles.ts';
export { createPasswordVerifier, isPasswordVerifier } from './password-verifier.ts';
export type { PoolUsage } from './pool.ts';
export { isUniqueViolation, sqlstateOf, UnconfirmedCommit } from './postgres-problem.ts';
export { PostgresWakes, type PostgresWakesOptions } from './postgres-wakes.ts';
export {
  type PostgresAddress,
  type PostgresHost,
  type PostgresSettings,
  type PostgresTimeouts,
  type PostgresTlsMaterial,
  parsePostgresUrl,
} from './settings.ts';
export { type Candidate, Singletons, type SingletonsOptions, type SingletonTerm } from './singletons.ts';
export {
  addStoreGeneration,
  readStoreGenerations,
  STORE_GENERATION_TABLES,
  type StoreGeneration,
} from './store-generations.ts';
export { readStoreNote, removeStoreNote, STORE_NOTE_TABLES, type StoreNote, writeStoreNote } from './store-note.ts';
