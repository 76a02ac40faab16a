/** Requests and responses of device operations: the selection, the operation, and its result. */

import { z } from 'zod';
import { DEVICE_OPERATION_KINDS, DEVICE_STATUSES } from '../../registry/index.ts';
import type { Endpoint } from './endpoint.ts';
import { nodeOutcome } from './node-outcome-schema.ts';
import { deviceId, groupName, labels, reason, serial, time, tokenId } from './schemas.ts';

const selector = {
  ids: z.array(deviceId).min(1).max(10_000).optional(),
  group: groupName.optional(),
  labels: labels.optional().describe('each of them'),
  token: tokenId
    .optional()
    .describe('holders of a certificate that was issued from this bootstrap token, directly or by renewal'),
  serial: serial.optional().describe('the holder of this certificate'),
  issuedBefore: time.optional().describe('whose newest certificate was issued before'),
};

const confirm = z
  .string()
  .max(100)
  .optional()
  .describe('needed for more than one device: the confirmation of a dry run, or "yes"');

const operationRequest = z.strictObject({ ...selector, confirm }).describe('devices that match every given criterion');
const revokeRequest = z.strictObject({ ...selector, confirm, reason });

const selectRequest = z.strictObject({
  ...selector,
  act: z.enum(DEVICE_OPERATION_KINDS),
  reason: reason.optional().describe('of a revocation; without one it is unspecified'),
});

const selection = z.object({
  act: z.enum(DEVICE_OPERATION_KINDS),
  count: z.int(),
  devices: z.array(z.string()).describe('in id order, the first 1,000'),
  confirmation: z.string().describe('code for exactly this operation on exactly these devices'),
});

const proof = {
  revokedAt: time.optional().describe('of revocations and deletions: when it was committed first'),
  lastMessageAt: time.optional().describe('when the last message was read, of sessions that were live'),
  sessionsClosed: z.int(),
  brokersConfirmed: z.int(),
  propagationMs: z
    .number()
    .describe('from the commit until every broker had confirmed, or was not waited for any longer'),
};

export const operationAnswer = z.object({
  act: z.enum(DEVICE_OPERATION_KINDS),
  devices: z.array(
    z.object({
      device: z.string(),
      status: z.enum([...DEVICE_STATUSES, 'deleted']),
      at: time.describe('when the device got this status'),
      serials: z.array(z.string()).describe('certificates that were revoked'),
      reason: reason.optional(),
      ...proof,
      unconfirmed: z.array(z.string()).describe('names of the nodes that have not confirmed it for this device'),
    }),
  ),
  ...proof,
  nodes: z.array(nodeOutcome).describe('each node that may have had sessions, and what it did for all of the devices'),
  tookMs: z.number(),
});

function operationEndpoint(verb: string, path: `/${string}`, summary: string) {
  return {
    method: 'POST',
    path,
    access: 'operator',
    summary: `${verb} devices: ${summary}`,
    answer: operationAnswer,
  } as const;
}

export const deviceOperationEndpoints = {
  selectDevices: {
    method: 'POST',
    path: '/v1/devices/select',
    access: 'viewer',
    summary: 'list the devices that an operation would change, without changing them: a dry run',
    body: selectRequest,
    isQuestion: true,
    answer: selection,
  },
  revokeDevices: {
    ...operationEndpoint('revoke', '/v1/devices/revoke', 'permanently; all of them or, when one is unknown, none'),
    recentSignIn: 'several devices',
    body: revokeRequest,
  },
  suspendDevices: {
    ...operationEndpoint('suspend', '/v1/devices/suspend', 'disconnected until they are resumed'),
    body: operationRequest,
  },
  resumeDevices: {
    ...operationEndpoint('resume', '/v1/devices/resume', 'from suspension or quarantine'),
    body: operationRequest,
  },
  quarantineDevices: {
    ...operationEndpoint('quarantine', '/v1/devices/quarantine', 'connected, under the policy quarantine/*'),
    body: operationRequest,
  },
  disconnectDevices: {
    ...operationEndpoint('disconnect', '/v1/devices/disconnect', 'they may reconnect at once'),
    body: operationRequest,
  },
  deleteDevices: {
    ...operationEndpoint('delete', '/v1/devices/delete', 'revoked, their records removed and their ids free'),
    recentSignIn: 'several devices',
    body: operationRequest,
  },
} as const satisfies Record<string, Endpoint>;
