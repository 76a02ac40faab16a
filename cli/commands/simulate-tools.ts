/** What goes with simulations: comparing two, enrolling a fleet once for many, checking a scenario, listing the ready ones. */

import { Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import type { RunSnapshot, Scenario } from '../../simulator/index.ts';
import { integerBetween, repeated, run, withJsonOption, withServerOptions } from '../command-line.ts';
import type { FleetOptions } from '../console-address.ts';
import { builtInScenarios, loadResult, loadScenario } from '../simulation-files.ts';
import { untilStopped } from '../stop-signals.ts';
import { EXIT, note, printJson, printResult, table } from '../terminal.ts';

const compare = run<{ readonly gate?: readonly string[] }>(async ({ args, options, form }) => {
  const { differences, parseGate, evaluateGate } = await import('../../simulator/index.ts');
  const gates = (options.gate ?? []).map((text) => {
    const gate = parseGate(text);
    if (typeof gate === 'string') throw new Problem('usage', { reason: gate });
    return gate;
  });
  const [a, b] = [loadResult(args[0] as string), loadResult(args[1] as string)];
  if (a.scenario.name !== b.scenario.name) {
    note(`the runs are of different scenarios: ${a.scenario.name} and ${b.scenario.name}`);
  }
  const outcomes = gates.map((gate) => evaluateGate(gate, a, b));
  const found = differences(a, b);
  if (form === 'json') printJson({ differences: found, gates: outcomes });
  else {
    const number = (value: number | undefined) =>
      value === undefined ? '-' : Number.isInteger(value) ? String(value) : value.toFixed(2);
    printResult(
      table(
        ['metric', 'A', 'B', 'B / A'],
        found.map(({ metric, a: x, b: y, ratio }) => [metric, number(x), number(y), number(ratio)]),
      ),
    );
    for (const { text, holds, reason } of outcomes) printResult(`${holds ? 'ok  ' : 'FAIL'}  ${text}: ${reason}`);
  }
  if (outcomes.some(({ holds }) => !holds)) process.exitCode = EXIT.failed;
});

const check = run<object>(async ({ args, form }) => {
  const { scenario } = loadScenario(args[0] as string);
  if (form === 'json') printJson(scenario);
  else printResult(`${args[0]}: ${describe(scenario)}`);
});

const list = run<object>(async ({ form }) => {
  const ready = builtInScenarios().map((name) => loadScenario(name).scenario);
  if (form === 'json')
    printJson(
      ready.map((of) => ({
        name: of.name,
        about: of.about,
        devices: devicesIn(of),
        durationSeconds: of.duration / 1_000,
        needsOwnDisk: of.timeline.some(({ disk }) => disk !== undefined),
      })),
    );
  else
    printResult(
      table(
        ['scenario', 'devices', 'seconds', 'about'],
        ready.map((of) => [of.name, String(devicesIn(of)), String(of.duration / 1_000), of.about]),
      ),
    );
});

function describe(scenario: Scenario): string {
  return `${devicesIn(scenario)} devices in ${Object.keys(scenario.devices).length} groups, ${scenario.duration / 1_000} s, ${scenario.timeline.length} incidents, ${scenario.expect.length} assertions`;
}

function devicesIn(scenario: Scenario): number {
  return Object.values(scenario.devices).reduce((sum, group) => sum + group.count, 0);
}

/** How long devices are enrolled; Ctrl-C keeps those that are. */
const PATIENCE = '24h';
const CAUSES_LISTED = 12;

interface DevicesOptions {
  readonly keep: string;
  readonly count: number;
  readonly loadTest?: readonly string[];
}

const devices = run<DevicesOptions & FleetOptions>(async ({ options, form }) => {
  const { causeSentences, runScenario, throttlingNote } = await import('../../simulator/index.ts');
  const { readScenario } = await import('../../simulator/index.ts');
  const { openConsoleClient } = await import('../../console/client.ts');
  const { consoleAddressOf } = await import('../console-address.ts');
  const { createOperatorAccess, runName, simulationTokens } = await import('../simulation-operator.ts');
  const { saveIdentities } = await import('../simulation-files.ts');
  const console = openConsoleClient(consoleAddressOf(options));
  const prefix = runName();
  const tokens = simulationTokens(console, { run: prefix, loadTest: options.loadTest });
  try {
    const read = readScenario(
      `name: devices\nduration: ${PATIENCE}\nsettle: 0s\ndevices: { kept: { count: ${options.count}, arrive: { curve: constant, over: 0s } } }\nexpect: [devices.enrolled == 100%]\nlimits: { lag: 1h }`,
      { fileExists: () => false },
    );
    if ('flaws' in read) throw new Problem('internal', { reason: read.flaws[0]?.message ?? '' });
    let kept = 0;
    const result = await untilStopped(async (stopped) => {
      const ending = new AbortController();
      void stopped.then(() => ending.abort());
      return runScenario({
        scenario: read.scenario,
        recordings: new Map(),
        operator: createOperatorAccess(console, tokens),
        prefix,
        versions: {},
        signal: ending.signal,
        onSecond: (snapshot) => {
          const { inFleet, refused, connectionRefused, devices: wanted } = snapshot;
          if (form === 'text') note(enrollmentLine(snapshot));
          if (inFleet + refused + connectionRefused >= wanted) ending.abort();
        },
        keepIdentities: (identities, rootPem) => {
          kept = identities.size;
          saveIdentities(options.keep, identities, rootPem);
        },
      });
    });
    if (form === 'json') printJson({ kept, directory: options.keep });
    else {
      printResult(`${kept} of ${options.count} devices enrolled; each has a directory in ${options.keep}`);
      for (const line of causeSentences(result.errors, CAUSES_LISTED)) printResult(`  ${line}`);
      const slowed = throttlingNote(result.values['devices.throttled'] ?? 0);
      if (slowed !== undefined) printResult(slowed);
    }
    if (result.verdict === 'failed') process.exitCode = EXIT.failed;
  } finally {
    await tokens.revokeAll();
    await console.close();
  }
});

function enrollmentLine({ at, totals, devices }: RunSnapshot): string {
  const slowed = totals.throttled === 0 ? '' : `; the server limited the rate ${totals.throttled} times`;
  return `${at.toFixed(0)} s: ${totals.enrolled} of ${devices} devices enrolled${slowed}`;
}

/** Of commands that create bootstrap tokens for a run. */
export const LOAD_TEST_HELP =
  'exempt this address or network of the devices from the limits per address during the run; repeatable';

export function simulateTools(): readonly Command[] {
  return [
    withJsonOption(new Command('compare').description('two results side by side; gates decide the exit code'))
      .argument('<a>', 'file that --result wrote')
      .argument('<b>', 'the later one')
      .option(
        '--gate <gate>',
        'how much of A the value of B may be, such as "puback.p99 <= 120%"; repeatable',
        repeated,
      )
      .action(compare),
    withServerOptions(new Command('devices').description('enroll devices and keep their identities for many runs'))
      .requiredOption('--keep <dir>', 'where each device gets a directory')
      .requiredOption('--count <n>', 'how many', integerBetween(1, 100_000))
      .option('--load-test <address>', LOAD_TEST_HELP, repeated)
      .action(devices),
    withJsonOption(new Command('check').description('say what is wrong with a scenario, with lines'))
      .argument('<scenario>', 'file, or name of a ready one')
      .action(check),
    withJsonOption(new Command('scenarios').description('list the ready scenarios')).action(list),
  ];
}
