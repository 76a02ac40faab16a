/**
 * The shapes that operators send and read, each defined once: the console checks requests and shapes answers with them,
 * the OpenAPI document is written from them, and the client's types are inferred from them. Requests are strict, so that
 * a misspelt key is refused instead of ignored. Times are ISO 8601 here and nowhere else in the house.
 */

import { z } from 'zod';
import {
  DEFAULT_GROUP,
  type DeviceId,
  type GroupName,
  type Identity,
  NAME_RULE,
  parseDeviceId,
  parseGroupName,
  parseIdentity,
  parseServiceName,
  type ServiceName,
} from '../contract/identity.ts';
import type { PolicyScope } from '../contract/policy.ts';
import { REVOCATION_REASONS } from '../registry/registry.ts';

const NAME_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'; // for readers of the OpenAPI document; contract/ decides

/** Text that `parse` turns into a checked type of its own. */
function checkedText<T extends string>(
  parse: (text: string) => T | undefined,
  what: string,
  pattern = NAME_PATTERN,
): z.ZodType<T, string> {
  return z
    .string()
    .refine((text) => parse(text) !== undefined, { error: `expected ${what}` })
    .meta({ pattern, description: what }) as unknown as z.ZodType<T, string>;
}

const deviceId: z.ZodType<DeviceId, string> = checkedText(parseDeviceId, `a device id of ${NAME_RULE}`);
const groupName: z.ZodType<GroupName, string> = checkedText(parseGroupName, `a group name of ${NAME_RULE}`);
const serviceName: z.ZodType<ServiceName, string> = checkedText(parseServiceName, `a service name of ${NAME_RULE}`);
const tokenId = checkedText(
  (text) => (/^[0-9a-f]{16}$/.test(text) ? text : undefined),
  'a bootstrap token id of 16 lower-case hexadecimal digits',
  '^[0-9a-f]{16}$',
);
const time = z.iso.datetime({ offset: true });
const pageLimit = z.coerce.number().int().min(1).max(10_000).default(100);
const labels = z.record(z.string().max(32), z.string().max(64));
const reason = z.enum(REVOCATION_REASONS);

export const deviceParams = z.strictObject({ id: deviceId });
export const tokenParams = z.strictObject({ id: tokenId });
export const serviceParams = z.strictObject({ name: serviceName });

// Bootstrap tokens

export const mintOrder = z.strictObject({
  uses: z.int().min(1).max(1_000_000).default(1).describe('how many devices may enroll with it'),
  ttlSeconds: z
    .int()
    .min(1)
    .max(30 * 86_400)
    .default(86_400),
  group: groupName.prefault(DEFAULT_GROUP),
  device: deviceId.optional().describe('the only device that may use it'),
  labels: labels.default({}),
});

export const tokenView = z.object({
  id: z.string(),
  state: z.enum(['usable', 'spent', 'expired', 'void']),
  maxUses: z.int(),
  uses: z.int(),
  group: z.string(),
  labels,
  device: z.string().optional(),
  mintedAt: time,
  mintedBy: z.string(),
  expiresAt: time,
  voidedAt: time.optional(),
});

export const mintedToken = z.object({
  token: tokenView,
  text: z.string().describe('the bootstrap token itself: shown here and never again'),
});

// Devices and live sessions

export const deviceQuery = z.strictObject({
  group: groupName.optional(),
  status: z.enum(['active', 'revoked']).optional(),
  after: deviceId.optional().describe('the page of ids greater than this one'),
  limit: pageLimit,
});

export const deviceView = z.object({
  id: z.string(),
  group: z.string(),
  labels,
  status: z.enum(['active', 'revoked']),
  enrolledAt: time,
  enrolledBy: z.string(),
  revokedAt: time.optional(),
  revocationReason: reason.optional(),
});

export const certificateView = z.object({
  serial: z.string(),
  notBefore: time,
  notAfter: time,
  status: z.enum(['good', 'expired', 'revoked']),
  revokedAt: time.optional(),
  revocationReason: reason.optional(),
});

export const sessionView = z.object({
  identity: z.string(),
  clientId: z.string(),
  address: z.string(),
  serial: z.string(),
  connectedAt: time,
  notAfter: time,
});

export const deviceDetail = deviceView.extend({
  certificates: z.array(certificateView),
  session: sessionView.optional().describe('absent while the device is not connected'),
});

export const revokeOrder = z.strictObject({ ids: z.array(deviceId).min(1).max(10_000), reason });

export const revokeAnswer = z.object({
  revocations: z.array(z.object({ identity: z.string(), serials: z.array(z.string()), reason, revokedAt: time })),
  revokedAt: time,
  sessionsClosed: z.int().describe('live sessions that ended before this answer was sent'),
  tookMs: z.number(),
});

// Services

