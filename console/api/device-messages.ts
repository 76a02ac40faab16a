/** Commands to devices and their twins: requests and responses. */

import { LEVEL_RULE } from '@rollcall/protocol';
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { deviceId, time } from './schemas.ts';

/** A client and a listener give up after 120 s without a byte. */
export const WAIT_MAX_S = 100;
const EXPIRY_MAX_S = 31_536_000;

const deviceParams = z.strictObject({ id: deviceId });

const commandOrder = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, { error: `expected a command name of ${LEVEL_RULE}` })
    .describe('the command, as the handler of the device is named'),
  payload: z.unknown().optional().describe('the payload, a JSON value; null without it'),
  base64: z.base64().optional().describe('the bytes of the payload, in place of a JSON value'),
  waitSeconds: z.number().min(0).max(WAIT_MAX_S).default(0).describe('how long to wait for the response'),
  expiresSeconds: z
    .number()
    .min(1)
    .max(EXPIRY_MAX_S)
    .optional()
    .describe('after so long the command is not delivered any more; left out: it stays as long as the session'),
});

const commandResult = z.object({
  device: z.string(),
  requestId: z.string(),
  delivery: z.enum(['connected', 'stored']).describe('stored: the device gets it when it connects'),
  outcome: z.enum(['sent', 'answered', 'timed_out']),
  response: z
    .object({
      at: time,
      payload: z.unknown().optional().describe('the value, when the response is JSON that survives a round trip'),
      text: z.string().optional(),
      base64: z.string().optional(),
    })
    .optional(),
});

const twinState = z.record(z.string(), z.unknown());

const twinView = z.object({
  desired: z.object({ version: z.int(), state: twinState }).optional(),
  reported: z
    .object({
      version: z.int(),
      desiredVersion: z.int().optional().describe('the newest desired state that the device had stored'),
      state: twinState,
    })
    .optional(),
  pending: twinState.describe('what of the desired state is not reported'),
});

const desiredChange = z.strictObject({
  state: twinState,
  ifVersion: z
    .int()
    .min(0)
    .optional()
    .describe('refuse the change unless the desired state has this version; 0: unless there is none'),
});

export const deviceMessageEndpoints = {
  commandDevice: {
    method: 'POST',
    path: '/v1/devices/:id/commands',
    access: 'operator',
    summary: 'send a command to a device, and wait for its response',
    params: deviceParams,
    body: commandOrder,
    answer: commandResult,
  },
  showTwin: {
    method: 'GET',
    path: '/v1/devices/:id/twin',
    access: 'viewer',
    summary: 'show the desired and the reported state of a device',
    params: deviceParams,
    answer: twinView,
  },
  replaceDesired: {
    method: 'PUT',
    path: '/v1/devices/:id/twin/desired',
    access: 'operator',
    summary: 'replace the desired state of a device',
    params: deviceParams,
    body: desiredChange,
    answer: twinView,
  },
  mergeDesired: {
    method: 'PATCH',
    path: '/v1/devices/:id/twin/desired',
    access: 'operator',
    summary: 'merge into the desired state of a device (RFC 7396)',
    params: deviceParams,
    body: desiredChange,
    answer: twinView,
  },
} as const satisfies Record<string, Endpoint>;
