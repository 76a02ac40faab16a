import type { TopicLimits } from '@rollcall/protocol';
/** Durations are milliseconds, sizes are bytes. Where 0 is allowed it means "no limit". */
export interface BrokerLimits {
  /** Largest MQTT packet by its declared length, header included. */
  readonly packet: number;
  /** Largest CONNECT packet: all that an unknown peer can make us keep. */
  readonly connectPacket: number;
  /** From TCP accept to a complete CONNECT; slower peers are closed. */
  readonly connectTimeout: number;
  /** New TCP connections per second and address (IPv6: per /64), with a burst of twice that; 0: no limit. */
  readonly connectionsPerSecondPerAddress: number;
  /** Connections that have not finished CONNECT, in total; 0: no limit. */
  readonly handshakes: number;
  /** The same per address; 0: no limit. */
  readonly handshakesPerAddress: number;
  /** Longest keep-alive granted, 1 s to 65,535 s. A client that asks for more, or for none, is held to this one. */
  readonly keepalive: number;
  /** Subscriptions of one client; one more closes it. */
  readonly subscriptions: number;
  /** Filters in one SUBSCRIBE or UNSUBSCRIBE packet; one more closes the client. */
  readonly filtersPerPacket: number;
  /** Levels of a topic or filter, 1 to 100 (aedes stops at 100). */
  readonly topicLevels: number;
  /** Bytes of UTF-8 in a topic or filter. */
  readonly topicBytes: number;
  /** Messages of one client that are read but not yet acknowledged; then its socket is not read. QoS 2 beyond it closes. */
  readonly inflight: number;
  /** Messages and other requests per second and client, with a burst of twice that; above it the socket is read more slowly; 0: no limit. */
  readonly messagesPerSecond: number;
  /** Bytes of messages per second and client, with a burst of twice that; above it the socket is read more slowly; 0: no limit. */
  readonly bytesPerSecond: number;
  /** How long a client may run into its rate of messages before it is disconnected; that of bytes only slows it down. */
  readonly throttleTimeout: number;
  /** Bytes waiting to be read by one client. Above it QoS 0 is dropped, and a message that cannot be dropped disconnects. */
  readonly outgoing: number;
  /** How long a client may leave everything unread before it is disconnected. */
  readonly stallTimeout: number;
  /** Times per minute that a client id may take over its own live session; 0: no limit. */
  readonly takeoversPerMinute: number;
  /** Sessions of one identity that are connected: a service chooses its client ids; 0: no limit. */
  readonly sessionsPerIdentity: number;
  /** Retained topics per identity. */
  readonly retained: number;
  /** Messages per second that a client gets of what waited for it while it was away; 0: no limit. */
  readonly replayPerSecond: number;
  /** Messages kept for a client that is away. */
  readonly queuedMessages: number;
  /** Their bytes; also the bytes that an identity may retain. */
  readonly queuedBytes: number;
  /** How long the session of a client that is away is kept. */
  readonly sessionExpiry: number;
  /** Log lines about refusals per minute, and address or client id; 0: no limit. */
  readonly refusalLogsPerMinute: number;
  /** How often expired certificates, stalled readers and expired sessions are looked for. */
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

export function topicLimits(limits: BrokerLimits): TopicLimits {
  return { maxBytes: limits.topicBytes, maxLevels: limits.topicLevels };
}
