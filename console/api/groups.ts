/** Groups of devices and what their certificates are like: requests and responses. */

import { z } from 'zod';
import { KEY_ALGORITHMS } from '../../registry/index.ts';
import type { Endpoint } from './endpoint.ts';
import { decimal, groupName, pageLimit, time } from './schemas.ts';

const groupParams = z.strictObject({ group: groupName });

const profile = z.strictObject({
  lifetimeSeconds: z.int().optional().describe('of a certificate: 1 hour to 397 days'),
  keys: z
    .array(z.enum(KEY_ALGORITHMS))
    .max(KEY_ALGORITHMS.length)
    .optional()
    .describe('key algorithms that are accepted'),
  maxDevices: z.int().optional().describe('devices that are not revoked, at most'),
  renewal: z
    .strictObject({ from: z.number(), to: z.number() })
    .optional()
    .describe("the renewal window, as fractions of a certificate's life"),
});

const groupProfile = z.object({
  group: z.string(),
  isSet: z.boolean().describe('false: the group has the defaults'),
  profile,
});

const profileVersion = z.object({
  version: z.int().describe('the id of the audit entry of the change'),
  at: time,
  actor: z.string(),
  profile: profile.optional().describe('absent when the change removed the profile'),
});

export const groupEndpoints = {
  listProfileVersions: {
    method: 'GET',
    path: '/v1/groups/:group/profile/versions',
    access: 'viewer',
    summary: 'list the versions of the certificate profile of a group, newest first',
    params: groupParams,
    query: z.strictObject({
      before: decimal(1).optional().describe('versions below this one: the page after it'),
      limit: pageLimit,
    }),
    answer: z.array(profileVersion),
  },
  showGroupProfile: {
    method: 'GET',
    path: '/v1/groups/:group/profile',
    access: 'viewer',
    summary: 'show the certificate profile of a group',
    params: groupParams,
    isTagged: true,
    answer: groupProfile,
  },
  setGroupProfile: {
    method: 'PUT',
    path: '/v1/groups/:group/profile',
    access: 'operator',
    summary: 'set the certificate profile of a group; absent fields have their defaults',
    params: groupParams,
    body: profile,
    isTagged: true,
    answer: groupProfile,
  },
} as const satisfies Record<string, Endpoint>;
