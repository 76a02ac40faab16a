/**
 * Shapes that several subjects use, each defined once: the console checks requests and shapes answers with them, the
 * OpenAPI document is written from them, and the client's types are inferred from them. Requests are strict, so that a
 * misspelt key is refused instead of ignored. Times are ISO 8601 here, and milliseconds elsewhere.
 */

import {
  type DeviceId,
  type GroupName,
  NAME_RULE,
  parseDecimal,
  parseDeviceId,
  parseGroupName,
} from '@rollcall/protocol';
import { z } from 'zod';
import { REVOCATION_REASONS } from '../../registry/index.ts';

const NAME_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'; // for readers of the OpenAPI document; `protocol` decides

/** Text that `parse` turns into a checked type of its own. */
export function checkedText<T extends string>(
  parse: (text: string) => T | undefined,
  what: string,
  pattern = NAME_PATTERN,
): z.ZodType<T, string> {
  return z
    .string()
    .refine((text) => parse(text) !== undefined, { error: `expected ${what}` })
    .meta({ pattern, description: what }) as unknown as z.ZodType<T, string>;
}

export const deviceId: z.ZodType<DeviceId, string> = checkedText(parseDeviceId, `a device id of ${NAME_RULE}`);

export const groupName: z.ZodType<GroupName, string> = checkedText(parseGroupName, `a group name of ${NAME_RULE}`);

export const nodeName = checkedText(
  (text) => (/^[a-z0-9][a-z0-9.-]{0,62}$/.test(text) ? text : undefined),
  'the name of a node, such as w1',
);

export const tokenId = checkedText(
  (text) => (/^[0-9a-f]{16}$/.test(text) ? text : undefined),
  'a bootstrap token id of 16 lower-case hexadecimal digits',
  '^[0-9a-f]{16}$',
);

export const serial = checkedText(
  (text) => (/^[1-9a-f][0-9a-f]{0,39}$/.test(text) ? text : undefined),
  'a serial of lower-case hexadecimal digits, without leading zeros',
  '^[1-9a-f][0-9a-f]{0,39}$',
);

export const time = z.iso.datetime({ offset: true });

/** A whole number in the text of a query. */
export function decimal(least: number, most: number = Number.MAX_SAFE_INTEGER) {
  return z.preprocess(
    (text) => (typeof text === 'number' ? text : (parseDecimal(text, 0) ?? Number.NaN)),
    z.int().min(least).max(most),
  );
}

export const pageLimit = decimal(1, 10_000).default(100);

/** Of lists that were whole before they had pages. */
export const longPageLimit = decimal(1, 10_000)
  .default(10_000)
  .describe('how many at most; fewer come where they would hold more than 16 MiB, and an empty answer is the end');

/** Of an answer that several nodes give together. */
export const unanswered = z
  .array(z.string())
  .describe('nodes that ended meanwhile or did not answer in time: what they know is missing here');

export const labels = z.record(z.string().max(32), z.string().max(64));

export const reason = z.enum(REVOCATION_REASONS);

export const problemView = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  time,
});

/** Of an endpoint that streams server-sent events. */
export const resumeHeaders = z.looseObject({
  'last-event-id': z
    .string()
    .max(4096)
    .optional()
    .describe('of server-sent events: the id of the last one received; those after it come first'),
});

/** Of an endpoint that changes something. */
export const actHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .optional()
    .describe(
      '1 to 128 characters, new for each act: a repetition within 24 hours gets the same answer and does nothing',
    ),
});

/** Of an endpoint with an entity tag. */
export const readConditions = z.looseObject({
  'if-none-match': z
    .string()
    .optional()
    .describe('entity tags that the client has: 304 without a body for one of them'),
});

export const changeConditions = z.looseObject({
  'if-match': z
    .string()
    .optional()
    .describe('the entity tag of what the client read: 412 when it was changed since; left out: change it anyway'),
});
