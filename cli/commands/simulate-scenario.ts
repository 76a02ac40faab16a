/** `rollcall simulate --scenario`: a whole run, from a server of its own if none is named, to reports and an exit code. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { escapeControls, isTerminal, jsonText, standardError } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import { openConsoleClient } from '../../console/client.ts';
import { version } from '../../server/config/index.ts';
import type { OperatorAccess, RunResult, RunSnapshot, Scenario, ServerControl } from '../../simulator/index.ts';
import { consoleAddressOf, type FleetOptions, namesServer } from '../console-address.ts';
import {
  type LoadedScenario,
  loadIdentities,
  loadIdentity,
  loadScenario,
  type SavedIdentities,
  saveIdentities,
} from '../simulation-files.ts';
import { startTemporaryNodes } from '../simulation-nodes.ts';
import { createOperatorAccess, runName, simulationTokens } from '../simulation-operator.ts';
import { startTemporaryServer } from '../simulation-server.ts';
import { untilStopped } from '../stop-signals.ts';
import { EXIT, note, type OutputForm, printJson, printResult } from '../terminal.ts';
import { coordinateHosts, type JoinedHosts } from './simulate-hosts.ts';
import { type TargetOptions, targetBrokerOf } from './simulate-target.ts';

export interface ScenarioOptions extends FleetOptions, TargetOptions {
  readonly scenario: string;
  readonly scale?: number;
  readonly faster?: number;
  readonly seed?: number;
  readonly duration?: number;
  /** Share of devices that use MQTT 5, from 0 to 1. */
  readonly mqtt?: number;
  readonly identities?: string;
  readonly service?: string;
  readonly keep?: string;
  readonly loadTest?: readonly string[];
  readonly nodes?: number;
  readonly workers?: number;
  readonly sourceAddress?: readonly string[];
  readonly report?: string;
  readonly junit?: string;
  readonly result?: string;
  readonly prometheusPort?: number;
  readonly coordinate?: string;
  readonly hosts?: number;
  readonly gather?: number;
  readonly secret?: string;
}

/** A server of the run's own has no other devices. */
const TEMPORARY_RUN = 'sim';

interface ServerAccess {
  readonly operator: OperatorAccess | undefined;
  /** Before the names of all devices, and the value of their label. */
  readonly prefix: string;
  readonly server: ServerControl | undefined;
  readonly mqttUrl: string | undefined;
  close(): Promise<void>;
}

export async function simulateScenario(options: ScenarioOptions, form: OutputForm): Promise<void> {
  const { accelerated, scaled } = await import('../../simulator/index.ts');
  const loaded = loadScenario(options.scenario);
  const scenario = adjusted(accelerated(scaled(loaded.scenario, options.scale ?? 1), options.faster ?? 1), options);
  const saved = options.identities === undefined ? undefined : loadIdentities(options.identities);
  const { coordinate } = options;
  if (coordinate === undefined && options.hosts !== undefined) {
    throw new Problem('usage', { reason: 'expected --coordinate [HOST:]PORT with --hosts' });
  }
  if (coordinate !== undefined && (options.workers !== undefined || options.sourceAddress !== undefined)) {
    throw new Problem('usage', { reason: 'expected --workers and --source-address on the hosts that join' });
  }
  await untilStopped(async (stopped) => {
    const ending = new AbortController();
    void stopped.then(() => ending.abort());
    const { signal } = ending;
    const joinedHosts =
      coordinate === undefined ? undefined : await coordinateHosts({ ...options, coordinate }, signal);
    let verdict: RunResult['verdict'] | 'none' = 'none';
    try {
      const result = await play({ ...loaded, scenario }, { ...options, saved, joinedHosts, signal }, form);
      verdict = result.verdict;
      await report(result, options, form);
      if (result.verdict === 'failed') process.exitCode = EXIT.failed;
    } finally {
      await joinedHosts?.close(verdict);
    }
  });
}

interface PlayOptions extends ScenarioOptions {
  readonly saved: SavedIdentities | undefined;
  readonly joinedHosts: JoinedHosts | undefined;
  readonly signal: AbortSignal;
}

async function play(loaded: LoadedScenario, options: PlayOptions, form: OutputForm): Promise<RunResult> {
  const { RunRefused } = await import('../../simulator/index.ts');
  const { runScenario } = await import('../../simulator/index.ts');
  const { localThreads } = await import('../../simulator/index.ts');
  const { scenario, recordings } = loaded;
  const { saved, joinedHosts, signal } = options;
  const targetBroker = targetBrokerOf(options);
  const view = await openView(scenario, options, form);
  const access = await openServerAccess(options, scenario).catch((error) => {
    view.end();
    throw error;
  });
  try {
    return await runScenario({
      scenario,
      recordings,
      mqttUrl: options.target ?? access.mqttUrl,
      targetBroker,
      operator: access.operator,
      server: access.server,
      ...(saved !== undefined && { identities: saved.identities, rootPem: saved.rootPem }),
      ...(options.service !== undefined && { serviceIdentity: loadIdentity(options.service) }),
      prefix: access.prefix,
      placement:
        joinedHosts?.placement ??
        localThreads({ workers: options.workers, sourceAddresses: options.sourceAddress ?? [] }),
      versions: { rollcall: version },
      onSecond: view.second,
      signal,
      ...(options.keep !== undefined && {
        keepIdentities: (identities, rootPem) => saveIdentities(options.keep as string, identities, rootPem),
      }),
    });
  } catch (error) {
    if (error instanceof RunRefused) throw new Problem('usage', { reason: error.message });
    throw error;
  } finally {
    view.end();
    await access.close();
  }
}

