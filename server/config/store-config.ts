/** The schema of two options: what the server stores in, and which node of several it is. */

import { NODE_NAME, NODE_NAME_RULE, NODE_ROLES, type NodeRole } from '@rollcall/protocol';
import { z } from 'zod';

export const EMBEDDED_STORE = 'file:';

const path = z.string().max(4_096);

/** Its parts are checked when the store is opened: reading a configuration loads no client of a database. */
const storeUrl = z
  .string()
  .max(2_048)
  .regex(/^(file:|postgres(ql)?:\/\/.+)$/, 'expected file: or a URL of the form postgres://user@host1,host2/database');

/** Wakes by LISTEN of the store's own database. */
export const STORE_WAKES = 'postgres:';

const HOSTS = '[^/@?#,\\s]+(,[^/@?#,\\s]+)*';
const wakesUrl = z
  .string()
  .max(2_048)
  .regex(
    new RegExp(`^(${STORE_WAKES}|(nats|tls)://${HOSTS})$`),
    'expected postgres:, or tls://host:port,host:port without credentials; nats:// only to this machine',
  );

/** What tells the nodes that tables have news. Secrets are in files. */
const wakesSchema = z
  .strictObject({
    url: wakesUrl.prefault(STORE_WAKES),
    subject: z
      .string()
      .regex(/^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}$/, 'expected a subject without wildcards')
      .prefault('rollcall.wakes'),
    caFile: path.prefault(''),
    certificateFile: path.prefault(''),
    keyFile: path.prefault(''),
    user: z.string().max(64).prefault(''),
    passwordFile: path.prefault(''),
    tokenFile: path.prefault(''),
    credentialsFile: path.prefault(''),
    nkeyFile: path.prefault(''),
  })
  .prefault({});

export type WakesConfig = z.infer<typeof wakesSchema>;

export const storeSchema = z
  .strictObject({
    url: storeUrl.prefault(EMBEDDED_STORE),
    caFile: path.prefault(''),
    certificateFile: path.prefault(''),
    keyFile: path.prefault(''),
    passwordFile: path.prefault(''),
    standbys: z.number().int().min(0).max(16).prefault(0),
    schema: z
      .string()
      .regex(/^[a-z_][a-z0-9_]{0,39}$/, 'expected 1 to 40 of a-z 0-9 _, the first no digit')
      .prefault('rollcall'),
    connections: z.number().int().min(4).max(1_000).prefault(20),
    wakes: wakesSchema,
  })
  .prefault({});

export const nodeSchema = z
  .strictObject({
    name: z
      .string()
      .refine((text) => text === '' || NODE_NAME.test(text), `expected ${NODE_NAME_RULE}`)
      .prefault(''),
    roles: z
      .array(z.enum(NODE_ROLES))
      .min(1)
      .transform((roles): readonly NodeRole[] => NODE_ROLES.filter((role) => roles.includes(role)))
      .prefault([...NODE_ROLES]),
  })
  .prefault({});
