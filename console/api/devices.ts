/** Devices: what operators send and read. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { sessionView } from './sessions.ts';
import { deviceId, groupName, labels, pageLimit, reason, time } from './shapes.ts';

const deviceParams = z.strictObject({ id: deviceId });

const deviceQuery = z.strictObject({
  group: groupName.optional(),
  status: z.enum(['active', 'revoked']).optional(),
  after: deviceId.optional().describe('the page of ids greater than this one'),
  limit: pageLimit,
});

const deviceView = z.object({
  id: z.string(),
  group: z.string(),
  labels,
  status: z.enum(['active', 'revoked']),
  enrolledAt: time,
  enrolledBy: z.string(),
  revokedAt: time.optional(),
  revocationReason: reason.optional(),
});

const certificateView = z.object({
  serial: z.string(),
  notBefore: time,
  notAfter: time,
  status: z.enum(['good', 'expired', 'revoked']),
  revokedAt: time.optional(),
  revocationReason: reason.optional(),
});

const deviceDetail = deviceView.extend({
  certificates: z.array(certificateView),
  session: sessionView.optional().describe('absent while the device is not connected'),
});

const revokeOrder = z.strictObject({ ids: z.array(deviceId).min(1).max(10_000), reason });

export const revokeAnswer = z.object({
  revocations: z.array(z.object({ identity: z.string(), serials: z.array(z.string()), reason, revokedAt: time })),
  revokedAt: time,
  sessionsClosed: z.int().describe('live sessions that ended before this answer was sent'),
  tookMs: z.number(),
});

export const deviceEndpoints = {
  listDevices: {
    method: 'GET',
    path: '/v1/devices',
    access: 'operator',
    summary: 'list devices in the order of their ids',
    query: deviceQuery,
    answer: z.array(deviceView),
  },
  showDevice: {
    method: 'GET',
    path: '/v1/devices/:id',
    access: 'operator',
    summary: 'show a device, its certificates and its live session',
    params: deviceParams,
    answer: deviceDetail,
  },
  revokeDevices: {
    method: 'POST',
    path: '/v1/devices/revoke',
    access: 'operator',
    summary: 'revoke devices: all of them or, when one is unknown, none',
    body: revokeOrder,
    answer: revokeAnswer,
  },
} as const satisfies Record<string, Endpoint>;
