/** What the main thread and the thread of a node ask each other. All of it is plain data. */

import type { LoadTest, SharedConnectionMemory } from '../../limits/index.ts';
import type { LogLevel } from '../logger.ts';

/** Given to a thread when it starts. */
export interface NodeSettings {
  /** `w1` */
  readonly name: string;
  /** The number of the thread among those that share the limits, 0 for the first. */
  readonly thread: number;
  readonly log: { readonly level: LogLevel; readonly format: 'json' | 'journal' };
  /** Log lines about refusals per minute and source; 0: no limit. */
  readonly refusalLogsPerMinute: number;
  readonly connections: SharedConnectionMemory;
  readonly loadTests: readonly LoadTest[];
}

export interface NodePorts {
  readonly port: number;
  readonly webSocketPort: number | undefined;
}

export interface NodeStatus {
  readonly counters: Readonly<Record<string, number>>;
  /** Seconds in which the event loop was busy since the thread started. */
  readonly busySeconds: number;
  /** Refusals that were not logged since the last call. */
  readonly refusalsOmitted: number;
}

/** A node's thread answers. */
export interface NodeCalls {
  /** Listens. The input is that of the node's program, with its ports transferred. */
  readonly start: { readonly input: unknown; readonly output: NodePorts };
  readonly status: { readonly input: undefined; readonly output: NodeStatus };
  /** Ends everything. The thread may be ended afterwards. */
  readonly close: { readonly input: undefined; readonly output: undefined };
  readonly logLevel: { readonly input: LogLevel; readonly output: undefined };
  readonly loadTests: { readonly input: readonly LoadTest[]; readonly output: undefined };
}

export interface NodeLogLine {
  readonly line: string;
  /** The level of pino. */
  readonly level: number;
  /** Only of a refusal, which counts against the budget of the whole server. */
  readonly refusal?: { readonly source: string; readonly omitted: number };
}

/** The main thread answers. */
export interface KeeperCalls {
  /** Answered when the lines were taken. */
  readonly log: {
    readonly input: { readonly lines: readonly NodeLogLine[]; readonly dropped: number };
    readonly output: undefined;
  };
}
