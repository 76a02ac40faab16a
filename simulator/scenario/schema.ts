/**
 * The schema of scenarios: every key with its meaning, unit and default. The JSON Schema for editors is generated from it.
 * checks.ts checks what concerns a scenario as a whole.
 */

import { NAME_RULE, parseGroupName } from '@rollcall/protocol';
import { z } from 'zod';
import { mqttVersions } from './mqtt-versions.ts';
import { duration, probability, share, size, skew, timeSpan } from './quantities.ts';

const NAME = '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$';
const word = z.string().regex(new RegExp(NAME), { error: `expected ${NAME_RULE}` });
const groupName = word.refine((text) => parseGroupName(text) !== undefined);
const finite = z.number({ error: 'expected a number' });
const count = z
  .int({ error: 'expected a whole number of one or more' })
  .min(1, { error: 'expected a whole number of one or more' })
  .max(1_000_000, { error: 'expected at most 1,000,000' });

/** Of one packet; brokers allow few. */
const USER_PROPERTIES_MAX = 32;

// When devices start

const arrival = z
  .discriminatedUnion(
    'curve',
    [
      z.strictObject({ curve: z.literal('constant'), over: duration }).describe('evenly over a time'),
      z.strictObject({ curve: z.literal('ramp'), over: duration }).describe('few at first, ever more'),
      z
        .strictObject({ curve: z.literal('burst'), size: count, every: timeSpan })
        .describe('so many at once, again and again'),
      z
        .strictObject({ curve: z.literal('poisson'), perSecond: finite.positive() })
        .describe('by chance, so many a second'),
      z
        .strictObject({ curve: z.literal('diurnal'), over: timeSpan, peak: probability.prefault('50%') })
        .describe('in one wave, as over a day'),
    ],
    { error: 'expected a curve: constant, ramp, burst, poisson or diurnal' },
  )
  .meta({ description: 'when the devices of the group come for the first time' });

// What devices publish

const model = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ kind: z.literal('constant'), value: z.union([z.number(), z.string(), z.boolean()]) }),
    z.strictObject({
      kind: z.literal('sine'),
      middle: finite.default(20),
      amplitude: finite.nonnegative().default(5),
      period: timeSpan.prefault('60s'),
      noise: finite.nonnegative().default(0),
    }),
    z.strictObject({
      kind: z.literal('walk'),
      start: finite.default(20),
      step: finite.positive().default(0.5),
      min: finite.optional(),
      max: finite.optional(),
    }),
    z.strictObject({
      kind: z.literal('track'),
      points: z
        .array(z.tuple([finite.min(-90).max(90), finite.min(-180).max(180)]).describe('latitude, longitude in degrees'))
        .min(2),
      speed: finite.positive().describe('metres per second'),
      atEnd: z.enum(['turn', 'stop', 'again']).default('turn'),
    }),
    z.strictObject({
      kind: z.literal('states'),
      initial: word,
      states: z.record(
        word,
        z.strictObject({ for: timeSpan, next: z.record(word, finite.positive()).describe('state: weight') }),
      ),
    }),
    z.strictObject({
      kind: z.literal('replay'),
      file: z.string().min(1).describe('recording, relative to the scenario file; .csv or .ndjson'),
      time: z.string().min(1).describe('column that holds the time: ISO 8601, or seconds or milliseconds since 1970'),
      columns: z.record(word, z.string().min(1)).describe('name in the payload: column of the recording'),
      speed: finite.positive().max(1_000_000).default(1),
      from: z.enum(['start', 'spread']).default('start').describe('where a device begins: all at the start, or spread'),
      atEnd: z.enum(['again', 'stop']).default('again'),
    }),
  ],
  { error: 'expected a kind: constant, sine, walk, track, states or replay' },
);

const userProperties = z
  .record(z.string().min(1).max(256), z.string().max(1_024))
  .refine((properties) => Object.keys(properties).length <= USER_PROPERTIES_MAX, {
    error: `expected at most ${USER_PROPERTIES_MAX} user properties`,
  });

const stream = z.strictObject({
  stream: word,
  every: timeSpan.optional().describe('from message to message; a replay has the times of its recording'),
  spacing: z.enum(['regular', 'poisson']).default('regular'),
  qos: z.union([z.literal(0), z.literal(1)], { error: 'expected QoS 0 or 1' }).default(1),
  size: size.optional().describe('payloads are filled up to so many bytes'),
  model: model.prefault({ kind: 'walk' }),
  userProperties: userProperties.optional().describe('user properties of each message, with MQTT 5'),
});

const will = z.strictObject({
  stream: word.describe('published on this stream, which no device publishes on otherwise'),
  payload: z.string().max(4_096).default('offline'),
  qos: z.union([z.literal(0), z.literal(1)], { error: 'expected QoS 0 or 1' }).default(1),
  delay: duration.prefault('0s').describe('until it is published, with MQTT 5; at once with 3.1.1'),
  userProperties: userProperties.optional().describe('with MQTT 5'),
});

