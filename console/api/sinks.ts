/** Sinks, to which messages and events are forwarded: requests and responses. */

import { NAME_RULE, parseDeviceId } from '@rollcall/protocol';
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { checkedText, time } from './schemas.ts';

const sinkParams = z.strictObject({ name: checkedText(parseDeviceId, `a sink's name of ${NAME_RULE}`) });

const sinkView = z.object({
  name: z.string(),
  kind: z.string(),
  source: z.enum(['telemetry', 'events']),
  destination: z.string(),
  filter: z.object({
    devices: z.array(z.string()),
    groups: z.array(z.string()),
    streams: z.array(z.string()),
  }),
  state: z.enum(['starting', 'forwarding', 'idle', 'down', 'stopped']),
  reason: z.string().optional().describe('why it is down'),
  since: time.describe('in this state'),
  position: z
    .union([z.int(), z.string()])
    .describe(
      'everything up to here is forwarded, filtered out, or a dead letter: a position, or a text where several nodes write the journal',
    ),
  lagMessages: z.int(),
  lagSeconds: z.number().describe('age of the oldest message that is to be forwarded'),
  forwarded: z.int().describe('since the server started, as all of these'),
  filtered: z.int(),
  retries: z.int(),
  deadLettered: z.int(),
  missed: z.int().describe('removed from the journal before the target had them'),
  notice: z
    .string()
    .optional()
    .describe('what was last found out about the target: a file that was moved, deleted or cut'),
  noticedAt: time.optional(),
  deadLetterFile: z.string(),
});

const replayRequest = z
  .strictObject({
    position: z.int().min(1).optional().describe('of the first message that is forwarded again'),
    since: time.optional().describe('the first message received at or after it'),
  })
  .refine(({ position, since }) => (position === undefined) !== (since === undefined), {
    error: 'expected a position or a time, one of both',
  });

export const sinkEndpoints = {
  listSinks: {
    method: 'GET',
    path: '/v1/sinks',
    access: 'viewer',
    summary: 'list sinks and their positions, of several nodes those of the one that forwards',
    answer: z.array(sinkView),
  },
  replaySink: {
    method: 'POST',
    path: '/v1/sinks/:name/replay',
    access: 'operator',
    summary: 'forward everything from that position again',
    params: sinkParams,
    body: replayRequest,
    answer: sinkView,
  },
  skipSink: {
    method: 'POST',
    path: '/v1/sinks/:name/skip',
    access: 'operator',
    summary: 'make the message that a target rejects a dead letter',
    params: sinkParams,
    answer: z.object({ skipped: z.int().optional().describe('its position; absent when the target is not down') }),
  },
} as const satisfies Record<string, Endpoint>;
