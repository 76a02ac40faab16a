/** Orders of the bench to the load generator, and its reports. Each order is limited in count and time. */

import type { MqttVersion } from './mqtt-bytes.ts';

/** Which of a device's topics is published to: `telemetry` is stored before it is acknowledged, `events` isn't. */
export type Topic = 'telemetry' | 'events';

export type LoadOrder =
  /** New devices, each with a fresh key made before the clock starts. They are stored when later orders use them. */
  | {
      readonly kind: 'enroll';
      readonly port: number;
      readonly token: string;
      readonly count: number;
      readonly inFlight: number;
      readonly connections: 'new' | 'reused';
      readonly devices: 'stored' | 'discarded';
    }
  /** Handshake, CONNECT, CONNACK, DISCONNECT, close: `count` times. */
  | { readonly kind: 'connect'; readonly port: number; readonly count: number; readonly inFlight: number }
  /** Opens sessions of the next `count` devices that have none under this name, after the first `skip`, and leaves them open. */
  | {
      readonly kind: 'open';
      readonly as: string;
      readonly port: number;
      readonly count: number;
      readonly skip?: number;
      readonly version?: MqttVersion;
    }
  /** QoS 1 with so many messages in flight on each session, until `count` are acknowledged. */
  | {
      readonly kind: 'publish';
      readonly as: string;
      readonly topic: Topic;
      readonly count: number;
      readonly inFlight: number;
    }
  /** QoS 1, so many messages a second spread over all sessions. Samples: from when a message was due to its PUBACK. */
  | {
      readonly kind: 'pace';
      readonly as: string;
      readonly topic: Topic;
      readonly count: number;
      readonly perSecond: number;
      /** At random times with this rate on average; evenly without it. */
      readonly spacing?: 'random';
    }
  /** A device connects to one port and then to the next one, `count` times. Samples: from the second CONNECT to its CONNACK. */
  | { readonly kind: 'takeOver'; readonly ports: readonly number[]; readonly count: number }
  /** Revokes the last `count` devices of the open sessions, one after the other. Samples: until what is waited for. */
  | {
      readonly kind: 'revoke';
      readonly as: string;
      readonly socketPath: string;
      readonly count: number;
      /** The closed connection when left out. */
      readonly until?: 'answer' | 'closed and answer';
    }
  /** Waits until the connections of all devices are closed that were revoked under this name. */
  | { readonly kind: 'untilRevokedClosed'; readonly as: string }
  /** Revokes the last `count` of those that are left in one order. Samples: until the answer, until the last is closed. */
  | { readonly kind: 'revokeAll'; readonly as: string; readonly socketPath: string; readonly count: number }
  | { readonly kind: 'close'; readonly as: string };

export interface LoadReport {
  readonly wallMs: number;
  /** The load generator's own CPU in microseconds, all threads. */
  readonly cpuMicros: number;
  /** Milliseconds of each operation, where that is the figure. */
  readonly samples?: readonly number[];
  /** Brokers that confirmed each revocation. */
  readonly confirmed?: readonly number[];
}

export type LoadAnswer = { readonly report: LoadReport } | { readonly error: string };

export const ORDER_WITHIN_MS = 120_000;
