/** The list of devices: criteria, orders, and a device as the list and other answers show it. */

import { z } from 'zod';
import { DEVICE_SORTS, DEVICE_STATUSES, parseAddressRange } from '../../registry/index.ts';
import { checkedText, deviceId, groupName, labels, pageLimit, reason, time, tokenId } from './schemas.ts';

const MAX_LABELS = 8;

const flag = z.enum(['true', 'false']).transform((text) => text === 'true');

const labelText = z.string().regex(/^[A-Za-z][A-Za-z0-9_]{0,31}=[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, {
  error: 'expected name=value, as in site=hall-3',
});

/** One `label=site=hall-3`, or several. */
const labelsOfQuery = z
  .union([labelText, z.array(labelText).max(MAX_LABELS)])
  .optional()
  .describe(`name=value; several, up to ${MAX_LABELS}: devices that have all of them`);

const criteria = {
  group: groupName.optional(),
  status: z.enum(DEVICE_STATUSES).optional(),
  label: labelsOfQuery,
  online: flag.optional().describe('whether the device is connected'),
  lastSeenBefore: time.optional().describe('devices that are offline, and whose last session ended before'),
  lastSeenAfter: time.optional().describe('devices that are online, or were since'),
  address: checkedText(
    (text) => (text.length <= 64 && parseAddressRange(text) !== undefined ? text : undefined),
    'an address or a network, as in 192.0.2.7, 10.1.0.0/16 or 2001:db8::/32',
    '^[0-9A-Fa-f.:%/]{1,64}$',
  )
    .optional()
    .describe('of the newest session'),
  token: tokenId.optional().describe('devices that enrolled last with this bootstrap token'),
  sdkVersion: z.string().max(65).optional().describe('as the client stated it: name/version'),
  certificateEndsBefore: time.optional().describe('whose newest unrevoked certificate ends before, or has ended'),
  text: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, { error: 'expected 1 to 64 of A-Z a-z 0-9 . _ -' })
    .optional()
    .describe("the begin of an id, of a label's value, or of a word in one of them; in any case"),
};

/** Devices are counted up to here: beyond it an operator needs to know only that there are more. */
export const MAX_COUNTED = 10_000;

export const deviceCountQuery = z.strictObject(criteria);

export const deviceCount = z.object({
  count: z.int().max(MAX_COUNTED),
  isAtLeast: z.boolean().describe(`there are ${MAX_COUNTED} or more`),
});

export const deviceQuery = z.strictObject({
  ...criteria,
  sort: z.enum(DEVICE_SORTS).default('id').describe('devices without a value come last'),
  reverse: flag.optional(),
  after: deviceId.optional().describe('in the order of ids: the page after this id'),
  cursor: z.string().max(512).optional().describe('the page after the device that has this cursor'),
  limit: pageLimit,
});

export const deviceView = z.object({
  id: z.string(),
  group: z.string(),
  labels,
  status: z.enum(DEVICE_STATUSES),
  restrictedAt: time.optional().describe('since when it is suspended or quarantined'),
  enrolledAt: time,
  enrolledBy: z.string(),
  revokedAt: time.optional(),
  revocationReason: reason.optional(),
  certificateEndsAt: time.optional().describe('of the newest certificate that is not revoked'),
  online: z.boolean(),
  broker: z.string().optional().describe('that has the session, or had the last one'),
  connectedAt: time.optional().describe('begin of the newest session; absent for a device that never connected'),
  lastSeenAt: time
    .optional()
    .describe('when the last packet of the last session was read; of a device that is online, when it connected'),
  lastAddress: z.string().optional(),
  mqttVersion: z.string().optional(),
  sdkVersion: z.string().optional().describe('as the client stated it, with MQTT 5'),
  lastDisconnect: z
    .object({ at: time, reason: z.string() })
    .optional()
    .describe('how the last session ended that has ended'),
});

export const listedDevice = deviceView.extend({ cursor: z.string().describe('of the page after this device') });
