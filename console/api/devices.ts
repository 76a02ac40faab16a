/** Devices: requests and responses. */

import { z } from 'zod';
import { DEVICE_STATUSES } from '../../registry/index.ts';
import type { Endpoint } from './endpoint.ts';
import { deviceId, groupName, labels, pageLimit, reason, time } from './schemas.ts';
import { sessionView } from './sessions.ts';

const deviceParams = z.strictObject({ id: deviceId });

const deviceQuery = z.strictObject({
  group: groupName.optional(),
  status: z.enum(DEVICE_STATUSES).optional(),
  after: deviceId.optional().describe('the page of ids greater than this one'),
  limit: pageLimit,
});

const deviceView = z.object({
  id: z.string(),
  group: z.string(),
  labels,
  status: z.enum(DEVICE_STATUSES),
  restrictedAt: time.optional().describe('since when it is suspended or quarantined'),
  enrolledAt: time,
  enrolledBy: z.string(),
  revokedAt: time.optional(),
  revocationReason: reason.optional(),
});

export const certificateView = z.object({
  serial: z.string(),
  notBefore: time,
  notAfter: time,
  status: z.enum(['good', 'expired', 'superseded', 'revoked']),
  issuedAt: time,
  parentSerial: z.string().optional().describe('the certificate that authenticated its renewal'),
  token: z.string().optional().describe('the bootstrap token that it was issued from, directly or by renewal'),
  operator: z.string().optional().describe('the operator that created that token'),
  address: z.string().optional().describe('of the client that requested it'),
  revokedAt: time.optional(),
  revocationReason: reason.optional(),
});

const deviceDetail = deviceView.extend({
  certificates: z.array(certificateView).describe('the newest 1,000, oldest first'),
  session: sessionView.optional().describe('absent while the device is not connected'),
});

const deviceChange = z.strictObject({
  group: groupName.optional(),
  labels: z.record(z.string().max(32), z.string().max(64).nullable()).optional().describe('null removes a label'),
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
  setDevice: {
    method: 'PATCH',
    path: '/v1/devices/:id',
    access: 'operator',
    summary: 'change the group or labels of a device; its live session gets its new rights at once',
    params: deviceParams,
    body: deviceChange,
    answer: deviceView,
  },
} as const satisfies Record<string, Endpoint>;
