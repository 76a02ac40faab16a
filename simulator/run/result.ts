/** The result of a run: one JSON document, from which every report is made. */

import { z } from 'zod';
import { currentName } from '../scenario/expectation.ts';

export const RESULT_FORMAT = 'rollcall-simulation/1';

const latency = z.object({
  count: z.int(),
  p50: z.number(),
  p90: z.number(),
  p99: z.number(),
  p999: z.number(),
  max: z.number(),
});

/** A host that joined the run, and what its clock means for latencies between devices there and the service here. */
const hostOfRun = z.object({
  name: z.string(),
  address: z.string(),
  cores: z.int(),
  workers: z.int(),
  devices: z.int(),
  sourceAddresses: z.int(),
  /** By how much its clock was ahead of the coordinator's: latencies are corrected by it. */
  clockOffsetMs: z.number(),
  /** How wrong the correction can be at most, also for what the clocks drifted since. */
  clockErrorMs: z.number(),
});

const point = z.object({
  /** Seconds since the start. */
  at: z.number(),
  connected: z.number(),
  sent: z.number(),
  acknowledged: z.number(),
  received: z.number(),
  connects: z.number(),
  disconnects: z.number(),
  errors: z.number(),
  pubackP50: z.number().optional(),
  pubackP99: z.number().optional(),
  serviceP99: z.number().optional(),
  connectP99: z.number().optional(),
  lagP99: z.number().optional(),
});

export const resultSchema = z.object({
  format: z.literal(RESULT_FORMAT),
  scenario: z.object({ name: z.string(), about: z.string(), seed: z.number(), durationSeconds: z.number() }),
  target: z.string(),
  startedAt: z.string(),
  /** All that happened, also after the duration. */
  tookSeconds: z.number(),
  machine: z.object({ cores: z.int(), cpu: z.string(), memoryGiB: z.number(), system: z.string() }),
  versions: z.record(z.string(), z.string()),
  workers: z.int(),
  /** The simulator's own delay that the scenario allows, milliseconds at p99. */
  lagLimitMs: z.number().optional(),
  /** Where the devices lived, when hosts joined. */
  hosts: z.array(hostOfRun).optional(),
  /** By metric: counts, and milliseconds for latencies. */
  values: z
    .record(z.string(), z.number())
    .transform((values) =>
      Object.fromEntries(Object.entries(values).map(([name, value]) => [currentName(name), value])),
    ),
  latencies: z.record(z.string(), latency),
  errors: z.record(z.string(), z.number()),
  /** Reason codes of the broker other than success; results of earlier versions have none. */
  reasons: z.record(z.string(), z.number()).default({}),
  timeline: z.array(point),
  marks: z.array(z.object({ at: z.number(), for: z.number().optional(), text: z.string() })),
  assertions: z.array(
    z.object({ text: z.string(), holds: z.boolean(), found: z.number().optional(), reason: z.string().optional() }),
  ),
  /** What went wrong with the run itself: then its figures say nothing about the server. */
  problems: z.array(z.string()),
  verdict: z.enum(['passed', 'failed']),
});

export type RunResult = z.output<typeof resultSchema>;
export type TimelinePoint = RunResult['timeline'][number];
export type HostOfRun = z.output<typeof hostOfRun>;
export type Mark = RunResult['marks'][number];
