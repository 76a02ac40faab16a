/**
 * Ready scenarios that operators start from the console: one at a time, each against a temporary server, never with an argument of
 * a request. What a running one reports is in memory; results are in the data directory. All end when the server closes.
 */

import { randomBytes } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { z } from 'zod';
import type {
  ReadyScenario,
  SimulationControl,
  SimulationRun,
  SimulationSecond,
  SimulationState,
} from '../../console/index.ts';
import type { Actor, Registry } from '../../registry/index.ts';
import { type SimulationProcess, startSimulation } from './simulation-process.ts';
import { RUN_ID, SimulationReports } from './simulation-reports.ts';

/** What a host of two cores simulates beside a fleet. Larger ones are started by the command line, on another machine. */
const MAX_DEVICES = 500;
const MAX_DURATION_SECONDS = 60;
const MAX_SECONDS_KEPT = 600;

export interface SimulationsOptions {
  readonly directory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly registry: Pick<Registry, 'recordAction'>;
  readonly now: () => number;
  readonly log: Logger;
}

const listed = z.array(
  z.object({
    name: z.string().regex(/^[a-z0-9-]{1,64}$/),
    about: z.string(),
    devices: z.int(),
    durationSeconds: z.number(),
    needsOwnDisk: z.boolean(),
  }),
);

const second = z.object({
  event: z.literal('second'),
  at: z.number(),
  devices: z.number(),
  connected: z.number(),
  acknowledged: z.number(),
  errors: z.number(),
});

interface Current {
  readonly run: SimulationRun;
  readonly process: SimulationProcess;
  readonly seconds: SimulationSecond[];
  readonly finished: Promise<void>;
  isStopped: boolean;
}

export class Simulations implements SimulationControl {
  readonly #options: SimulationsOptions;
  readonly #reports: SimulationReports;
  #current: Current | undefined;
  #isStarting = false;
  #isClosed = false;
  #scenarios: Promise<readonly ReadyScenario[]> | undefined;

  constructor(options: SimulationsOptions) {
    this.#options = options;
    this.#reports = new SimulationReports(options.directory);
  }

  scenarios(): Promise<readonly ReadyScenario[]> {
    this.#scenarios ??= listScenarios(this.#options.environment).catch((error: unknown) => {
      this.#scenarios = undefined;
      throw error;
    });
    return this.#scenarios;
  }

  async runs(): Promise<readonly SimulationRun[]> {
    const ended = (await this.#reports.list()).map(({ run }) => run);
    return this.#current === undefined ? ended : [this.#current.run, ...ended];
  }

  async report(id: string) {
    const current = this.#current;
    if (current?.run.id === id) return { run: current.run, seconds: [...current.seconds], result: undefined };
    const found = RUN_ID.test(id) ? await this.#reports.find(id) : undefined;
    if (found === undefined) throw new Problem('simulation_unknown');
    return { ...found, seconds: [] };
  }

  async start(name: string, actor: Actor): Promise<SimulationRun> {
    if (this.#isClosed) throw new Problem('unavailable');
    if (this.#current !== undefined || this.#isStarting) throw new Problem('simulation_running');
    this.#isStarting = true;
    try {
      const scenario = (await this.scenarios()).find((ready) => ready.name === name);
      if (scenario === undefined) throw new Problem('scenario_unknown');
      if (scenario.obstacle !== undefined) throw new Problem('scenario_not_startable');
      const id = randomBytes(8).toString('hex');
      const { now, registry } = this.#options;
      const details = { scenario: name };
      const subject = `simulation/${id}`;
      await registry.recordAction({ actor, action: 'simulation.started', subject, outcome: 'done', details });
      const { durationSeconds } = scenario;
      const run = {
        id,
        scenario: name,
        durationSeconds,
        startedAt: now(),
        startedBy: actor,
        state: 'running',
      } as const;
      await this.#begin(run);
      return run;
    } finally {
      this.#isStarting = false;
    }
  }

  async stop(id: string, actor: Actor): Promise<SimulationRun> {
    const current = this.#current;
    if (current?.run.id !== id) throw new Problem('simulation_unknown');
    const subject = `simulation/${id}`;
    await this.#options.registry.recordAction({ actor, action: 'simulation.stopped', subject, outcome: 'done' });
    current.isStopped = true;
    current.process.stop();
    await current.finished;
    return (await this.report(id)).run;
  }

  /** Kills the one that runs. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const current = this.#current;
    if (current === undefined) return;
    current.isStopped = true;
    current.process.kill();
    await current.finished;
  }

  async #begin(run: SimulationRun): Promise<void> {
    const seconds: SimulationSecond[] = [];
    const args = ['--scenario', run.scenario, '--json', '--result', await this.#reports.resultFile(run.id)];
    const { environment } = this.#options;
    const onLine = (line: string) => {
      const read = second.safeParse(parse(line));
      if (!read.success || seconds.length === MAX_SECONDS_KEPT) return;
      const { at, devices, connected, acknowledged, errors } = read.data;
      seconds.push({ at, devices, connected, acknowledged, errors });
    };
    const process = startSimulation({ args, environment, onLine });
    const finished = process.ended
      .then((ended) => this.#finish(run, ended))
      .catch((error: unknown) => {
        this.#options.log.error({ err: error, simulation: run.id }, 'result of a simulation was not stored');
      });
    this.#current = { run, process, seconds, finished, isStopped: false };
  }

  async #finish(run: SimulationRun, { code, errors }: { readonly code: number | null; readonly errors: string }) {
    const { log, now } = this.#options;
    try {
      const result = await this.#reports.takeResult(run.id);
      const state = this.#stateOf(result);
      if (state === 'broken')
        log.warn({ simulation: run.id, scenario: run.scenario, code, errors }, 'simulation broken');
      await this.#reports.add({ run: { ...run, endedAt: now(), state }, result });
    } finally {
      this.#current = undefined;
    }
  }

  #stateOf(result: unknown): SimulationState {
    if (this.#current?.isStopped === true) return 'stopped';
    const verdict = (result as { readonly verdict?: unknown } | undefined)?.verdict;
    return verdict === 'passed' || verdict === 'failed' ? verdict : 'broken';
  }
}

/** By the program itself, because no module of the server reads scenarios. */
async function listScenarios(environment: SimulationsOptions['environment']): Promise<readonly ReadyScenario[]> {
  const lines: string[] = [];
  const { code, errors } = await startSimulation({
    args: ['scenarios', '--json'],
    environment,
    onLine: (line) => lines.push(line),
  }).ended;
  const read = listed.safeParse(parse(lines.join('')));
  if (!read.success) throw new Problem('internal', { reason: `simulate scenarios ended with ${code}: ${errors}` });
  return read.data.map(({ needsOwnDisk, ...scenario }) => ({
    ...scenario,
    obstacle: needsOwnDisk
      ? 'needs_root'
      : scenario.devices > MAX_DEVICES || scenario.durationSeconds > MAX_DURATION_SECONDS
        ? 'too_large'
        : undefined,
  }));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
