/**
 * The schema of the configuration: names, units and defaults of all options. No other module reads settings from files, flags
 * or the environment. `rollcall.example.yaml` lists every option; a test compares it with this schema.
 */

import { isIP } from 'node:net';
import {
  ADDRESS_NETWORK_RULE,
  canonicalHost,
  isTrustDomain,
  listenAddress,
  NAME_RULE,
  parseAddressNetwork,
  parseGroupName,
} from '@rollcall/protocol';
import { z } from 'zod';
import { oidcSchema } from './oidc-config.ts';
import { sinksSchema } from './sink-config.ts';
import { nodeSchema, storeSchema } from './store-config.ts';
import { DURATION_RULE, PERCENT_RULE, parseDuration, parsePercent, parseSize, SIZE_RULE } from './units.ts';
import { workersSchema } from './workers.ts';

const HOST_NAME = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i;

const port = z.number().int().min(0).max(65_535);
const host = z
  .string()
  .refine((text) => isIP(text) !== 0 || HOST_NAME.test(text), 'expected a host name or an IP address');
/** A host name or address of this machine, in the canonical form that URLs and certificates contain. */
const publicHost = z.string().transform((text, context) => {
  const found = canonicalHost(text);
  if (found !== undefined && (isIP(found) !== 0 || HOST_NAME.test(found))) return found;
  context.addIssue({ code: 'custom', message: 'expected a host name or an IP address that a URL can hold' });
  return z.NEVER;
});
/** An address that a server listens on. */
const listener = host.transform(listenAddress);
/** Another server, as MQTT 5 names it (4.11): a host name, an IPv4 address or an IPv6 address in brackets, and a port. Empty: none. */
const serverReference = z
  .string()
  .max(300)
  .regex(/^$|^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/, 'expected HOST:PORT');
const network = z
  .string()
  .refine((text) => parseAddressNetwork(text) !== undefined, `expected ${ADDRESS_NETWORK_RULE}, with a prefix above 0`);
/** The operator's own proxies. Empty: none. */
const networks = z.array(network).max(100).prefault([]);
const groupName = z
  .string()
  .refine((text) => parseGroupName(text) !== undefined, `expected a group name of ${NAME_RULE}`);
/** A limit on a rate or a number of things; 0 means no limit. */
const limit = z.number().min(0).max(10_000_000);
const count = z.number().int().min(1).max(10_000_000);

/** Written with a unit, read as milliseconds. */
const duration = z.string().transform((text, context) => {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  context.addIssue({ code: 'custom', message: `expected ${DURATION_RULE}` });
  return z.NEVER;
});

/** Of operators who signed in. */
const sessionTime = duration.refine((ms) => ms >= 60_000 && ms <= 90 * 86_400_000, 'expected 1m to 90d');

/** Written with a unit, read as bytes. */
const size = z.string().transform((text, context) => {
  const bytes = parseSize(text);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: 'custom', message: `expected ${SIZE_RULE}` });
  return z.NEVER;
});

/** Written with a percent sign, read as a number. */
const percent = z.string().transform((text, context) => {
  const found = parsePercent(text);
  if (found !== undefined) return found;
  context.addIssue({ code: 'custom', message: `expected ${PERCENT_RULE}` });
  return z.NEVER;
});

/** Bytes, or a percentage of the disk. */
const sizeOrPercent = z.string().transform((text, context) => {
  const part = parsePercent(text);
  const found = part === undefined ? parseSize(text) : { percent: part };
  if (found !== undefined) return found;
  context.addIssue({ code: 'custom', message: `expected ${SIZE_RULE}, or ${PERCENT_RULE}` });
  return z.NEVER;
});

/** A group of options; all have their defaults when it is omitted. */
function section<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape).prefault({} as never);
}

/** Where new CA keys are stored. `sealed` is the name that `encrypted` had before. */
const keyStore = z
  .enum(['file', 'encrypted', 'pkcs11', 'sealed'])
  .transform((name) => (name === 'sealed' ? 'encrypted' : name));

/** A path; empty means none. */
const path = z.string().max(4_096);
const filePair = section({ cert: path.prefault(''), key: path.prefault('') });

