import { parseFraction } from '@rollcall/protocol';
import { parseDuration } from './quantities.ts';

/** What can be asserted: its unit, and what a percentage of it is a percentage of. */
export interface Metric {
  readonly unit: 'count' | 'ms' | 'microseconds' | 'kilobytes';
  readonly of?: string;
  readonly means: string;
}

const latency = (means: string) =>
  Object.fromEntries(
    ['p50', 'p90', 'p99', 'max'].map((name) => [name, { unit: 'ms', means: `${means}, ${name}` } as const]),
  ) as Record<'p50' | 'p90' | 'p99' | 'max', Metric>;

function named(name: string, metrics: Readonly<Record<string, Metric>>): Record<string, Metric> {
  return Object.fromEntries(Object.entries(metrics).map(([key, metric]) => [`${name}.${key}`, metric]));
}

const ofDevices = (means: string): Metric => ({ unit: 'count', of: 'devices.total', means });
const ofMessages = (means: string): Metric => ({ unit: 'count', of: 'messages.sent', means });
const plain = (means: string): Metric => ({ unit: 'count', means });

export const METRICS: Readonly<Record<string, Metric>> = {
  ...named('devices', {
    total: ofDevices('devices of the scenario'),
    enrolled: ofDevices('devices with a certificate'),
    connected: ofDevices('devices connected at the end'),
    refused: ofDevices('devices that got no certificate'),
    throttled: plain('requests for a certificate that the server refused for its rate, to be repeated later'),
    revoked: ofDevices('devices that were revoked'),
    connectionRefused: ofDevices('devices that the broker refused for good'),
    renewed: ofDevices('devices with a renewed certificate'),
  }),
  ...named('messages', {
    sent: ofMessages('messages handed to the network'),
    acknowledged: ofMessages('messages with an acknowledgement'),
    unacknowledged: ofMessages('messages of QoS 1 without one at the end'),
    rejected: ofMessages('messages that the broker rejected, with a reason code'),
    dropped: ofMessages('messages that a device had no room or no power to keep'),
  }),
  ...named('connects', {
    mqtt5: plain('connections that the broker accepted with MQTT 5'),
    mqtt311: plain('connections that the broker accepted with MQTT 3.1.1'),
  }),
  ...named('wills', { received: plain('wills that the service received') }),
  ...named('lost', {
    service: ofMessages('acknowledged messages that the subscribed service never saw'),
    journal: ofMessages('acknowledged messages that the journal does not hold'),
  }),
  ...named('duplicates', {
    service: ofMessages('messages that the service saw more than once'),
    journal: ofMessages('messages that the journal holds more than once'),
  }),
  ...named('reordered', {
    service: ofMessages('messages that the service saw after a later one of the same stream'),
  }),
  ...named('forged', {
    service: plain('messages that the service saw under the name of another device'),
  }),
  ...named('enroll', latency('from the request for a certificate to its arrival')),
  ...named('connect', latency('from TCP connect to CONNACK')),
  ...named('puback', latency('from the intended time of a message to its acknowledgement')),
  ...named('service', latency('from the intended time of a message to its arrival at the service')),
  ...named('revocation', latency('from the order to the end of the connection')),
  ...named('recovery', latency("from the server's return, or the end of a cut, to the device's CONNACK")),
  ...named('command', latency('from command to response')),
  ...named('commands', {
    sent: plain('commands that the service sent'),
    answered: { unit: 'count', of: 'commands.sent', means: 'commands that were answered' },
  }),
  ...named('tokens', {
    used: plain('uses of the bootstrap tokens, as the server counts'),
    overspent: plain('uses beyond one for each enrolled device'),
  }),
  ...named('acts', {
    hostile: plain('hostile acts tried'),
    wronglyAllowed: plain('acts that had to be refused and were not'),
    wronglyRefused: plain('acts that had to be allowed and were not'),
  }),
  ...named('errors', { total: plain('errors of connections and enrollments, wanted ones too') }),
  ...named('simulator', {
    lagP99: { unit: 'ms', means: "the simulator's own delay, p99" },
    clockError: { unit: 'ms', means: 'how wrong the clocks of joined hosts may be after their correction, at most' },
    cpuPerMessage: { unit: 'microseconds', means: "the simulator's CPU per message, publish to PUBACK" },
    memoryPerDevice: { unit: 'kilobytes', means: "the simulator's resident memory per connected device" },
  }),
};