const network = z.strictObject({
  latency: duration.prefault('0s').describe('each way'),
  jitter: duration.prefault('0s').describe('on top of the latency, by chance up to'),
  loss: probability.prefault('0%').describe('chunks that stall for a retransmission timeout'),
  bandwidth: size.optional().describe('bytes per second, each way'),
  halfOpen: probability.prefault('0%').describe('connections that go silent without an end'),
  resetHandshake: probability.prefault('0%').describe('connections reset in the middle of the TLS handshake'),
});

const command = z.strictObject({
  after: duration.prefault('0s').describe('until the answer'),
  answer: z
    .union([z.string(), z.literal(false)])
    .default('done')
    .describe('payload of the response; false for none'),
});

const group = z.strictObject({
  count,
  kind: z
    .enum(['light', 'sdk', 'swarm', 'true'], { error: 'expected light or sdk' })
    .default('light')
    .describe('light: many on raw sockets; sdk: the device SDK itself; "swarm" and "true" are their earlier names')
    .transform((kind): 'light' | 'sdk' => (kind === 'true' || kind === 'sdk' ? 'sdk' : 'light')),
  mqtt: mqttVersions.optional(),
  group: groupName.default('default').describe('group of the fleet that they enroll into'),
  labels: z.record(z.string().max(32), z.string().max(64)).default({}),
  keys: z
    .union([z.literal('own'), z.strictObject({ pool: count })])
    .default('own')
    .describe('own: a fresh key for each; pool: so many keys shared by all'),
  resume: z.boolean().default(true).describe('TLS sessions are resumed on reconnects'),
  keepalive: timeSpan.prefault('60s'),
  sessionExpiry: duration
    .prefault('0s')
    .describe('how long the broker stores the session of a device that is away; 0s: it begins a new one each time'),
  will: will.optional().describe('published by the broker when the connection ends without a DISCONNECT'),
  arrive: arrival.prefault({ curve: 'constant', over: '5s' }),
  publish: z.array(stream).default([]),
  sleep: z.strictObject({ awake: timeSpan, asleep: timeSpan }).optional(),
  commands: z.record(word, command).default({}).describe('commands that are answered; others are not'),
  clock: z
    .strictObject({ skew: skew.prefault('+0s'), drift: finite.default(0).describe('parts per million') })
    .prefault({}),
  network: network.optional().describe('the line between the group and the servers'),
  reads: z
    .enum(['always', 'never'])
    .default('always')
    .describe('never: what is sent to the device stays unread once it is subscribed'),
  acknowledges: z
    .enum(['always', 'never'])
    .default('always')
    .describe('never: deliveries with QoS 1 are left without PUBACK'),
});

// What happens to them

/** One incident; which words make up one is checked in checks.ts, with better sentences than a union can give. */
const incident = z.strictObject({
  at: duration.describe('since the start of the run'),
  of: word.optional().describe('the group that it happens to; all of them without it'),
  for: timeSpan.optional().describe('until it is over'),
  revoke: share.optional(),
  cut: share.optional().describe('their line is cut'),
  power: share.optional().describe('they lose power, and what they had not sent'),
  clone: share.optional().describe('a second device comes with their key and certificate'),
  steal: share.optional().describe('somebody comes with their key and certificate, as another device'),
  renew: share.optional().describe('they renew their certificates now'),
  outlive: share.optional().describe('they come back with a certificate whose time is over'),
  command: word.optional().describe('an application sends them this command'),
  to: share.optional().describe('how many are sent the command'),
  network: network.optional().describe('the line of the group changes'),
  server: z.enum(['restart', 'kill']).optional().describe('the server ends, by SIGTERM or SIGKILL, and starts again'),
  disk: z.literal('full').optional().describe("the server's disk is full"),
  rotate: z.literal('issuing').optional().describe('the issuing CA is replaced'),
  attack: z.enum(['malformed', 'guess', 'probe', 'slow-handshake']).optional(),
  count: count.optional().describe('how often the attack is tried'),
});

export const scenarioSchema = z
  .strictObject({
    name: word,
    about: z.string().max(500).default(''),
    seed: z.int().min(0).max(0xffff_ffff).default(1).describe('the same seed gives the same fleet'),
    duration: timeSpan,
    settle: duration.prefault('5s').describe('after the duration: time for the last acknowledgements'),
    server: z
      .strictObject({ settings: z.record(z.string(), z.unknown()).default({}) })
      .prefault({})
      .describe('settings of the temporary server, as in rollcall.example.yaml'),
    devices: z.record(word, group).refine((groups) => Object.keys(groups).length > 0, {
      error: 'expected one group of devices or more',
    }),
    timeline: z.array(incident).default([]),
    expect: z.array(z.string()).default([]).describe('assertions such as "lost.journal == 0" or "puback.p99 < 500ms"'),
    limits: z
      .strictObject({ lag: timeSpan.prefault('500ms') })
      .prefault({})
      .describe('beyond which the simulator itself was the bottleneck'),
  })
  .meta({ title: 'Rollcall simulator scenario' });

export type Scenario = z.output<typeof scenarioSchema>;
export type DeviceGroup = Scenario['devices'][string];
export type Arrival = DeviceGroup['arrive'];
export type Stream = DeviceGroup['publish'][number];
export type Model = Stream['model'];
export type ReplayModel = Extract<Model, { kind: 'replay' }>;
export type Incident = Scenario['timeline'][number];
export type NetworkLine = NonNullable<DeviceGroup['network']>;
