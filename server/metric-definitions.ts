/**
 * Every metric of a server: name, type, help, and the keys of a module's counters that it shows. docs/metrics.md is the same list
 * for operators. A metric with a label takes one key per value of the label, or all keys that begin with a prefix. With several
 * labels the rest of the key is their values, separated by commas.
 */

export interface MetricDefinition {
  readonly name: `rollcall_${string}`;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly label?: string | readonly string[];
  readonly from:
    | string
    /** Value of the label by key. */
    | { readonly keys: Readonly<Record<string, string>> }
    /** The rest of the key is the value of the label. */
    | { readonly prefix: string };
}

/** The modules whose counters are exported. */
export type MetricSource =
  | 'server'
  | 'broker'
  | 'nodes'
  | 'telemetry'
  | 'heaviestDevices'
  | 'enroll'
  | 'expiry'
  | 'events'
  | 'sinks'
  | 'descriptors'
  | 'store'
  | 'refusals'
  | 'loadTests'
  | 'logLines';

function counter(name: MetricDefinition['name'], help: string, from: string): MetricDefinition {
  return { name, type: 'counter', help, from };
}

function gauge(name: MetricDefinition['name'], help: string, from: string): MetricDefinition {
  return { name, type: 'gauge', help, from };
}

function sinkMetric(type: MetricDefinition['type'], suffix: string, help: string): MetricDefinition {
  return { name: `rollcall_sink_${suffix}`, type, help, label: 'sink', from: { prefix: `sink_${suffix}/sink=` } };
}

/** Absent while the server is one node. */
function nodeMetric(type: MetricDefinition['type'], suffix: string, help: string): MetricDefinition {
  return { name: `rollcall_node_${suffix}`, type, help, label: 'node', from: { prefix: `${suffix}/node=` } };
}

