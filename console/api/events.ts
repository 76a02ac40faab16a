/** Events of the fleet: requests and responses. */

import { LIFECYCLE_TYPES } from '@rollcall/protocol';
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { deviceId, pageLimit, resumeHeaders, time } from './schemas.ts';

const AREAS = [...new Set(LIFECYCLE_TYPES.map((type) => type.slice(0, type.indexOf('.'))))];

const eventFilter = z.strictObject({
  type: z
    .enum([...LIFECYCLE_TYPES, ...AREAS] as [string, ...string[]])
    .optional()
    .describe('a type, or its area: presence.connected, presence'),
  device: deviceId.optional().describe('a device, or a service by its name'),
});

const eventQuery = eventFilter.extend({
  since: time.optional().describe('left out: a day ago'),
  until: time.optional(),
  limit: pageLimit.describe('the newest so many; they come oldest first'),
});

const eventView = z
  .object({
    specversion: z.literal('1.0'),
    id: z.string(),
    type: z.string(),
    source: z.string(),
    subject: z.string().optional(),
    time,
    datacontenttype: z.string(),
    data: z.record(z.string(), z.unknown()),
  })
  .describe('an event of CloudEvents 1.0');

export const eventEndpoints = {
  listEvents: {
    method: 'GET',
    path: '/v1/events',
    access: 'viewer',
    summary: 'list events, oldest first',
    query: eventQuery,
    answer: z.array(eventView),
  },
  followEvents: {
    method: 'GET',
    path: '/v1/events/follow',
    access: 'viewer',
    summary: 'follow events, one per line; as server-sent events when the client accepts text/event-stream',
    query: eventFilter,
    headers: resumeHeaders,
    answer: eventView,
    mediaType: 'application/x-ndjson',
    stream: 'lines',
  },
} as const satisfies Record<string, Endpoint>;
