import type { TopicLimits } from '@rollcall/protocol';
/** Durations are milliseconds, sizes are bytes. Where 0 is allowed it means "no limit". */
export interface BrokerLimits {
  /** Largest MQTT packet by its declared length, header included. */
  readonly packet: number;
  /** Largest CONNECT packet: the most that an unknown peer can make the broker buffer. */
  readonly connectPacket: number;
  /** Time from TCP accept to a complete CONNECT; slower connections are closed. */
  readonly connectTimeout: number;
  /** New TCP connections per second and address (IPv6: per /64), with a burst of twice that; 0: no limit. */
  readonly connectionsPerSecondPerAddress: number;
  /** Connections that have not completed CONNECT, in total; 0: no limit. */
  readonly handshakes: number;
  /** Connections that have not completed CONNECT, per address; 0: no limit. */
  readonly handshakesPerAddress: number;
  /** Longest keep-alive, 1 s to 65,535 s. It also applies to a client that asks for more, or for none. */
  readonly keepalive: number;
  /** Subscriptions of one client; one more ends its session. */
  readonly subscriptions: number;
  /** Filters in one SUBSCRIBE or UNSUBSCRIBE packet; one more ends the session. */
  readonly filtersPerPacket: number;
  /** Levels of a topic or filter, 1 to 100 (aedes stops at 100). */
  readonly topicLevels: number;
  /** Bytes of UTF-8 in a topic or filter. */
  readonly topicBytes: number;
  /** Messages of one client that are not yet acknowledged; at the limit its socket is not read. More QoS 2 messages end the session. */
  readonly inflight: number;
  /** Messages and other requests per second and client, with a burst of twice that; above it the socket is read more slowly. 0: no limit. */
  readonly messagesPerSecond: number;
  /** Bytes of messages per second and client, with a burst of twice that; above it the socket is read more slowly. 0: no limit. */
  readonly bytesPerSecond: number;
  /** How long a client may exceed its message rate before it is disconnected. The byte rate only slows it down. */
  readonly throttleTimeout: number;
  /** Bytes that one client has yet to read. Above it QoS 0 is dropped, and a QoS 1 or 2 message disconnects the client. */
  readonly outgoing: number;
  /** How long a client may read nothing before it is disconnected. */
  readonly stallTimeout: number;
  /** Takeovers per minute and client id; 0: no limit. */
  readonly takeoversPerMinute: number;
  /** Connected sessions of one identity: a service chooses its client ids. 0: no limit. */
  readonly sessionsPerIdentity: number;
  /** Retained topics per identity. */
  readonly retained: number;
  /** Queued messages per second that are sent to a client after it reconnects; 0: no limit. */
  readonly replayPerSecond: number;
  /** Messages queued for a disconnected client. */
  readonly queuedMessages: number;
  /** Bytes queued for a disconnected client; also the bytes that an identity may retain. */
  readonly queuedBytes: number;
  /** Lifetime of the session of a disconnected client. */
  readonly sessionExpiry: number;
  /** Log lines about refusals per minute, and address or client id; 0: no limit. */
  readonly refusalLogsPerMinute: number;
  /** Interval of the checks for expired certificates, stalled readers and expired sessions. */
  readonly sweepInterval: number;
}

export const DEFAULT_LIMITS: BrokerLimits = {
  packet: 256 * 1024,
  connectPacket: 16 * 1024,
  connectTimeout: 10_000,
  connectionsPerSecondPerAddress: 50,
  handshakes: 1_000,
  handshakesPerAddress: 100,
  keepalive: 1_200_000,
  subscriptions: 50,
  filtersPerPacket: 8,
  topicLevels: 16,
  topicBytes: 256,
  inflight: 100,
  messagesPerSecond: 100,
  bytesPerSecond: 1024 * 1024,
  throttleTimeout: 30_000,
  outgoing: 1024 * 1024,
  stallTimeout: 10_000,
  takeoversPerMinute: 10,
  sessionsPerIdentity: 500,
  retained: 100,
  replayPerSecond: 500,
  queuedMessages: 1_000,
  queuedBytes: 1024 * 1024,
  sessionExpiry: 7 * 86_400_000,
  refusalLogsPerMinute: 10,
  sweepInterval: 5_000,
};

/** Limits that can change while the broker runs: those that are read at each new connection. */
export const LIVE_LIMITS = [
  'connectionsPerSecondPerAddress',
  'handshakes',
  'handshakesPerAddress',
  'sessionsPerIdentity',
] as const satisfies readonly (keyof BrokerLimits)[];
export type LiveLimits = Pick<BrokerLimits, (typeof LIVE_LIMITS)[number]>;

export function topicLimits(limits: BrokerLimits): TopicLimits {
  return { maxBytes: limits.topicBytes, maxLevels: limits.topicLevels };
}

/** Seconds, as MQTT counts a Session Expiry Interval: the longest that a client gets. */
export function longestSessionExpiry({ sessionExpiry }: Pick<BrokerLimits, 'sessionExpiry'>): number {
  return Math.floor(sessionExpiry / 1000);
}
