/** Certificates: the ones that expire soon, and revoking a single one. */

import { z } from 'zod';
import { EXPIRING_KINDS, RENEWED_BY } from '../../registry/index.ts';
import { certificateView } from './devices.ts';
import type { Endpoint } from './endpoint.ts';
import { nodeOutcome } from './node-outcome-schema.ts';
import { checkedText, decimal, pageLimit, reason, serial, time } from './schemas.ts';

const CURSOR = '^[0-9]{1,16}_[a-z-]{1,20}_[0-9a-f]{1,40}$';
const cursor = checkedText(
  (text) => (new RegExp(CURSOR).test(text) ? text : undefined),
  'the "next" of the page before',
  CURSOR,
);

const expiringKind = z.enum(EXPIRING_KINDS);
/** One kind, or several with commas between them. */
const expiringKinds = z
  .string()
  .max(200)
  .refine((text) => text.split(',').every((kind) => expiringKind.safeParse(kind).success), {
    error: `expected some of ${EXPIRING_KINDS.join(', ')}, with commas between them`,
  })
  .optional()
  .describe(`some of ${EXPIRING_KINDS.join(', ')}, with commas between them; all of them when it is absent`);

const countByKind = z.partialRecord(expiringKind, z.int()).describe('a kind without any is absent');

export const certificateEndpoints = {
  countExpiringWeeks: {
    method: 'GET',
    path: '/v1/certificates/expiring/weeks',
    access: 'viewer',
    summary: 'count what expires in each of the next 26 weeks, and what is late to renew, by kind',
    answer: z.object({
      from: time.describe('when it was counted, up to a minute ago: the begin of the first week'),
      weeks: z.array(countByKind),
      late: countByKind,
    }),
  },
  showCertificate: {
    method: 'GET',
    path: '/v1/certificates/:serial',
    access: 'viewer',
    summary: 'show a certificate with its holder, status and origin',
    params: z.strictObject({ serial }),
    answer: certificateView.extend({
      holder: z.string().describe('device/ID, service/NAME, or server/NAME of a listener'),
      onHold: z.boolean().describe('its device is suspended'),
      issuer: z.string().optional().describe('the id of the CA that signed it'),
      supersededAt: time
        .optional()
        .describe('when the certificate renewed from it took its place; may be in the future'),
      pem: z.string(),
    }),
  },
  listExpiring: {
    method: 'GET',
    path: '/v1/certificates/expiring',
    access: 'viewer',
    summary: 'list everything that expires soon, or is late to renew, the most urgent first',
    query: z.strictObject({
      which: z.enum(['ending', 'late']).default('ending').describe('late: nine tenths of its life are over'),
      withinSeconds: decimal(1, 3_153_600_000).default(2_592_000).describe('of what expires; 100 years at most'),
      kind: expiringKinds,
      after: cursor.optional(),
      limit: pageLimit,
    }),
    answer: z.object({
      expiring: z.array(
        z.object({
          kind: expiringKind,
          name: z.string().describe('of the device, service, listener or CA; of a token device/ID or group/NAME'),
          id: z.string().describe('serial of a certificate; id of a CA, of the CA of a CRL, or of a token'),
          group: z.string().optional().describe('of a device'),
          validFrom: time,
          expiresAt: time.describe('of a CRL its nextUpdate'),
          lateSince: time.optional().describe('absent while it is not late'),
          renewedBy: z.enum(RENEWED_BY).describe('files: the program that writes the files of a certificate'),
          action: z.string().describe('what renews it, or the command by which an operator does'),
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
      nodes: z.array(nodeOutcome),
      propagationMs: z
        .number()
        .describe('from the commit until every broker had confirmed, or was not waited for any longer'),
    }),
  },
} as const satisfies Record<string, Endpoint>;