export const METRICS: Readonly<Record<MetricSource, readonly MetricDefinition[]>> = {
  server: [
    gauge(
      'rollcall_ready',
      '1 while the server takes devices and stores what they send, else 0; the same as /readyz.',
      'ready',
    ),
    gauge('rollcall_start_time_seconds', 'When the server started, in seconds since 1970.', 'start_time_seconds'),
  ],
  broker: [
    gauge('rollcall_sessions', 'Connected MQTT clients.', 'sessions'),
    counter('rollcall_connections_accepted_total', 'CONNECT packets that were accepted.', 'connected'),
    {
      name: 'rollcall_connections_refused_total',
      type: 'counter',
      help: 'Connections to the MQTT listener that were refused, by reason.',
      label: 'reason',
      from: { prefix: 'refused.' },
    },
    {
      name: 'rollcall_disconnections_total',
      type: 'counter',
      help: 'Sessions that ended, by reason.',
      label: 'reason',
      from: { prefix: 'disconnected.' },
    },
    counter(
      'rollcall_session_takeovers_total',
      'Sessions that a new connection of the same client id ended.',
      'takeovers',
    ),
    counter('rollcall_clones_suspected_total', 'Identities that seemed to be used in two places.', 'clones_suspected'),
    gauge('rollcall_pending_connections', 'Connections without a completed CONNECT.', 'pending_connections'),
    counter('rollcall_handshakes_begun_total', 'TLS handshakes that were admitted.', 'handshakes_begun_total'),
    counter('rollcall_handshakes_finished_total', 'TLS handshakes that completed.', 'handshakes_finished_total'),
    counter(
      'rollcall_handshakes_abandoned_total',
      'TLS handshakes that failed or timed out.',
      'handshakes_abandoned_total',
    ),
    counter(
      'rollcall_handshake_seconds_total',
      'Time from accept to the end of the handshake, summed over completed TLS handshakes.',
      'handshake_seconds_total',
    ),
    counter(
      'rollcall_event_loop_busy_seconds_total',
      'Time in which the event loop of the main thread was busy.',
      'event_loop_busy_seconds_total',
    ),
    counter('rollcall_messages_received_total', 'PUBLISH packets from clients.', 'messages_received'),
    counter(
      'rollcall_messages_accepted_total',
      'PUBLISH packets that the access policy allowed and, for telemetry, that were stored.',
      'messages_accepted',
    ),
    counter('rollcall_messages_forwarded_total', 'PUBLISH packets sent to clients.', 'messages_forwarded'),
    counter(
      'rollcall_messages_dropped_total',
      'QoS 0 messages not sent because the client read too slowly.',
      'messages_dropped',
    ),
    counter(
      'rollcall_messages_expired_total',
      'Messages not sent because their Message Expiry Interval had passed.',
      'messages_expired',
    ),
    counter(
      'rollcall_messages_too_large_total',
      'Messages not sent because they exceed the Maximum Packet Size of the client.',
      'messages_too_large',
    ),
    counter(
      'rollcall_messages_not_queued_total',
      'Messages that exceeded the queue of a persistent session, or the share of its owner.',
      'messages_not_queued',
    ),
    {
      name: 'rollcall_access_denied_total',
      type: 'counter',
      help: 'Topics and filters that the access policy denied, by action.',
      label: 'action',
      from: { keys: { publish_denied: 'publish', subscribe_denied: 'subscribe', receive_denied: 'receive' } },
    },
    gauge('rollcall_sessions_not_read', 'Clients that are not read because storage is behind.', 'sessions_not_read'),
    gauge(
      'rollcall_sessions_over_share',
      'Clients that are not read because their device or group is over its share of the journal.',
      'sessions_over_share',
    ),
    gauge('rollcall_persistent_sessions', 'Persistent sessions, connected or not.', 'persistent_sessions'),
    gauge('rollcall_retained_messages', 'Retained messages.', 'retained'),
    gauge(
      'rollcall_session_store_bytes',
      'Bytes in the session store: subscriptions, queues, retained messages, wills.',
      'session_store_bytes',
    ),
    gauge(
      'rollcall_retained_message_bytes',
      'Bytes of retained messages in the session store.',
      'retained_message_bytes',
    ),
    gauge('rollcall_queued_message_bytes', 'Bytes of queued messages in the session store.', 'queued_message_bytes'),
    {
      name: 'rollcall_session_store_refused_total',
      type: 'counter',
      help: 'Messages that the session store refused because their owner was over its share, by kind.',
      label: 'kind',
      from: {
        keys: { 'session_store_refused/kind=retained': 'retained', 'session_store_refused/kind=queued': 'queued' },
      },
    },
    gauge('rollcall_session_store_short', '1 while the session store is nearly full, else 0.', 'session_store_short'),
    counter('rollcall_session_commits_total', 'Commits of the session store.', 'session_commits'),
  ],
  nodes: [
    nodeMetric('gauge', 'up', '1 while the node serves clients, else 0.'),
    nodeMetric('gauge', 'sessions', 'MQTT clients that are connected to the node.'),
    nodeMetric('counter', 'event_loop_busy_seconds_total', 'Time in which the event loop of the node was busy.'),
    nodeMetric('counter', 'crashes_total', 'Times that the thread of the node ended by an error.'),
  ],
  telemetry: [
    counter('rollcall_telemetry_stored_total', 'Messages stored in the journal.', 'stored'),
    counter('rollcall_telemetry_stored_qos0_total', 'Messages of QoS 0 stored in the journal.', 'storedQos0'),
    counter('rollcall_telemetry_dropped_qos0_total', 'Messages of QoS 0 that were not stored.', 'droppedQos0'),
    counter(
      'rollcall_telemetry_refused_total',
      'Messages of QoS 1 and 2 that were not stored and not acknowledged.',
      'refused',
    ),
    counter(
      'rollcall_telemetry_repeated_total',
      'Messages whose key was stored before; acknowledged and not stored again.',
      'repeated',
    ),
    counter('rollcall_telemetry_commits_total', 'Commits of the journal.', 'commits'),
    gauge('rollcall_telemetry_queued_bytes', 'Bytes that wait to be stored.', 'queuedBytes'),
    gauge('rollcall_telemetry_under_pressure', '1 while storage is behind, else 0.', 'isUnderPressure'),
    gauge('rollcall_telemetry_disk_free_bytes', 'Free bytes on the disk of the journal.', 'diskFreeBytes'),
    gauge(
      'rollcall_telemetry_disk_low',
      '1 while less than the configured floor is free and nothing is stored, else 0.',
      'isDiskLow',
    ),
    gauge('rollcall_telemetry_held_devices', 'Devices over their share of the journal.', 'heldDevices'),
    gauge('rollcall_telemetry_held_groups', 'Groups over their share of the journal.', 'heldGroups'),
  ],
  heaviestDevices: [
    {
      name: 'rollcall_telemetry_heaviest_device_bytes',
      type: 'gauge',
      help: 'Bytes stored today by each of the five devices that stored most.',
      label: 'device',
      from: { prefix: '' },
    },
  ],
  enroll: [
    counter('rollcall_enrollments_total', 'Certificates issued by simpleenroll.', 'enrollments_total'),
    counter('rollcall_renewals_total', 'Certificates issued by simplereenroll.', 'renewals_total'),
    {
      name: 'rollcall_enroll_refused_total',
      type: 'counter',
      help: 'Requests to the EST server that were refused, by code of the problem.',
      label: 'code',
      from: { prefix: 'enroll_refused_total/code=' },
    },
    {
      name: 'rollcall_enroll_connections_refused_total',
      type: 'counter',
      help: 'Connections to the EST server that were refused before their TLS handshake, by reason.',
      label: 'reason',
      from: { prefix: 'enroll_connections_refused_total/reason=' },
    },
    gauge('rollcall_enroll_waiting', 'Requests for a certificate that wait for their turn.', 'enroll_waiting'),
    counter(
      'rollcall_enroll_waiting_abandoned_total',
      'Requests whose client disconnected while they waited.',
      'enroll_waiting_abandoned_total',
    ),
    counter(
      'rollcall_enroll_overloaded_total',
      'Requests that were refused because too many waited.',
      'enroll_overloaded_total',
    ),
  ],
  expiry: [
    {
      name: 'rollcall_certificates_expiring',
      type: 'gauge',
      help: 'Certificates of devices that expire within this time; the same as rollcall_expiring{kind="device"}.',
      label: 'within',
      from: { keys: { 'expiring/device,7d': '7d', 'expiring/device,30d': '30d' } },
    },
    gauge(
      'rollcall_certificates_late',
      'Certificates of devices that are late to renew; the same as rollcall_late_to_renew{kind="device"}.',
      'late/device',
    ),
    {
      name: 'rollcall_expiring',
      type: 'gauge',
      help: 'What expires within this time, by kind; counted every ten minutes.',
      label: ['kind', 'within'],
      from: { prefix: 'expiring/' },
    },
    {
      name: 'rollcall_late_to_renew',
      type: 'gauge',
      help: 'What was not renewed although nine tenths of its life are over, by kind; counted every ten minutes.',
      label: 'kind',
      from: { prefix: 'late/' },
    },
    {
      name: 'rollcall_next_expiry_timestamp_seconds',
      type: 'gauge',
      help: 'When the next one of the kind expires, in seconds since 1970; absent when none does.',
      label: 'kind',
      from: { prefix: 'next_expiry/' },
    },
  ],
  events: [
    counter('rollcall_events_recorded_total', 'Events stored in the journal of events.', 'events_recorded_total'),
    counter(
      'rollcall_events_left_out_total',
      'Events beyond the limit per device and type, which were only counted.',
      'events_left_out_total',
    ),
    counter('rollcall_events_dropped_total', 'Events that could not be stored.', 'events_dropped_total'),
    gauge('rollcall_events_waiting', 'Events that wait to be stored.', 'events_waiting'),
  ],
  sinks: [
    sinkMetric('gauge', 'up', '0 while the sink is down, else 1.'),
    sinkMetric(
      'gauge',
      'untrusted',
      '1 while the sink is down because the certificate of its target is not trusted, else 0.',
    ),
    sinkMetric('gauge', 'lag_messages', 'Messages that were not forwarded yet.'),
    sinkMetric('gauge', 'lag_seconds', 'Age of the oldest message that was not forwarded yet.'),
    sinkMetric('counter', 'forwarded_total', 'Messages that the target accepted.'),
    sinkMetric('counter', 'filtered_total', 'Messages that the filter of the sink excludes.'),
    sinkMetric('counter', 'retries_total', 'Deliveries that failed and were repeated.'),
    sinkMetric('counter', 'dead_lettered_total', 'Messages that the target refused for good.'),
    sinkMetric('counter', 'missed_total', 'Messages that were pruned before they were forwarded.'),
    sinkMetric(
      'counter',
      'target_losses_total',
      'Times that a file of the target was moved, truncated or deleted with messages in it.',
    ),
  ],
  descriptors: [
    gauge(
      'rollcall_descriptors_exhausted',
      '1 while the process has no free file descriptor, else 0.',
      'descriptors_exhausted',
    ),
  ],
  store: [
    gauge(
      'rollcall_store_clock_skew_seconds',
      'The clock of the database that several nodes share minus the clock of this node; absent without such a database.',
      'clock_skew_seconds',
    ),
  ],
  loadTests: [
    gauge(
      'rollcall_load_test_exemptions',
      'Bootstrap tokens that exempt addresses from the limits per address at the moment.',
      'load_test_exemptions',
    ),
  ],
  refusals: [
    counter(
      'rollcall_refusals_not_logged_total',
      'Log lines about refusals that exceeded the log budget.',
      'refusals_not_logged_total',
    ),
  ],
  logLines: [
    counter('rollcall_log_lines_dropped_total', 'Log lines that could not be written.', 'log_lines_dropped_total'),
  ],
};

/** Set once: the value is 1. */
export const INFO = {
  name: 'rollcall_info',
  help: 'Version of the server, the runtime that it runs on, and its name among several nodes, main where it is alone.',
  labels: ['version', 'runtime', 'node'],
} as const;

/** In seconds. PUBACK and PUBREC follow the commit at once. */
export const COMMIT_SECONDS = {
  name: 'rollcall_telemetry_commit_seconds',
  help: 'Time from the receipt of the first message of a commit until the commit was on disk and its messages were acknowledged.',
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
} as const;

/** In seconds. The target is 0.1 s. */
export const TERMINATION_SECONDS = {
  name: 'rollcall_revocation_propagation_seconds',
  help: 'Time from the commit of an operation that ends or restricts sessions until every broker confirmed it.',
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
} as const;