function adjusted(scenario: Scenario, { seed, duration, mqtt }: ScenarioOptions): Scenario {
  if (duration !== undefined) {
    const last = Math.max(0, ...scenario.timeline.map((incident) => incident.at + (incident.for ?? 0)));
    if (last > duration) {
      throw new Problem('usage', { reason: `expected a --duration after the last incident, at ${last / 1_000} s` });
    }
  }
  const devices =
    mqtt === undefined
      ? scenario.devices
      : Object.fromEntries(Object.entries(scenario.devices).map(([name, group]) => [name, { ...group, mqtt }]));
  return {
    ...scenario,
    devices,
    ...(seed !== undefined && { seed }),
    ...(duration !== undefined && { duration }),
  };
}

/** A server that was named, a broker that was named, or a server of its own. */
async function openServerAccess(options: ScenarioOptions, scenario: Scenario): Promise<ServerAccess> {
  const prefix = runName();
  const { nodes = 1 } = options;
  if (nodes > 1 && (namesServer(options) || options.target !== undefined)) {
    throw new Problem('usage', { reason: 'expected --nodes without a server: the nodes are temporary' });
  }
  if (namesServer(options)) {
    const console = openConsoleClient(consoleAddressOf(options));
    const tokens = simulationTokens(console, { run: prefix, loadTest: options.loadTest });
    return {
      operator: createOperatorAccess(console, tokens),
      prefix,
      server: undefined,
      mqttUrl: undefined,
      close: async () => {
        await tokens.revokeAll();
        await console.close();
      },
    };
  }
  if (options.loadTest !== undefined) {
    throw new Problem('usage', { reason: 'expected --load-test with --data or --socket of a running server' });
  }
  if (options.target !== undefined) {
    return { operator: undefined, prefix, server: undefined, mqttUrl: options.target, close: async () => {} };
  }
  const { settings } = scenario.server;
  const fillsDisk = scenario.timeline.some((incident) => incident.disk !== undefined);
  if (nodes > 1 && fillsDisk) {
    throw new Problem('usage', { reason: 'expected a scenario without a full disk for --nodes' });
  }
  const server =
    nodes > 1
      ? await startTemporaryNodes({ nodes, settings })
      : await startTemporaryServer({ settings, disk: fillsDisk ? 'own' : 'shared' });
  const console = openConsoleClient({ socketPath: server.socket });
  return {
    operator: createOperatorAccess(console, simulationTokens(console, { run: TEMPORARY_RUN })),
    prefix: TEMPORARY_RUN,
    server,
    mqttUrl: server.mqttUrl,
    close: async () => {
      await console.close();
      await server.close();
    },
  };
}

interface View {
  readonly second: (snapshot: RunSnapshot) => void;
  end(): void;
}

async function openView(scenario: Scenario, options: ScenarioOptions, form: OutputForm): Promise<View> {
  const { liveScreen, secondLine } = await import('../../simulator/index.ts');
  const { prometheusText, servePrometheus } = await import('../../simulator/index.ts');
  let latest: RunSnapshot | undefined;
  const metrics =
    options.prometheusPort === undefined
      ? undefined
      : await servePrometheus(options.prometheusPort, () => prometheusText(latest));
  if (metrics !== undefined) note(`metrics at http://127.0.0.1:${metrics.port}/metrics`);
  const isLive = form === 'text' && isTerminal(2);
  let drawn = 0;
  return {
    second: (snapshot) => {
      latest = snapshot;
      if (form === 'json') printJson({ event: 'second', ...snapshot });
      else if (!isLive) note(secondLine(snapshot));
      else {
        const lines = liveScreen(scenario.name, scenario.duration / 1_000, snapshot);
        standardError.write(
          `${drawn === 0 ? '' : `\x1b[${drawn}A`}${lines.map((line) => `\x1b[2K${escapeControls(line)}\n`).join('')}`,
        );
        drawn = lines.length;
      }
    },
    end: () => metrics?.close(),
  };
}

async function report(result: RunResult, options: ScenarioOptions, form: OutputForm): Promise<void> {
  if (options.report !== undefined) {
    const { htmlReport } = await import('../../simulator/index.ts');
    writeFileSync(options.report, htmlReport(result));
  }
  if (options.junit !== undefined) {
    const { junitReport } = await import('../../simulator/index.ts');
    writeFileSync(options.junit, junitReport(result));
  }
  if (options.result !== undefined) writeFileSync(options.result, `${jsonText(result, 2)}\n`);
  if (form === 'json') return printJson({ event: 'result', ...result });
  const { verdictLines } = await import('../../simulator/index.ts');
  printResult(verdictLines(result));
  if (options.report !== undefined) note(`report: ${join(options.report)}`);
}
