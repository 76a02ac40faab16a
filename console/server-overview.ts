/** The state of a server in few numbers, and their history. Times are milliseconds since the epoch unless stated. */

import type { DeviceStatus } from '../registry/index.ts';
import type { Answer } from './api/endpoint.ts';
import type { overviewEndpoints } from './api/overview.ts';

export interface ServerOverview {
  readonly startedAt: number;
  readonly isReady: boolean;
  /** By status; each is counted up to `most`. */
  readonly devices: Readonly<Record<DeviceStatus, number>>;
  /** A status has at least so many devices when its count equals this. */
  readonly devicesMost: number;
  readonly sessions: { readonly connected: number; readonly pending: number; readonly persistent: number };
  /** Means of about the last quarter of a minute, and of the time since the start before that. */
  readonly perSecond: ServerRates;
  /** Since the start, also those that the limits of events left out. */
  readonly refused: RefusedCounts;
  readonly refusedLastHour: RefusedCounts;
  readonly clonesSuspected: number;
  readonly journal: {
    readonly state: 'ok' | 'behind' | 'held' | 'disk full';
    readonly queuedBytes: number;
    /** Mean time from receipt to acknowledgement; undefined without a commit. */
    readonly commitMs: number | undefined;
    readonly diskFreeBytes: number;
    readonly diskFloorBytes: number;
    /** Over their share of today. */
    readonly heldDevices: number;
    readonly heldGroups: number;
  };
  readonly sinks: readonly {
    readonly name: string;
    readonly state: string;
    readonly reason: string | undefined;
    readonly lagMessages: number;
    readonly lagSeconds: number;
    readonly deadLettered: number;
  }[];
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
export type ServerHistory = Answer<typeof overviewEndpoints.showHistory>;
