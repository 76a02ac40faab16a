/**
 * The schema of sinks in the configuration: names, units, defaults, and the URLs of targets. Credentials are named by their
 * file or variable and are never part of the configuration. Reads neither files nor variables.
 */

import { NAME_RULE, parseDeviceId } from '@rollcall/protocol';
import { z } from 'zod';
import { isLoopback, TABLE_NAME } from '../../telemetry/index.ts';
import { DURATION_RULE, parseDuration, parseSize, SIZE_RULE } from './units.ts';

function written(parse: (text: string) => number | undefined, rule: string) {
  return z.string().transform((text, context) => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: `expected ${rule}` });
    return z.NEVER;
  });
}

const duration = written(parseDuration, DURATION_RULE);
const size = written(parseSize, SIZE_RULE);
const path = z.string().min(1).max(4096);
const variable = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'expected the name of an environment variable');
const word = z.string().min(1).max(64);

/**
 * A URL without credentials, which would appear in process lists, logs and copies of the file. Errors do not repeat the
 * URL, because it may contain them.
 */
function targetUrl(schemes: readonly string[], plainSchemes: readonly string[]) {
  const expected = schemes.map((scheme) => `${scheme}//`).join(' or ');
  return z.string().transform((text, context) => {
    const refuse = (message: string) => {
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    };
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url === undefined || !schemes.includes(url.protocol) || url.hostname === '') {
      return refuse(`expected a URL that begins with ${expected}`);
    }
    if (url.username !== '' || url.password !== '' || text.includes('@')) {
      return refuse('expected a URL without credentials; name their file or variable beside it, as in passwordFile');
    }
    if (url.search !== '' || url.hash !== '') return refuse('expected a URL without query and fragment');
    if (plainSchemes.includes(url.protocol) && !isLoopback(url.hostname)) {
      return refuse(`expected TLS; ${url.protocol}// may only go to this machine`);
    }
    return url;
  });
}

const names = z.array(word).max(10_000).prefault([]);

/** Options of every kind of sink. */
const common = {
  name: z.string().refine((text) => parseDeviceId(text) !== undefined, `expected a name of ${NAME_RULE}`),
  source: z.enum(['telemetry', 'events']).prefault('telemetry'),
  filter: z.strictObject({ devices: names, groups: names, streams: names }).prefault({}),
  batch: z
    .strictObject({
      messages: z.number().int().min(1).max(10_000).prefault(500),
      bytes: size.prefault('1MiB'),
      linger: duration.prefault('50ms'),
    })
    .prefault({}),
  retry: z.strictObject({ first: duration.prefault('500ms'), most: duration.prefault('1m') }).prefault({}),
  timeout: duration.prefault('10s'),
  deadLetters: size.prefault('16MiB'),
} as const;

/** PEM files. A client certificate and its key are for targets that require one. */
const tlsFiles = { caFile: path.optional(), certificateFile: path.optional(), keyFile: path.optional() } as const;

const nats = z.strictObject({
  ...common,
  kind: z.literal('nats'),
  url: targetUrl(['tls:', 'nats:'], ['nats:']),
  ...tlsFiles,
  stream: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, 'expected a stream of letters, digits, _ and -')
    .prefault('ROLLCALL'),
  subject: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}$/, 'expected a subject without wildcards')
    .prefault('rollcall'),
  user: word.optional(),
  passwordFile: path.optional(),
  passwordVariable: variable.optional(),
  tokenFile: path.optional(),
  tokenVariable: variable.optional(),
  credentialsFile: path.optional(),
  nkeyFile: path.optional(),
});

const postgres = z.strictObject({
  ...common,
  kind: z.literal('postgres'),
  url: targetUrl(['postgres:', 'postgresql:'], []).refine(
    (url) => /^\/[^/]{1,63}$/.test(url.pathname),
    'expected a URL that names a database: postgres://host:5432/name',
  ),
  /** Directory of the server's unix socket, instead of the URL's host. */
  socketDirectory: path.optional(),
  ...tlsFiles,
  table: z
    .string()
    .regex(TABLE_NAME, 'expected a table, or a schema and a table, of lower-case letters, digits and _')
    .prefault('rollcall_messages'),
  user: word.prefault('rollcall'),
  passwordFile: path.optional(),
  passwordVariable: variable.optional(),
});

const webhook = z
  .strictObject({
    ...common,
    kind: z.literal('webhook'),
    url: targetUrl(['https:', 'http:'], ['http:']),
    ...tlsFiles,
    secretFile: path.optional(),
    secretVariable: variable.optional(),
    bearerFile: path.optional(),
    bearerVariable: variable.optional(),
    every: duration.optional(),
  })
  .refine(({ source, every }) => every === undefined || source === 'events', {
    path: ['every'],
    message: 'expected source: events with an interval; messages of devices are not summarized',
  });

const address = z
  .string()
  .max(254)
  .regex(
    /^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$/,
    'expected an address, such as ops@example.com',
  );

const email = z
  .strictObject({
    ...common,
    kind: z.literal('email'),
    source: z.literal('events', 'expected events').prefault('events'),
    url: targetUrl(['smtps:', 'smtp:'], []).refine(
      ({ pathname }) => pathname === '' || pathname === '/',
      'expected a URL without a path',
    ),
    ...tlsFiles,
    user: z.string().min(1).max(254).optional(),
    passwordFile: path.optional(),
    passwordVariable: variable.optional(),
    from: address,
    to: z.array(address).min(1).max(20),
    every: duration.prefault('5m'),
  })
  .refine(({ filter }) => filter.streams.length > 0, {
    path: ['filter', 'streams'],
    message: 'expected the types of events to send, such as security.clone_suspected',
  });

const file = z.strictObject({
  ...common,
  kind: z.literal('file'),
  path,
  rotate: size.prefault('256MiB'),
  keep: z.number().int().min(0).max(10_000).prefault(16),
});

const sink = z.discriminatedUnion('kind', [nats, postgres, webhook, email, file]);

export const sinksSchema = z
  .array(sink)
  .max(64)
  .superRefine((sinks, context) => {
    const seen = new Set<string>();
    for (const [index, { name }] of sinks.entries()) {
      if (seen.has(name)) {
        context.addIssue({ code: 'custom', path: [index, 'name'], message: 'expected a name that no other sink has' });
      }
      seen.add(name);
    }
    for (const [index, { retry }] of sinks.entries()) {
      if (retry.first < 1 || retry.most < retry.first) {
        context.addIssue({ code: 'custom', path: [index, 'retry'], message: 'expected first of 1ms to most' });
      }
    }
  })
  .prefault([]);

export type SinkConfig = z.infer<typeof sink>;
