/** Storage that knows no domain: how SQLite files are opened, worker calls, and the append-only journal. */

export { type AnswerTogether, BatchedQuestions } from './batched-questions.ts';
export {
  AnswerSoon,
  Channel,
  type ChannelCall,
  type ChannelCalls,
  type ChannelHandler,
  type ChannelOptions,
  Transferring,
} from './channel.ts';
export { CursorFile } from './cursor-file.ts';
export {
  expectPragma,
  type FileKind,
  integrityOf,
  type OpenDatabaseOptions,
  openDatabaseFile,
  openDatabaseToRead,
} from './database-file.ts';
export { inspectDatabaseFile } from './database-inspection.ts';
export { type DirectoryLock, HOLDER_FILE, LOCK_FILE, lockDirectory } from './directory-lock.ts';
export { DiskSpaceMonitor, type DiskSpaceOptions, type DiskState, diskSpaceIn, expectDiskSpace } from './disk-space.ts';
export { GroupCommit } from './group-commit.ts';
export type { GroupCommitLimits } from './group-commit-options.ts';
export {
  DEAF_AFTER_MS,
  EXPIRED_AFTER_MS,
  Heartbeat,
  type HeartbeatBounds,
  type HeartbeatOptions,
  type Liveness,
  suspensionAwareClock,
} from './heartbeat.ts';
export type { AppendAnswer, AppendCalls } from './journal/append-ports.ts';
export { type Batch, batchTransferList, packBatch } from './journal/batch.ts';
export {
  type BlockRow,
  checksumOf,
  dataLength,
  lengthOf,
  META_BYTES,
  putMessage,
  qosOf,
  readBlock,
  sourceOf,
  splitBytes,
  timeOf,
  WORDS,
  wordsOf,
} from './journal/block.ts';
export { type CountedKey, countedKey } from './journal/counted-keys.ts';
export { Journal, type JournalOptions } from './journal/journal.ts';
export { JournalReader } from './journal/journal-reader.ts';
export type {
  DeviceStreams,
  JournalBounds,
  JournalMessage,
  JournalStats,
  SegmentStats,
  Series,
  SeriesPoint,
  SeriesQuery,
  StoredJournalMessage,
} from './journal/message.ts';
export { MAX_PROPERTIES_BYTES, propertiesLength, propertiesMemory } from './journal/message-properties.ts';
export { memoryOf, type PackedRows, packRows, type Row, unpackRows } from './journal/packed-rows.ts';
export { Pruning } from './journal/pruning.ts';
export type { LastCall, NewestCall, PageCall, SeriesCall, SeriesPage } from './journal/reader-worker.ts';
export { planRetention, type RetentionRules } from './journal/retention.ts';
export type { Appended } from './journal/segment.ts';
export { expectNotOlder, SEGMENT } from './journal/segment-file.ts';
export { dayOf, listSegments, segmentBytes } from './journal/segment-names.ts';
export type { MessageFilter } from './journal/segment-reader.ts';
export { withoutSources } from './journal/segment-rewrite.ts';
export { checkSeries, SeriesSums } from './journal/series.ts';
export { SERVER_KEY_PREFIX, visibleKey } from './journal/server-keys.ts';
export { ReceivedNames, SentNames } from './journal/source-names.ts';
export type { FollowCalls, FollowedDevices, StoredMessageCalls } from './journal/stored-messages-port.ts';
export { connectToNats, type NatsCredentials, type NatsTls } from './nats-connection.ts';
export { NatsWakes, type NatsWakesOptions, type NatsWakesSettings } from './nats-wakes.ts';
export { isDamage, storageProblem } from './storage-problem.ts';
export { syncDirectory } from './sync-directory.ts';
export { PollingWakes, type Wakes } from './wakes.ts';
export { WorkerClient } from './worker.ts';
export { answerCalls } from './worker-program.ts';