export const configSchema = z.strictObject({
  data: z.string().min(1).prefault('./data'),
  store: storeSchema,
  node: nodeSchema,
  trustDomain: z
    .string()
    .refine(isTrustDomain, 'expected a SPIFFE trust domain: lower case letters, digits, . _ -')
    .prefault('rollcall.internal'),
  publicHosts: z
    .array(publicHost)
    .min(1)
    .max(100)
    .transform((hosts) => [...new Set(hosts)])
    .prefault(['localhost', '127.0.0.1', '::1']),
  runtime: z.enum(['node', 'bun']).prefault('node'),
  log: section({
    level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).prefault('info'),
    format: z.enum(['auto', 'json', 'journal']).prefault('auto'),
  }),
  health: section({
    listen: z.boolean().prefault(false),
    host: listener.prefault('127.0.0.1'),
    port: port.prefault(8481),
  }),
  drain: section({ within: duration.prefault('10s'), sessionsPerSecond: limit.prefault(500) }),
  requests: section({ perSecondPerAddress: limit.prefault(50) }),
  enroll: section({
    host: listener.prefault('127.0.0.1'),
    port: port.prefault(8443),
    proxyProtocol: section({ from: networks }),
    clientCertHeader: section({ from: networks }),
    limits: section({
      enrollmentsPerSecond: limit.prefault(20),
      enrollmentsPerSecondPerAddress: limit.prefault(5),
      renewalsPerSecond: limit.prefault(20),
      renewalsPerSecondPerAddress: limit.prefault(5),
      connectionsPerSecond: limit.prefault(200),
      connectionsPerSecondPerAddress: limit.prefault(20),
      openConnections: limit.prefault(2_000),
      openConnectionsPerAddress: limit.prefault(100),
      halfOpenConnections: limit.prefault(500),
      halfOpenConnectionsPerAddress: limit.prefault(20),
      waiting: limit.prefault(200),
    }),
  }),
  mqtt: section({
    host: listener.prefault('127.0.0.1'),
    port: port.prefault(8883),
    workers: workersSchema.prefault('auto'),
    proxyProtocol: section({ from: networks }),
    webSocket: section({
      listen: z.boolean().prefault(false),
      host: listener.prefault('127.0.0.1'),
      port: port.prefault(8884),
      path: z
        .string()
        .max(200)
        .regex(/^\/[A-Za-z0-9._~/-]*$/, 'expected a path such as /mqtt')
        .prefault('/mqtt'),
      origins: z
        .array(
          z
            .string()
            .regex(/^https:\/\/[a-z0-9.-]+(:\d{1,5})?$/, 'expected an origin such as https://console.example.com'),
        )
        .max(100)
        .prefault([]),
    }),
    serverReference: serverReference.prefault(''),
    limits: section({
      packet: size.prefault('256KiB'),
      connectPacket: size.prefault('16KiB'),
      connectTimeout: duration.prefault('10s'),
      connectionsPerSecondPerAddress: limit.prefault(50),
      handshakes: limit.prefault(1_000),
      handshakesPerAddress: limit.prefault(100),
      keepalive: duration.prefault('20m'),
      subscriptions: count.prefault(50),
      filtersPerPacket: count.prefault(8),
      topicLevels: z.number().int().min(1).max(100).prefault(16),
      topicBytes: size.prefault('256B'),
      inflight: count.prefault(100),
      messagesPerSecond: limit.prefault(100),
      bytesPerSecond: size.prefault('1MiB'),
      throttleTimeout: duration.prefault('30s'),
      outgoing: size.prefault('1MiB'),
      stallTimeout: duration.prefault('10s'),
      takeoversPerMinute: limit.prefault(10),
      sessionsPerIdentity: limit.prefault(500),
      retained: count.prefault(100),
      replayPerSecond: limit.prefault(500),
      queuedMessages: count.prefault(1_000),
      queuedBytes: size.prefault('1MiB'),
      sessionExpiry: duration.prefault('7d'),
      refusalLogsPerMinute: limit.prefault(10),
      sweepInterval: duration.prefault('5s'),
    }),
  }),
  clones: section({ response: z.enum(['report', 'quarantine']).prefault('report') }),
  telemetry: section({
    retention: section({
      age: duration.prefault('0s'),
      bytes: sizeOrPercent.prefault('50%'),
      groups: z.record(groupName, duration).prefault({}),
    }),
    shares: section({ device: percent.prefault('20%'), group: percent.prefault('0%') }),
    streams: limit.prefault(256),
    diskFloor: size.prefault('256MiB'),
    queuedBytes: size.prefault('64MiB'),
    patience: duration.prefault('30s'),
  }),
  events: section({ retention: section({ age: duration.prefault('90d'), bytes: size.prefault('1GiB') }) }),
  sinks: sinksSchema,
  sessions: section({ keptBytes: size.prefault('64MiB') }),
  console: section({
    host: listener.prefault('127.0.0.1'),
    port: port.prefault(8444),
    sessions: section({ idle: sessionTime.prefault('8h'), lifetime: sessionTime.prefault('7d') }),
    oidc: oidcSchema(sessionTime).prefault({}),
    clientCertificates: section({
      caFile: path.prefault(''),
      crlFile: path.prefault(''),
      name: z.enum(['cn', 'email', 'uri']).prefault('cn'),
    }),
  }),
  certificates: section({
    device: duration.prefault('90d'),
    server: duration.prefault('30d'),
    issuing: duration.prefault('3y'),
    root: duration.prefault('20y'),
    backdate: duration.prefault('10m'),
    overlap: duration.prefault('7d'),
    recovery: section({
      graceDays: z.number().min(0).max(365).prefault(30),
      recoveries: z.number().int().min(0).max(100).prefault(3),
    }),
    renewalsPerSecond: z.number().min(0.01).max(10_000).prefault(10),
    keys: section({
      home: keyStore.prefault('file'),
      passphraseFile: path.prefault(''),
      share: z.boolean().prefault(true),
      pkcs11: section({ module: path.prefault(''), token: z.string().prefault(''), pinFile: path.prefault('') }),
    }),
    files: section({ enroll: filePair, broker: filePair, console: filePair }),
  }),
  certificateStatus: section({
    listen: z.boolean().prefault(false),
    host: listener.prefault('127.0.0.1'),
    port: port.prefault(8480),
    url: z.union([z.literal(''), z.url({ protocol: /^http$/ })]).prefault(''),
    requestsPerSecond: limit.prefault(500),
    requestsPerSecondPerAddress: limit.prefault(50),
  }),
});

/** As it is written. */
export type WrittenConfig = z.infer<typeof configSchema>;

/** With a number for each option that is one of this machine. */
export type Config = Omit<WrittenConfig, 'mqtt'> & {
  readonly mqtt: Omit<WrittenConfig['mqtt'], 'workers'> & { readonly workers: number };
};
