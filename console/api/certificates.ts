/** Certificates: the ones that expire soon, and revoking a single one. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { checkedText, decimal, pageLimit, reason, serial, time } from './schemas.ts';

const cursor = checkedText(
  (text) => (/^[0-9]{1,15}-[1-9a-f][0-9a-f]{0,39}$/.test(text) ? text : undefined),
  'the "next" of the page before',
  '^[0-9]{1,15}-[1-9a-f][0-9a-f]{0,39}$',
);

export const certificateEndpoints = {
  listExpiring: {
    method: 'GET',
    path: '/v1/certificates/expiring',
    access: 'operator',
    summary: 'list certificates of devices that expire soon, or are late to renew, the most urgent first',
    query: z.strictObject({
      which: z.enum(['ending', 'late']).default('ending').describe('late: nine tenths of its life are over'),
      withinSeconds: decimal(1, 34_300_800).default(2_592_000).describe('of certificates that expire'),
      after: cursor.optional(),
      limit: pageLimit,
    }),
    answer: z.object({
      certificates: z.array(
        z.object({
          device: z.string(),
          group: z.string(),
          serial: z.string(),
          notBefore: time,
          notAfter: time,
          lateSince: time.optional().describe('absent while it is not late'),
        }),
      ),
      next: z.string().optional().describe('for "after"; absent on the last page'),
    }),
  },
  revokeCertificate: {
    method: 'POST',
    path: '/v1/certificates/:serial/revoke',
    access: 'operator',
    summary: 'revoke one certificate; its holder has another valid one',
    params: z.strictObject({ serial }),
    body: z.strictObject({ reason }),
    answer: z.object({
      serial: z.string(),
      holder: z.string().describe('device/ID or service/NAME'),
      reason,
      revokedAt: time,
      others: z
        .array(
          z.object({
            serial: z.string(),
            proven: z.boolean().describe('false before its first use'),
            descendant: z.boolean().describe('renewed from the one that was revoked'),
          }),
        )
        .describe('the other valid certificates of its holder'),
      lastMessageAt: time.optional(),
      sessionsClosed: z.int(),
      brokersConfirmed: z.int(),
      propagationMs: z.number().describe('from the commit until every broker had confirmed'),
    }),
  },
} as const satisfies Record<string, Endpoint>;
