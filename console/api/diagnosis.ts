/** The diagnosis of the server and of a device: requests and responses. */

import { z } from 'zod';
import { DEVICE_STATUSES } from '../../registry/index.ts';
import { certificateView } from './devices.ts';
import type { Endpoint } from './endpoint.ts';
import { deviceId, reason, time, tokenId } from './schemas.ts';
import { sessionView } from './sessions.ts';

const refusalView = z.object({
  kind: z.enum(['connection', 'enrollment', 'renewal']),
  code: z.string().describe('a reason of presence.connect_failed, or the code of a problem'),
  detail: z.string().optional(),
  firstAt: time,
  lastAt: time,
  count: z.int(),
  isAtLeast: z.boolean().describe('the rate limit of events left some out'),
  addresses: z.array(z.string()).describe('a few of the newest'),
  token: z.string().optional(),
  certificate: z
    .object({
      subject: z.string().optional(),
      issuer: z.string().optional(),
      serial: z.string(),
      notBefore: z.string().optional(),
      notAfter: z.string().optional(),
    })
    .optional()
    .describe('what the client presented; no check has confirmed it'),
  attribution: z
    .enum(['device', 'certificate', 'token', 'name', 'address'])
    .describe(
      'why it belongs to the device: the server knew it; its certificate; its token; an untrusted certificate names it; it came from its last address',
    ),
  sentence: z.string().describe('the check that failed'),
  remedy: z.string(),
});

const findingView = z.object({
  check: z.string(),
  outcome: z.enum(['ok', 'warning', 'failed', 'skipped']),
  found: z.string(),
  fix: z.string().optional().describe('what to do, unless the outcome is ok'),
  nodes: z.array(z.string()).optional().describe('that found it, where all were asked'),
});

export const diagnosisEndpoints = {
  examineServer: {
    method: 'GET',
    path: '/v1/doctor',
    access: 'viewer',
    summary: 'check what the server needs, and say what to do where something fails',
    query: z.strictObject({
      nodes: z
        .literal('all')
        .optional()
        .describe('each node of the fleet examines itself; left out: the node that answers'),
    }),
    answer: z.object({
      node: z.string().describe('that answers; main where the server shares its store with no other'),
      unanswered: z.array(z.string()).describe('nodes that were asked and did not answer within a second'),
      findings: z.array(findingView),
      enrollUrls: z.array(z.string()).describe('one for each public host, to connect to from outside'),
      rootSha256: z.string().describe('of the root that devices trust'),
    }),
  },
  diagnoseDevice: {
    method: 'GET',
    path: '/v1/devices/:id/diagnosis',
    access: 'viewer',
    summary: 'explain why a device cannot enroll, connect or renew; also one that never enrolled',
    params: z.strictObject({ id: deviceId }),
    query: z.strictObject({
      since: time.optional().describe('refusals since then; left out: of seven days'),
      token: tokenId.optional().describe('a bootstrap token whose refusals count as well'),
    }),
    answer: z.object({
      device: z.string(),
      serverTime: time,
      since: time,
      status: z.enum([...DEVICE_STATUSES, 'unknown']).describe('unknown: it never enrolled, or was deleted'),
      group: z.string().optional(),
      enrolledAt: time.optional(),
      restrictedAt: time.optional(),
      revokedAt: time.optional(),
      revocationReason: reason.optional(),
      certificate: certificateView.optional().describe('the newest one'),
      session: sessionView.optional().describe('absent while the device is not connected'),
      online: z.boolean().describe('connected to any node, as of a second ago'),
      broker: z.string().optional().describe('the node that has its session, or had the last one'),
      connectedAt: time.optional().describe('begin of the newest session'),
      lastSeenAt: time.optional().describe('the last packet of the last session'),
      lastAddress: z.string().optional(),
      mqttVersion: z.string().optional(),
      sdkVersion: z.string().optional(),
      lastDisconnect: z.object({ at: time, reason: z.string() }).optional(),
      tokens: z
        .array(
          z.object({
            id: z.string(),
            state: z.enum(['usable', 'spent', 'expired', 'void']),
            uses: z.int(),
            maxUses: z.int(),
            expiresAt: time,
          }),
        )
        .describe('those that were created for the device'),
      refusals: z.array(refusalView).describe('newest first, at most 20'),
    }),
  },
} as const satisfies Record<string, Endpoint>;
