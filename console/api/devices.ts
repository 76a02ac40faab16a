/** Devices: requests and responses. */

import { z } from 'zod';
import { deviceQuery, deviceView, listedDevice } from './device-list.ts';
import type { Endpoint } from './endpoint.ts';
import { deviceId, groupName, reason, time } from './schemas.ts';
import { sessionView } from './sessions.ts';

const deviceParams = z.strictObject({ id: deviceId });

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
    summary: 'find devices by any of the criteria, in the order of their ids or of another value',
    query: deviceQuery,
    answer: z.array(listedDevice),
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
