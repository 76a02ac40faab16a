/** Devices: requests and responses. */

import { z } from 'zod';
import { DEVICE_OPERATION_KINDS } from '../../registry/index.ts';
import { auditView } from './audit.ts';
import { deviceCount, deviceCountQuery, deviceQuery, deviceView, listedDevice } from './device-list.ts';
import type { Endpoint } from './endpoint.ts';
import { nodeOutcome } from './node-outcome-schema.ts';
import { deviceId, groupName, reason, time, unanswered } from './schemas.ts';
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
  firstUsedAt: time.optional().describe('when the broker or EST server first saw a renewed certificate'),
  recovered: z.boolean().describe('issued again for a key whose certificate had expired'),
  revokedAt: time.optional(),
  revocationReason: reason.optional(),
});

const lineageToken = z.object({
  id: z.string(),
  state: z.enum(['usable', 'spent', 'expired', 'void']),
  group: z.string(),
  createdAt: time,
  createdBy: z.string(),
  usedBy: z.int().describe('how many enrollments it has served'),
});

const lastChange = z.object({
  act: z.enum([...DEVICE_OPERATION_KINDS, 'set', 'revoke a certificate']),
  at: time,
  nodes: z.array(nodeOutcome).describe('what each node has done about it until now'),
});

const deviceDetail = deviceView.extend({
  token: lineageToken.optional().describe('the bootstrap token with which it enrolled last'),
  children: z.array(z.string()).describe('devices with the label gateway=ID, the first 100'),
  audit: z.array(auditView).describe('what was done to the device, the newest 50 entries, newest first'),
  certificates: z.array(certificateView).describe('the newest 1,000, oldest first'),
  session: sessionView.optional().describe('absent while the device is not connected'),
  unanswered,
  lastChange: lastChange
    .optional()
    .describe('for an hour, where several nodes share a store: the last operation or change of settings'),
});

const deviceChange = z.strictObject({
  group: groupName.optional(),
  labels: z.record(z.string().max(32), z.string().max(64).nullable()).optional().describe('null removes a label'),
});

const deviceSettings = z.object({ group: z.string(), labels: z.record(z.string(), z.string()) });

export const deviceEndpoints = {
  listDevices: {
    method: 'GET',
    path: '/v1/devices',
    access: 'viewer',
    summary: 'find devices by any of the criteria, in the order of their ids or of another value',
    query: deviceQuery,
    answer: z.array(listedDevice),
  },
  countDevices: {
    method: 'GET',
    path: '/v1/device-count',
    access: 'viewer',
    summary: 'count the devices that match the criteria, up to 10,000',
    query: deviceCountQuery,
    answer: deviceCount,
  },
  showDevice: {
    method: 'GET',
    path: '/v1/devices/:id',
    access: 'viewer',
    summary:
      'show a device: presence, live session, certificates, the token that they go back to, and what was done to it',
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
  showDeviceSettings: {
    method: 'GET',
    path: '/v1/devices/:id/settings',
    access: 'viewer',
    summary: 'show the group and labels of a device',
    params: deviceParams,
    isTagged: true,
    answer: deviceSettings,
  },
  changeDeviceSettings: {
    method: 'PATCH',
    path: '/v1/devices/:id/settings',
    access: 'operator',
    summary: 'change the group or labels of a device unless another operator changed them since they were read',
    params: deviceParams,
    body: deviceChange,
    isTagged: true,
    answer: deviceSettings,
  },
} as const satisfies Record<string, Endpoint>;
