/** The end of a run: judges what was measured, and puts everything into the one result. It measures nothing. */

import { availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { judge, parseExpectation } from '../scenario/expectation.ts';
import type { Incidents } from './incidents.ts';
import type { RunRecord } from './record.ts';
import { RESULT_FORMAT, type RunResult } from './result.ts';
import type { RunOptions } from './run-options.ts';
import type { ShardPlacement } from './shard-placement.ts';

export function createResult(
  { scenario, versions }: RunOptions,
  run: {
    readonly record: RunRecord;
    readonly values: Record<string, number>;
    readonly placement: ShardPlacement;
    /** Of the run itself. */
    readonly problems: readonly string[];
    readonly startedAt: Date;
    readonly target: string;
    readonly incidents: Incidents;
  },
): RunResult {
  const { record, placement } = run;
  const hosts = placement.hosts();
  const values =
    hosts.length === 0
      ? run.values
      : { ...run.values, 'simulator.clockError': Math.max(...hosts.map(({ clockErrorMs }) => clockErrorMs)) };
  const assertions = judgeAll(scenario.expect, values);
  const problems = [...run.problems, ...run.incidents.problems];
  const lag = values['simulator.lagP99'] ?? 0;
  if (lag > scenario.limits.lag) {
    problems.push(
      `the simulator was the bottleneck: its own delay was ${lag.toFixed(0)} ms at p99, more than the ${scenario.limits.lag} ms that the scenario allows; its figures say nothing about the server`,
    );
  }
  return {
    format: RESULT_FORMAT,
    scenario: {
      name: scenario.name,
      about: scenario.about,
      seed: scenario.seed,
      durationSeconds: scenario.duration / 1_000,
    },
    target: run.target,
    startedAt: run.startedAt.toISOString(),
    tookSeconds: (Date.now() - run.startedAt.getTime()) / 1_000,
    machine: machineOfRun(),
    versions: { ...versions, node: process.versions.node, openssl: process.versions.openssl },
    workers: placement.shards,
    lagLimitMs: scenario.limits.lag,
    ...(hosts.length > 0 && { hosts: [...hosts] }),
    values,
    latencies: record.latencies(),
    errors: record.errors(),
    reasons: record.reasons(),
    timeline: [...record.timeline],
    marks: [...run.incidents.marks],
    assertions,
    problems,
    verdict: problems.length === 0 && assertions.every(({ holds }) => holds) ? 'passed' : 'failed',
  };
}

function judgeAll(texts: readonly string[], values: Readonly<Record<string, number>>): RunResult['assertions'] {
  return texts.map((text) => {
    const expectation = parseExpectation(text);
    if (typeof expectation === 'string') return { text, holds: false, reason: expectation };
    const { found, ...judgement } = judge(expectation, values);
    return { ...judgement, ...(found !== undefined && { found }) };
  });
}

function machineOfRun(): RunResult['machine'] {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
  };
}
