/** Bootstrap tokens: what operators send and read. */

import { z } from 'zod';
import { DEFAULT_GROUP } from '../../contract/identity.ts';
import type { Endpoint } from './endpoint.ts';
import { checkedText, deviceId, groupName, labels, time } from './shapes.ts';

const tokenId = checkedText(
  (text) => (/^[0-9a-f]{16}$/.test(text) ? text : undefined),
  'a bootstrap token id of 16 lower-case hexadecimal digits',
  '^[0-9a-f]{16}$',
);

const tokenParams = z.strictObject({ id: tokenId });

const mintOrder = z.strictObject({
  uses: z.int().min(1).max(1_000_000).default(1).describe('how many devices may enroll with it'),
  ttlSeconds: z
    .int()
    .min(1)
    .max(30 * 86_400)
    .default(86_400),
  group: groupName.prefault(DEFAULT_GROUP),
  device: deviceId.optional().describe('the only device that may use it'),
  labels: labels.default({}),
});

const tokenView = z.object({
  id: z.string(),
  state: z.enum(['usable', 'spent', 'expired', 'void']),
  maxUses: z.int(),
  uses: z.int(),
  group: z.string(),
  labels,
  device: z.string().optional(),
  mintedAt: time,
  mintedBy: z.string(),
  expiresAt: time,
  voidedAt: time.optional(),
});

const mintedToken = z.object({
  token: tokenView,
  text: z.string().describe('the bootstrap token itself: shown here and never again'),
});

export const tokenEndpoints = {
  mintToken: {
    method: 'POST',
    path: '/v1/tokens',
    access: 'operator',
    summary: 'mint a bootstrap token',
    body: mintOrder,
    answer: mintedToken,
  },
  listTokens: {
    method: 'GET',
    path: '/v1/tokens',
    access: 'operator',
    summary: 'list bootstrap tokens, never their secrets',
    answer: z.array(tokenView),
  },
  voidToken: {
    method: 'POST',
    path: '/v1/tokens/:id/void',
    access: 'operator',
    summary: 'make a bootstrap token worthless',
    params: tokenParams,
    answer: tokenView,
  },
} as const satisfies Record<string, Endpoint>;