export const serviceOrder = z.strictObject({ name: serviceName, csrPem: z.string().min(1).max(16_384) });

export const serviceView = z.object({
  name: z.string(),
  status: z.enum(['active', 'revoked']),
  issuedAt: time,
  revokedAt: time.optional(),
});

export const issuedService = z.object({ service: serviceView, certificatePem: z.string(), caPem: z.string() });

export const serviceRevokeOrder = z.strictObject({ reason: reason.default('unspecified') }).prefault({});

// Policies

export const policyParams = z
  .strictObject({ kind: z.enum(['group', 'service']), name: z.string() })
  .refine(({ kind, name }) => parseGroupName(name) !== undefined || (kind === 'service' && name === '*'), {
    error: `expected group/NAME, service/NAME or service/*, a name being ${NAME_RULE}`,
    path: ['name'],
  });

const rules = z.array(z.string().min(1).max(1024)).max(256).default([]);

export const policyDocument = z.strictObject({
  connect: rules,
  publish: rules,
  subscribe: rules,
  receive: rules,
  retain: rules,
});

export const effectivePolicy = z.object({
  scope: z.string() as unknown as z.ZodType<PolicyScope>,
  isDefault: z.boolean().describe('nothing was set for this scope'),
  decidedBy: z.string().describe('the scope whose policy applies, or "built-in"'),
  policy: policyDocument,
});

export const explainOrder = z.strictObject({
  identity: checkedText(
    (text) => (parseIdentity(text) === undefined ? undefined : text),
    `device/ID, service/NAME or a device id, a name being ${NAME_RULE}`,
    '^((device|service)/)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  ).transform((text) => parseIdentity(text) as Identity),
  verb: z.enum(['publish', 'subscribe', 'receive']),
  topic: z.string().min(1).max(1024),
});

export const explanation = z.object({
  allowed: z.boolean(),
  rule: z.string().optional(),
  reason: z.string().optional(),
});

// Telemetry

const stream = z.string().min(1).max(256);

export const telemetryQuery = z.strictObject({
  device: deviceId,
  stream: stream.optional(),
  since: time.optional(),
  until: time.optional().describe('received before'),
  limit: pageLimit.describe('the newest so many; they come oldest first'),
});

export const seriesQuery = z.strictObject({
  device: deviceId,
  stream,
  value: z.string().max(1024).default('').describe('JSON Pointer of a number in the payload, such as /celsius'),
  since: time,
  until: time,
  bucketSeconds: z.coerce.number().min(0.001).max(31_536_000),
});

export const seriesView = z.object({
  points: z.array(
    z.object({ at: time, count: z.int(), min: z.number(), max: z.number(), avg: z.number(), last: z.number() }),
  ),
  ignored: z.int().describe('messages without a number there'),
});

export const exportQuery = z.strictObject({
  device: deviceId.optional(),
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

export const telemetryStats = z.object({
  messages: z.int(),
  bytes: z.int(),
  segments: z.array(segmentView),
  damaged: z.array(z.string()).describe('files that could not be read and were put aside'),
  intake: z.object({
    stored: z.int().describe('since the server started, as all of these'),
    storedQos0: z.int(),
    droppedQos0: z.int(),
    refused: z.int(),
    repeated: z.int(),
    commits: z.int(),
    queuedBytes: z.int(),
    isUnderPressure: z.boolean(),
  }),
});

export const pruneOrder = z
  .strictObject({ olderThanSeconds: z.int().min(1).optional().describe('instead of the bounds that were set') })
  .prefault({});

export const pruneAnswer = z.object({ removed: z.array(segmentView) });

export const ofOneDevice = z.strictObject({ device: deviceId.optional() });

export const messageView = z
  .object({
    position: z.int(),
    device: z.string(),
    stream: z.string(),
    receivedAt: time,
    qos: z.union([z.literal(0), z.literal(1), z.literal(2)]),
    deviceTime: time.optional(),
    deviceSequence: z.number().optional(),
    key: z.string().optional(),
    contentType: z.string().optional(),
    payload: z.unknown().optional().describe('the value, when the payload is JSON that survives a round trip'),
    text: z.string().optional().describe('otherwise the text, when the payload is UTF-8'),
    base64: z.string().optional().describe('otherwise the bytes'),
  })
  .describe('one accepted message, with its payload in exactly one of three forms');

// The trail and the server itself

export const auditQuery = z.strictObject({ before: z.coerce.number().int().min(1).optional(), limit: pageLimit });

export const auditView = z.object({
  id: z.int(),
  at: time,
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  outcome: z.enum(['done', 'refused']),
  details: z.record(z.string(), z.union([z.string(), z.number()])),
});

export const health = z.object({ status: z.literal('ok'), version: z.string(), time, database: z.literal('ok') });

export const problemView = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  time,
});
