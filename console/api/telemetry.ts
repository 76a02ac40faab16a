/** Telemetry: what was accepted, read back: requests and responses. */

import { parseFraction } from '@rollcall/protocol';
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { decimal, deviceId, groupName, pageLimit, resumeHeaders, time } from './schemas.ts';

const stream = z.string().min(1).max(256);

/** At most one of them. */
const ofDevices = {
  device: deviceId.optional(),
  group: groupName.optional().describe('of the devices that are in this group now'),
};

const telemetryQuery = z.strictObject({
  ...ofDevices,
  stream: stream.optional(),
  since: time.optional(),
  until: time.optional().describe('received before'),
  before: decimal(1).optional().describe('before the message of this position'),
  limit: pageLimit.describe(
    'the newest so many; they come oldest first. Fewer come where they would hold more than 16 MiB of payload: the link "next" asks for those before them, and an empty answer is the end',
  ),
});

const seriesQuery = z.strictObject({
  device: deviceId,
  stream,
  value: z.string().max(1024).default('').describe('JSON Pointer of a number in the payload, such as /celsius'),
  since: time,
  until: time,
  bucketSeconds: z.preprocess(
    (text) => parseFraction(text, 0, Number.MAX_SAFE_INTEGER) ?? Number.NaN,
    z.number().min(0.001).max(31_536_000),
  ),
});

const seriesView = z.object({
  points: z.array(
    z.object({ at: time, count: z.int(), min: z.number(), max: z.number(), avg: z.number(), last: z.number() }),
  ),
  ignored: z.int().describe('messages without a number there'),
});

const exportQuery = z.strictObject({
  ...ofDevices,
  stream: stream.optional(),
  since: time.optional(),
  until: time.optional(),
  format: z.enum(['ndjson', 'csv']).default('ndjson'),
});

const segmentView = z.object({
  name: z.string(),
  firstPosition: z.int(),
  messages: z.int(),
  bytes: z.int(),
});

const unanswered = z
  .array(z.string())
  .describe('nodes that did not answer within a second: what they stored is missing');

const talkersQuery = z.strictObject({
  by: z.enum(['bytes', 'messages']).default('bytes'),
  limit: decimal(1, 100).default(20),
});

const talker = z.object({
  name: z.string(),
  messages: z.int(),
  bytes: z.int(),
  isHeld: z.boolean().describe('over its share: its messages wait'),
});

const talkers = z.object({
  time,
  since: time.describe('begin of the day, UTC'),
  isCounted: z.boolean().describe('false where neither devices nor groups have a share: then nothing is counted'),
  devices: z.array(talker),
  groups: z.array(talker),
  deviceShareBytes: z.int().describe('what a device may store today, less near the floor of the disk; 0: any number'),
  groupShareBytes: z.int(),
  unanswered,
});

const telemetryStats = z.object({
  messages: z.int(),
  bytes: z.int(),
  segments: z.array(segmentView),
  damaged: z.array(z.string()).describe('files that could not be read and were moved aside'),
  retention: z.object({
    ageSeconds: z.number().describe('0: any age'),
    bytes: z.int().describe('0: any size'),
    groups: z.record(z.string(), z.number()).describe('ages in seconds of groups with a rule of their own'),
  }),
  intake: z.object({
    stored: z.int().describe('since the server started, as all of these; of all nodes that share a store'),
    storedQos0: z.int(),
    droppedQos0: z.int(),
    refused: z.int(),
    repeated: z.int(),
    commits: z.int(),
    queuedBytes: z.int(),
    isUnderPressure: z.boolean(),
    diskFreeBytes: z.int(),
    isDiskLow: z.boolean().describe('there is less room than telemetry.diskFloor: nothing is stored'),
  }),
  unanswered,
});

const pruneRequest = z
  .strictObject({ olderThanSeconds: z.int().min(1).optional().describe('instead of the bounds that were set') })
  .prefault({});

const pruneAnswer = z.object({ removed: z.array(segmentView) });

const lastQuery = z.strictObject({
  ...ofDevices,
  after: z
    .string()
    .max(512)
    .optional()
    .describe(
      'an answer is one page of at most 16 MiB of payload: left out or empty for the first, then DEVICE/STREAM of the last message, which the link "next" asks for; an empty page is the end',
    ),
});

const followQuery = z.strictObject({ device: deviceId.optional(), stream: stream.optional() });

const messageView = z
  .object({
    position: z.int().describe('names the message in the journal; two of them have no order'),
    device: z.string(),
    stream: z.string(),
    receivedAt: time,
    qos: z.union([z.literal(0), z.literal(1), z.literal(2)]),
    deviceTime: time.optional(),
    deviceSequence: z.number().optional(),
    key: z.string().optional(),
    contentType: z.string().optional().describe('MQTT 5: as the device sent it; may be any text'),
    payloadFormatIndicator: z
      .union([z.literal(0), z.literal(1)])
      .optional()
      .describe('MQTT 5: 1 where the device said that the payload is UTF-8, 0 where it said unspecified bytes'),
    userProperties: z
      .array(z.object({ name: z.string(), value: z.string() }))
      .optional()
      .describe('MQTT 5: in the order sent; a name may occur several times'),
    payload: z.unknown().optional().describe('the value, when the payload is JSON that survives a round trip'),
    text: z.string().optional().describe('otherwise the text, when the payload is UTF-8'),
    base64: z.string().optional().describe('otherwise the bytes'),
  })
  .describe('one accepted message, with its payload in exactly one of three forms');

export const telemetryEndpoints = {
  queryTelemetry: {
    method: 'GET',
    path: '/v1/telemetry',
    access: 'viewer',
    summary: 'query accepted messages of a device or of a group',
    query: telemetryQuery,
    answer: z.array(messageView),
  },
  lastTelemetry: {
    method: 'GET',
    path: '/v1/telemetry/last',
    access: 'viewer',
    summary: 'the newest message of each stream of each device',
    query: lastQuery,
    answer: z.array(messageView),
  },
  seriesTelemetry: {
    method: 'GET',
    path: '/v1/telemetry/series',
    access: 'viewer',
    summary: 'aggregate a number in the payloads of one stream per interval',
    query: seriesQuery,
    answer: seriesView,
  },
  exportTelemetry: {
    method: 'GET',
    path: '/v1/telemetry/export',
    access: 'viewer',
    summary: 'any number of messages, oldest first, one a line; CSV when asked for',
    query: exportQuery,
    answer: z.string(),
    mediaType: 'application/x-ndjson',
    stream: 'bytes',
  },
  telemetryStats: {
    method: 'GET',
    path: '/v1/telemetry/stats',
    access: 'viewer',
    summary: 'show the size of the journal and the intake counters',
    answer: telemetryStats,
  },
  telemetryTalkers: {
    method: 'GET',
    path: '/v1/telemetry/talkers',
    access: 'viewer',
    summary: 'the devices and groups that stored most today',
    query: talkersQuery,
    answer: talkers,
  },
  pruneTelemetry: {
    method: 'POST',
    path: '/v1/telemetry/prune',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'remove messages past their retention, by days and by groups',
    body: pruneRequest,
    answer: pruneAnswer,
  },
  followTelemetry: {
    method: 'GET',
    path: '/v1/telemetry/follow',
    access: 'viewer',
    summary:
      'follow messages, one per line, or as server-sent events; a follower that reads too slowly gets a problem as its last one',
    query: followQuery,
    headers: resumeHeaders,
    answer: messageView,
    mediaType: 'application/x-ndjson',
    stream: 'lines',
  },
} as const satisfies Record<string, Endpoint>;
