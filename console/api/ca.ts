/** Certificate authorities and renewals: requests and responses. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { decimal, groupName, time } from './schemas.ts';

const caId = z.string().regex(/^[0-9a-f]{40}$/, 'expected the id of a CA: 40 digits of hexadecimal');
const caParams = z.strictObject({ id: caId });
const count = z.number().int().min(0);
/** Devices and services that may be left without a valid certificate. */
const strand = count.max(10_000_000).default(0);
const withinSeconds = z.number().int().min(0).max(31_536_000).default(3600);

const caView = z.object({
  id: z.string(),
  role: z.enum(['root', 'issuing']),
  state: z.enum(['prepared', 'active', 'outgoing', 'tainted', 'retired']),
  rootId: z.string().optional(),
  notBefore: time,
  notAfter: time,
  /** Whether it can sign here. */
  hasKey: z.boolean(),
  /** Certificates of it that are neither revoked nor expired. */
  issued: count,
  /** Devices and services without another valid certificate; of a root, those that may trust no other. */
  stranded: count,
  preparedAt: time,
  activatedAt: time.optional(),
  taintedAt: time.optional(),
  retiredAt: time.optional(),
});
const caAnswer = z.object({ id: z.string() });
const pulled = z.object({
  pulled: count.describe('devices'),
  services: count.describe('certificates of services'),
  until: time,
  perSecond: z.number(),
});
const pemText = z.string().min(1).max(65_536);

const crl = z.object({
  number: count,
  issuedAt: time,
  nextUpdate: time,
  entries: count.describe('certificates that are revoked or on hold; of a root, CAs'),
  bytes: count.describe('of DER'),
  delta: z.object({ baseNumber: count, bytes: count }).optional().describe('of an issuing CA'),
});

const publishedStatus = z.object({
  cas: z.array(
    z.object({
      id: z.string(),
      role: z.enum(['root', 'issuing']),
      crl: crl.optional().describe('absent before the first one is issued, at the first request for it'),
      crlUrl: z.string().optional().describe('as certificates name it'),
      ocspUrl: z.string().optional().describe('absent without the listener for certificate status'),
      certificateUrl: z.string().optional(),
    }),
  ),
  ocspSigners: z
    .array(z.object({ ca: z.string(), serial: z.string(), notBefore: time, notAfter: time }))
    .describe('certificates that sign OCSP responses now; each is issued at the first request about its CA'),
});

export const caEndpoints = {
  showPublishedStatus: {
    method: 'GET',
    path: '/v1/ca/status',
    access: 'viewer',
    summary: 'show the CRLs and OCSP signers of the CAs that are not retired',
    answer: publishedStatus,
  },
  listStranded: {
    method: 'GET',
    path: '/v1/ca/:id/stranded',
    access: 'viewer',
    summary: 'list the devices and services that the next step with a CA would leave without access',
    params: caParams,
    query: z.strictObject({ limit: decimal(1, 1_000).default(100) }),
    answer: z.object({
      step: z.enum(['activate', 'retire']).describe('activate: of a prepared CA, those that may not know its root'),
      count,
      holders: z.array(z.string()).describe('device/ID or service/NAME, devices first'),
    }),
  },
  listCas: {
    method: 'GET',
    path: '/v1/ca',
    access: 'viewer',
    summary: 'list root and issuing CAs',
    answer: z.array(caView),
  },
  prepareCa: {
    method: 'POST',
    path: '/v1/ca/prepare',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'make a CA that is trusted and signs nothing yet',
    body: z.strictObject({ role: z.enum(['root', 'issuing']).default('issuing') }),
    answer: caAnswer,
  },
  activateCa: {
    method: 'POST',
    path: '/v1/ca/:id/activate',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'make the prepared CA the active one',
    params: caParams,
    body: z.strictObject({ strand }),
    answer: caAnswer,
  },
  taintCa: {
    method: 'POST',
    path: '/v1/ca/:id/taint',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'ask all holders of certificates of an outgoing CA to renew',
    params: caParams,
    body: z.strictObject({ withinSeconds }),
    answer: pulled,
  },
  retireCa: {
    method: 'POST',
    path: '/v1/ca/:id/retire',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'remove a CA from the trust bundle',
    params: caParams,
    body: z.strictObject({ strand }),
    answer: caAnswer,
  },
  requestCa: {
    method: 'POST',
    path: '/v1/ca/request',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'a certificate request for an issuing CA, for a root elsewhere to sign',
    answer: z.object({ csrPem: z.string() }),
  },
  importCa: {
    method: 'POST',
    path: '/v1/ca/import',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'import the certificate for that request, with its chain up to the root',
    body: z.strictObject({ pem: pemText }),
    answer: caAnswer,
  },
  exportRoot: {
    method: 'POST',
    path: '/v1/ca/root/export',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'the root key under a passphrase',
    body: z.strictObject({ passphrase: z.string().min(8).max(1_024) }),
    answer: z.object({ id: z.string(), pem: z.string() }),
  },
  removeRootKey: {
    method: 'POST',
    path: '/v1/ca/root/forget',
    access: 'admin',
    recentSignIn: 'always',
    summary: 'remove the root key from this machine',
    body: z.strictObject({ id: caId }),
    answer: caAnswer,
  },
  pullRenewals: {
    method: 'POST',
    path: '/v1/renewals/pull',
    access: 'operator',
    summary: 'ask devices to renew earlier',
    body: z.strictObject({ group: groupName.optional(), issuer: caId.optional(), withinSeconds }),
    answer: pulled,
  },
  renewalStatus: {
    method: 'GET',
    path: '/v1/renewals',
    access: 'viewer',
    summary: 'what is due to renew',
    query: z.strictObject({ group: groupName.optional() }),
    answer: z.object({
      devices: count,
      due: count,
      late: count,
      pulled: count,
      endingIn7Days: count,
      endingIn30Days: count,
      budgetPerSecond: z.number(),
      nextHourPerSecond: z.number(),
    }),
  },
} as const satisfies Record<string, Endpoint>;
