/** Simulations of ready scenarios: requests and responses. */

import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { checkedText, time } from './schemas.ts';

const RUN_ID = '^[0-9a-f]{16}$';
const runId = checkedText(
  (text) => (new RegExp(RUN_ID).test(text) ? text : undefined),
  'the id of a simulation, 16 lower-case hexadecimal digits',
  RUN_ID,
);

const scenarioView = z.object({
  name: z.string(),
  about: z.string(),
  devices: z.int(),
  durationSeconds: z.number(),
  obstacle: z
    .enum(['too_large', 'needs_root'])
    .optional()
    .describe('why the server does not start it; left out: it does'),
});

const runView = z.object({
  id: z.string(),
  scenario: z.string(),
  durationSeconds: z.number().describe('of the scenario; starting and ending take some seconds more'),
  startedAt: time,
  startedBy: z.string(),
  endedAt: time.optional(),
  state: z.enum(['running', 'passed', 'failed', 'stopped', 'broken']),
});

const secondView = z.object({
  at: z.number().describe('seconds since the start'),
  devices: z.number(),
  connected: z.number(),
  acknowledged: z.number().describe('messages in this second'),
  errors: z.number(),
});

const latency = z.object({ count: z.number(), p50: z.number(), p90: z.number(), p99: z.number(), max: z.number() });

/** What the console shows of a result; the file that `rollcall simulate --result` writes has more. */
export const simulationResult = z.object({
  scenario: z.object({ about: z.string(), seed: z.number(), durationSeconds: z.number() }),
  tookSeconds: z.number(),
  machine: z.object({ cores: z.number(), cpu: z.string(), memoryGiB: z.number(), system: z.string() }),
  values: z.record(z.string(), z.number()).describe('by metric: counts, and milliseconds'),
  latencies: z.record(z.string(), latency).describe('milliseconds'),
  errors: z.record(z.string(), z.number()).describe('by cause'),
  timeline: z.array(
    z.object({
      at: z.number(),
      connected: z.number(),
      acknowledged: z.number(),
      errors: z.number(),
      pubackP99: z.number().optional(),
    }),
  ),
  marks: z.array(z.object({ at: z.number(), text: z.string() })).describe('incidents'),
  assertions: z.array(
    z.object({ text: z.string(), holds: z.boolean(), found: z.number().optional(), reason: z.string().optional() }),
  ),
  problems: z.array(z.string()).describe('what went wrong with the run itself'),
  verdict: z.enum(['passed', 'failed']),
});

const runParams = z.strictObject({ id: runId });

export const simulationEndpoints = {
  listScenarios: {
    method: 'GET',
    path: '/v1/simulations/scenarios',
    access: 'viewer',
    summary: 'list the ready scenarios, and which of them this server starts',
    answer: z.array(scenarioView),
  },
  listSimulations: {
    method: 'GET',
    path: '/v1/simulations',
    access: 'viewer',
    summary: 'list the simulation that runs and the last ones, newest first',
    answer: z.array(runView),
  },
  showSimulation: {
    method: 'GET',
    path: '/v1/simulations/:id',
    access: 'viewer',
    summary: 'show a simulation: its seconds while it runs, and its result',
    params: runParams,
    answer: z.object({ run: runView, seconds: z.array(secondView), result: simulationResult.optional() }),
  },
  startSimulation: {
    method: 'POST',
    path: '/v1/simulations',
    access: 'admin',
    summary: 'start a ready scenario against a temporary server on this machine; one at a time',
    body: z.strictObject({ scenario: z.string().min(1).max(64) }),
    answer: runView,
  },
  stopSimulation: {
    method: 'POST',
    path: '/v1/simulations/:id/stop',
    access: 'admin',
    summary: 'end the simulation that runs',
    params: runParams,
    answer: runView,
  },
} as const satisfies Record<string, Endpoint>;
