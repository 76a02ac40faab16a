/**
 * The messages between the coordinator of a run and a host that joins it, each with the one schema that reads it. The messages
 * between the run and its shards (shard-messages.ts) travel inside.
 */

import { parseDeviceId } from '@rollcall/protocol';
import { z } from 'zod';
import { isClientIdTemplate, isTopicTemplate } from '../devices/broker-names.ts';
import { COUNTERS, LATENCIES } from '../devices/counters.ts';
import type { FromShard, ToShard } from '../devices/shard-messages.ts';
import type { DeviceGroup } from '../scenario/schema.ts';

/** Version of the frames up to the welcome. It never changes, so that two programs can find out that their versions differ. */
export const HOST_PROTOCOL = 'rollcall-simulation-host/1';

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);
export const HOST_NAME_RULE = 'one to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit';

export function isHostName(text: string): boolean {
  return name.safeParse(text).success;
}

/** Read before anything else: the secret and the version. */
export const joinHeader = z.looseObject({
  protocol: z.literal(HOST_PROTOCOL),
  secret: z.string().max(256),
  version: z.string().max(64),
});

export const joinRequest = z.object({
  name,
  cores: z.int().min(1).max(65_536),
  /** Threads that it has for devices. */
  workers: z.int().min(1).max(256),
  openFiles: z.number().min(1),
  portsPerAddress: z.int().min(1).max(65_536),
  sourceAddresses: z.int().min(0).max(65_536),
  memory: z.number().min(0),
});
export type JoinRequest = z.output<typeof joinRequest>;

const JOIN_REFUSALS = ['join_secret_wrong', 'join_version_mismatch', 'join_late', 'join_twice'] as const;
export type JoinRefusal = (typeof JOIN_REFUSALS)[number];

const index = z.int().min(0);
const time = z.number();
const pem = z.string().max(65_536);
const identity = z.object({ keyPem: pem, certificatePem: pem, issuersPem: pem.optional() });
/** It becomes the name of a directory. */
const deviceId = z.string().refine((text) => parseDeviceId(text) !== undefined);

const counters = z.object({
  counts: z.partialRecord(z.enum(COUNTERS), z.int()),
  errors: z.record(z.string().regex(/^\w{0,60}$/), z.int()),
  reasons: z.record(z.string().regex(/^\w{1,60}$/), z.int()),
  latencies: z.partialRecord(z.enum(LATENCIES), z.base64().max(1_000_000)),
});

const fromShard = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('prepared') }),
  z.object({
    kind: z.literal('second'),
    counters,
    deviceCounts: z.object({
      connected: index,
      inFleet: index,
      refused: index,
      connectionRefused: index,
      waiting: index,
      unacknowledged: index,
    }),
    cpuMicros: z.number(),
  }),
  z.object({ kind: z.literal('action-done'), id: index, error: z.string().max(10_000).optional() }),
  z.object({ kind: z.literal('failed'), error: z.string().max(10_000) }),
  z.object({
    kind: z.literal('ended'),
    counters,
    acknowledged: z.record(z.string(), z.array(index)),
    identities: z.record(deviceId, identity),
  }),
]) as z.ZodType<FromShard>;

export const fromHost = z.discriminatedUnion('kind', [
  /** `at`: on the clock of the host. `memory`: bytes. */
  z.object({ kind: z.literal('pong'), id: index, at: time, memory: z.number().min(0) }),
  z.object({ kind: z.literal('shard'), shard: index, message: fromShard }),
]);
export type FromHost = z.output<typeof fromHost>;

const target = z.object({ host: z.string(), port: z.int(), servername: z.string().optional() });
const devices = z.array(index);
/** The coordinator has proven itself, is of the same version, and has read these from the scenario. */
const settings = z.looseObject({
  count: z.int(),
  kind: z.enum(['light', 'sdk']),
  publish: z.array(z.looseObject({})),
});
const conditions = z.looseObject({ latency: z.number(), jitter: z.number(), loss: z.number() });

const config = z.object({
  shard: index,
  seed: z.number(),
  groups: z.record(
    z.string(),
    z.object({
      settings: settings as unknown as z.ZodType<DeviceGroup>,
      token: z.string().optional(),
      recordings: z.record(z.string(), z.string()),
      faults: z.array(z.enum(['cut', 'power'])),
    }),
  ),
  devices: z.array(
    z.object({
      index,
      position: z.number(),
      id: deviceId,
      group: z.string(),
      mqtt: z.literal([4, 5]).optional(),
      arrivesAt: z.number(),
      identity: identity.optional(),
    }),
  ),
  enrollUrl: z.string().optional(),
  rootPem: z.string(),
  broker: z.object({
    rootPem: z.string(),
    clientChain: z.enum(['leaf', 'full']),
    names: z.object({ topic: z.string().refine(isTopicTemplate), clientId: z.string().refine(isClientIdTemplate) }),
  }),
  mqtt: target,
  sourceAddresses: z.array(z.string()),
  clockOffset: z.number(),
  identities: z.enum(['kept', 'dropped']),
});

const action = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('revoking'), devices, at: time }),
  z.object({ kind: z.enum(['cut', 'power']), devices, for: z.number() }),
  z.object({ kind: z.literal('renew'), devices }),
  z.object({ kind: z.literal('network'), group: z.string().optional(), conditions: conditions.optional() }),
  z.object({ kind: z.literal('server-returned'), at: time }),
  z.object({
    kind: z.literal('hostile'),
    action: z.enum(['clone', 'steal', 'outlive', 'malformed', 'guess', 'probe', 'slow-handshake']),
    devices,
    count: index,
    until: time,
  }),
]);

const toShard = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('prepare'), config }),
  z.object({ kind: z.literal('start'), at: time }),
  z.object({ kind: z.literal('action'), id: index, action }),
  z.object({ kind: z.literal('stop-publishing') }),
  z.object({ kind: z.literal('end') }),
]) as unknown as z.ZodType<ToShard>;

export const toHost = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('welcome') }),
  z.object({ kind: z.literal('refused'), code: z.enum(JOIN_REFUSALS), reason: z.string().max(500) }),
  z.object({ kind: z.literal('ping'), id: index }),
  z.object({ kind: z.literal('shard'), shard: index, message: toShard }),
  /** The run is over; `none` when it came to no verdict. */
  z.object({ kind: z.literal('over'), verdict: z.enum(['passed', 'failed', 'none']) }),
]);
export type ToHost = z.output<typeof toHost>;
