/** The state of a server, or of the nodes of a fleet, in few numbers, and their history. Times are milliseconds since the epoch unless stated. */

import type { DeviceStatus } from '../registry/index.ts';
import type { Answer } from './api/endpoint.ts';
import type { overviewEndpoints } from './api/overview.ts';
import type { NodeView } from './node-control.ts';

/** What one node counts of itself. Plain JSON: nodes tell it each other, and a field may be missing in that of another release. */
export interface NodeFigures {
  readonly startedAt: number;
  readonly isReady: boolean;
  readonly sessions: { readonly connected: number; readonly pending: number; readonly persistent: number };
  /** Means of about the last quarter of a minute, and of the time since the start before that. */
  readonly perSecond: ServerRates;
  /** Since the start. */
  readonly totals: Readonly<Record<'connects' | 'received' | 'stored' | 'sent' | 'dropped', number>>;
  /** Since the start, also those that the limits of events left out. */
  readonly refused: RefusedCounts;
  readonly refusedLastHour: RefusedCounts;
  readonly refusals: readonly RefusalTotal[];
  readonly clonesSuspected: number;
  readonly journal: JournalFigures;
  /** How late its event loop ran what was due, 99 of 100 times at most; undefined before the first tenth of a second. */
  readonly lagMs: number | undefined;
  /** Undefined where another node forwards. */
  readonly sinks: readonly SinkFigures[] | undefined;
  /** That stored most today by this node. */
  readonly busiest: readonly { readonly device: string; readonly bytes: number }[];
}

export interface RefusalTotal {
  readonly by: 'mqtt' | 'est' | 'policy';
  readonly reason: string;
  readonly total: number;
  readonly perSecond: number;
}

export interface JournalFigures {
  readonly state: 'ok' | 'behind' | 'held' | 'disk full';
  readonly queuedBytes: number;
  readonly commitsPerSecond: number;
  /** Mean time from receipt to acknowledgement; undefined without a commit. */
  readonly commitMs: number | undefined;
  /** What 99 of 100 commits took at most, of the last half minute. */
  readonly commitP99Ms: number | undefined;
  readonly diskFreeBytes: number;
  readonly diskFloorBytes: number;
  /** Over their share of today. */
  readonly heldDevices: number;
  readonly heldGroups: number;
}

export interface SinkFigures {
  readonly name: string;
  readonly state: string;
  readonly reason: string | undefined;
  readonly isUntrusted: boolean;
  readonly lagMessages: number;
  readonly lagSeconds: number;
  readonly forwarded: number;
  readonly deadLettered: number;
}

/** Of several that share a store. `figures`: undefined where it did not answer in time, or does not run. */
export interface NodeOverview extends Pick<NodeView, 'name' | 'state' | 'since'> {
  readonly roles: readonly string[];
  readonly version: string;
  readonly figures: NodeFigures | undefined;
}

export interface FleetOverview {
  /** The node that answers; `main` where the server is alone. */
  readonly node: string;
  /** In the order of their names; none where the server is alone. */
  readonly nodes: readonly NodeOverview[];
  /** Nodes that run and did not answer in time: what they count is missing. */
  readonly unanswered: readonly string[];
}

/** The numbers are those of all nodes that answered. */
export interface ServerOverview extends FleetOverview {
  /** Of the node that answers. */
  readonly startedAt: number;
  readonly isReady: boolean;
  /** By status; each is counted up to `most`. */
  readonly devices: Readonly<Record<DeviceStatus, number>>;
  /** A status has at least so many devices when its count equals this. */
  readonly devicesMost: number;
  readonly sessions: NodeFigures['sessions'];
  readonly perSecond: ServerRates;
  readonly refused: RefusedCounts;
  readonly refusedLastHour: RefusedCounts;
  readonly clonesSuspected: number;
  readonly journal: JournalFigures;
  readonly sinks: readonly SinkFigures[];
  /** Kinds of which something expires within 90 days or is late; counted every ten minutes. */
  readonly expiring: readonly {
    readonly kind: string;
    readonly in7Days: number;
    readonly in30Days: number;
    readonly late: number;
    readonly nextAt: number | undefined;
  }[];
}

export interface ServerRates {
  readonly connects: number;
  /** PUBLISH packets from clients, telemetry stored, and PUBLISH packets to clients. */
  readonly received: number;
  readonly stored: number;
  readonly sent: number;
  readonly dropped: number;
  /** Connections, enrollments, renewals and topics together. */
  readonly refused: number;
  /** Part of the time in which the event loop was busy, 0 to 1. */
  readonly busy: number;
}

export interface RefusedCounts {
  /** To the MQTT listener. */
  readonly connections: number;
  /** Enrollments, renewals and connections of the EST server. */
  readonly enrollments: number;
  /** Publishes and subscriptions. */
  readonly topics: number;
}

/** As the API answers it. */
export type ServerHistory = Omit<Answer<typeof overviewEndpoints.showHistory>, 'node' | 'unanswered'>;

export interface FleetHistory extends ServerHistory {
  readonly node: string;
  readonly unanswered: readonly string[];
}