/** Earlier names of metrics, which scenarios, gates and results may still have. */
const EARLIER_NAMES: Readonly<Record<string, string>> = {
  'devices.cutOff': 'devices.connectionRefused',
  'errors.connack_1': 'errors.connack_unsupported_protocol_version',
  'errors.connack_2': 'errors.connack_client_identifier_not_valid',
  'errors.connack_3': 'errors.connack_server_unavailable',
  'errors.connack_4': 'errors.connack_bad_user_name_or_password',
  'errors.connack_5': 'errors.connack_not_authorized',
};

/** What can be asserted beside {@link METRICS}, by a name that the run finds; 0 when it did not find it. */
const OPEN_METRICS = { errors: 'errors of one cause', reasons: 'packets of the broker with one reason code' } as const;
const OPEN_METRIC = /^(errors|reasons)\.[a-z0-9_]+$/i;

export const METRIC_NAMES: readonly string[] = [...Object.keys(METRICS), ...Object.keys(EARLIER_NAMES)];

/** The present name of a metric. */
export function currentName(name: string): string {
  return Object.hasOwn(EARLIER_NAMES, name) ? (EARLIER_NAMES[name] as string) : name;
}

const COMPARISONS = ['==', '!=', '<=', '>=', '<', '>'] as const;
type Comparison = (typeof COMPARISONS)[number];

export interface Expectation {
  readonly text: string;
  readonly metric: string;
  readonly comparison: Comparison;
  readonly value: number;
  /** The value is a percentage of this metric. */
  readonly of: string | undefined;
}

/** The assertion, or what was expected instead. */
export function parseExpectation(text: string): Expectation | string {
  const parts = /^\s*([A-Za-z]+(?:\.[A-Za-z0-9_]+)?)\s*(==|!=|<=|>=|<|>)\s*(\S+)\s*$/.exec(text);
  if (parts === null) return `expected METRIC ${COMPARISONS.join('|')} VALUE, such as "lost.journal == 0"`;
  const [, written, comparison, value] = parts as unknown as [string, string, Comparison, string];
  const name = currentName(written);
  const metric = metricNamed(name);
  if (metric === undefined)
    return `expected a metric, one of ${Object.keys(METRICS).join(', ')}, errors.CAUSE or reasons.PACKET_REASON`;
  const percent = value.endsWith('%') ? parseFraction(value.slice(0, -1), 0, 999_999) : undefined;
  if (percent !== undefined) {
    if (metric.of === undefined) return `expected ${wanted(metric)}: a percentage of ${name} has no meaning`;
    return { text, metric: name, comparison, value: percent, of: metric.of };
  }
  const number = parseFraction(value, 0, 999_999_999_999);
  const read = metric.unit === 'ms' ? parseDuration(value) : number;
  return read === undefined
    ? `expected ${wanted(metric)}`
    : { text, metric: name, comparison, value: read, of: undefined };
}

function metricNamed(name: string): Metric | undefined {
  if (Object.hasOwn(METRICS, name)) return METRICS[name];
  const [, kind] = OPEN_METRIC.exec(name) ?? [];
  return kind === undefined ? undefined : plain(OPEN_METRICS[kind as keyof typeof OPEN_METRICS]);
}

function wanted(metric: Metric): string {
  if (metric.unit === 'ms') return 'a duration such as 500ms';
  return metric.of === undefined ? 'a number' : 'a number or a percentage';
}

export interface Judgement {
  readonly text: string;
  readonly holds: boolean;
  /** What was measured, in the unit of the metric; undefined when nothing was. */
  readonly found: number | undefined;
  readonly reason?: string;
}

/** An assertion about something that was never measured does not hold. */
export function judge(expectation: Expectation, values: Readonly<Record<string, number | undefined>>): Judgement {
  const { text, metric, comparison, of } = expectation;
  const found = values[metric] ?? (OPEN_METRIC.test(metric) ? 0 : undefined);
  if (found === undefined) return { text, holds: false, found, reason: `${metric} was not measured` };
  const whole = of === undefined ? undefined : values[of];
  if (of !== undefined && whole === undefined) return { text, holds: false, found, reason: `${of} was not measured` };
  const bound = whole === undefined ? expectation.value : (expectation.value / 100) * whole;
  return { text, holds: compare(found, comparison, bound), found };
}

function compare(found: number, comparison: Comparison, bound: number): boolean {
  switch (comparison) {
    case '==':
      return found === bound;
    case '!=':
      return found !== bound;
    case '<':
      return found < bound;
    case '<=':
      return found <= bound;
    case '>':
      return found > bound;
    case '>=':
      return found >= bound;
  }
}
