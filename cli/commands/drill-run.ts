/**
 * `rollcall drill ca-compromise`: a server of its own with a copy of the fleet's authority, the drill, and what it means for
 * the fleet. Loaded when it is called.
 */

import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { jsonText } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import { openConsoleClient } from '../../console/client.ts';
import type { Config } from '../../server/config/index.ts';
import { createLogger, loadConfig } from '../../server/config/load.ts';
import type { DrillReport, Projection, Theft, TrustChange } from '../../simulator/index.ts';
import { run } from '../command-line.ts';
import { copyFleet, type FleetCopy, readIssuingCa } from '../drill-copy.ts';
import { createDrillOperator } from '../drill-operator.ts';
import { startTemporaryServer } from '../simulation-server.ts';
import { untilStopped } from '../stop-signals.ts';
import { EXIT, note, type OutputForm, printJson, printResult, table } from '../terminal.ts';

interface DrillCommandOptions {
  readonly root?: boolean;
  readonly devices: number;
  readonly data?: string;
  readonly config?: string;
  readonly within: number;
  readonly haste: number;
  readonly report?: string;
}

interface DrillResult extends DrillReport {
  /** Whose CAs were replaced. */
  readonly authority: { readonly are: 'copied' | 'fresh'; readonly because?: string };
  /** Absent without `--data`. */
  readonly fleet?: Projection;
}

export const caCompromise = run<DrillCommandOptions>(async ({ options, form }) => {
  if (options.report !== undefined) expectWritable(options.report);
  const config = loadConfig({ file: options.config, environment: process.env, flags: [] });
  const draft = mkdtempSync(join(tmpdir(), 'rollcall-drill-'));
  try {
    const copy = options.data === undefined ? undefined : await copyOf(resolve(options.data), draft, config);
    const result = await untilStopped((stopped) => {
      const ending = new AbortController();
      void stopped.then(() =>
        ending.abort(new Problem('unavailable', { reason: 'the drill was stopped before its end' })),
      );
      return drill(options, { config, copy, form, signal: ending.signal });
    });
    if (options.report !== undefined) writeFileSync(options.report, `${jsonText(result, 2)}\n`);
    if (form === 'json') printJson({ event: 'result', ...result });
    else printResult(describe(result));
    if (result.verdict === 'failed') process.exitCode = EXIT.failed;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
});

/** A drill takes minutes: its result must have a place before it begins. */
function expectWritable(file: string): void {
  try {
    accessSync(dirname(resolve(file)), constants.W_OK);
  } catch (error) {
    throw new Problem('usage', { reason: `cannot write ${file}: ${(error as NodeJS.ErrnoException).code}` });
  }
}

function copyOf(data: string, draft: string, config: Config): Promise<FleetCopy> {
  return copyFleet({ data, draft, config, now: Date.now, log: createLogger('warn') });
}

async function drill(
  { root, devices, within, haste }: DrillCommandOptions,
  {
    config,
    copy,
    form,
    signal,
  }: {
    readonly config: Config;
    readonly copy: FleetCopy | undefined;
    readonly form: OutputForm;
    readonly signal: AbortSignal;
  },
): Promise<DrillResult> {
  const { drillCaCompromise } = await import('../../simulator/index.ts');
  const { projectRotation } = await import('../../simulator/index.ts');
  const authority = copy?.keys ?? { are: 'fresh' as const };
  const replaced = root === true ? 'root' : 'issuing';
  const server = await startTemporaryServer({
    settings: settingsOf(config, copy),
    disk: 'shared',
    prepareData: (data) => copy?.installInto(data),
  });
  const console = openConsoleClient({ socketPath: server.socket });
  try {
    if (form === 'text') note(copy === undefined ? 'a fleet made for the drill' : aboutCopy(copy));
    const report = await drillCaCompromise({
      operator: await createDrillOperator(console, async (id) =>
        readIssuingCa(server.data, id, passphraseFileOf(config, copy)),
      ),
      replaced,
      mqttUrl: server.mqttUrl,
      devices,
      withinMs: within,
      haste,
      signal,
      onStage: ({ name, ms, said }) => {
        if (form === 'json') printJson({ event: 'stage', name, ms, said });
        else note(`${name.padEnd(24)} ${secondsOf(ms).padStart(8)}  ${said}`);
      },
      onProgress: (line) => {
        if (form === 'json') printJson({ event: 'progress', line });
        else note(`  ${line}`);
      },
      now: Date.now,
    });
    if (copy === undefined) return { ...report, authority };
    const clocks = report.mishaps.filter(({ name }) => name.startsWith('clock'));
    const fleet = projectRotation(copy.counts, {
      withinMs: within,
      measuredPerSecond: report.enrolledPerSecond,
      clocks: clocks.every(({ found }) => found === 'kept') ? 'kept' : 'lost',
      replaced,
    });
    return { ...report, authority, fleet };
  } finally {
    await console.close();
    await server.close();
  }
}

/** Empty where the keys of the drilled server lie in plain files. */
function passphraseFileOf({ certificates: { keys } }: Config, copy: FleetCopy | undefined): string {
  return copy?.keys.are === 'copied' && keys.home === 'encrypted' ? resolve(keys.passphraseFile) : '';
}

/** The fleet's own policy for certificates; nothing that leads out of the drill, such as sinks. */
function settingsOf({ trustDomain, certificates }: Config, copy: FleetCopy | undefined) {
  const { device, server, issuing, root, backdate, overlap, renewalsPerSecond, keys } = certificates;
  const isEncrypted = copy?.keys.are === 'copied' && keys.home === 'encrypted';
  return {
    trustDomain: copy?.trustDomain ?? trustDomain,
    certificates: {
      device: inUnits(device),
      server: inUnits(server),
      issuing: inUnits(issuing),
      root: inUnits(root),
      backdate: inUnits(backdate),
      overlap: inUnits(overlap),
      renewalsPerSecond,
      ...(isEncrypted && { keys: { home: 'encrypted', passphraseFile: resolve(keys.passphraseFile) } }),
    },
  };
}

/** As settings are written: nine digits and a unit. */
function inUnits(ms: number): string {
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`;
}

function aboutCopy({ counts, keys }: FleetCopy): string {
  const whose = keys.are === 'copied' ? 'a copy of its CAs' : `new CAs, because ${keys.because}`;
  return `a fleet of ${counts.dependents - counts.services} devices and ${counts.services} services; the drill uses ${whose}`;
}

function describe({
  verdict,
  failures,
  stages,
  mishaps,
  messages,
  sessionsDropped,
  fleet,
  ...rest
}: DrillResult): string {
  return [
    table(
      ['STAGE', 'TOOK', ''],
      stages.map(({ name, ms, said }) => [name, secondsOf(ms), said]),
    ),
    '',
    table(
      ['WHO', 'WHAT HAPPENED', 'OUTCOME', ''],
      mishaps.map(({ name, about, found, said }) => [name, about, found, said]),
    ),
    '',
    table(
      ['FOR', 'WHAT CAN BE DONE'],
      mishaps.filter(({ remedy }) => remedy !== undefined).map(({ name, remedy }) => [name, remedy as string]),
    ),
    '',
    `${rest.renewed} renewed, ${rest.renewedPerSecond.toFixed(1)} a second; ${rest.enrolledPerSecond.toFixed(1)} enrollments a second`,
    `${sessionsDropped} sessions dropped; ${messages.acknowledged} of ${messages.sent} messages acknowledged, ${messages.lost} lost`,
    describeTheft(rest.theft),
    ...(rest.trust === undefined ? [] : [describeTrust(rest.trust)]),
    ...(fleet === undefined ? [] : ['', describeFleet(fleet, rest.trust)]),
    '',
    ...failures.map((failure) => `FAIL  ${failure}`),
    verdict,
  ].join('\n');
}

function describeTheft({ aware, unaware }: Theft): string {
  return [
    `a thief of the old issuing key captured ${aware.captured} of ${aware.tempted} devices that saw the rotation`,
    `of ${unaware.tempted} that did not see it, ${unaware.believed} spoke to his server and ${unaware.captured} trust a root of his`,
  ].join('; ');
}

function describeTrust({ learnedMs, vouchedUntil }: TrustChange): string {
  return `the new root was known everywhere after ${secondsOf(learnedMs)}; the old one vouches for it until ${vouchedUntil}`;
}

function describeFleet(
  { devices, renewMs, renewalsPerSecond, connected, lost }: Projection,
  trust: TrustChange | undefined,
): string {
  const who =
    connected === undefined
      ? `${lost.offlineNow} are late to renew, and likely to be away`
      : `${lost.offlineNow} are not connected now`;
  return [
    `the fleet: ${devices} devices renew in ${lengthOf(renewMs)}, ${renewalsPerSecond.toFixed(1)} a second`,
    `lost, if they stay away for all of it: ${who}`,
    `lost, unless they get new certificates by hand: ${lost.services} services`,
    `lost for an old trust bundle: ${lost.oldBundle}, ${
      trust === undefined ? 'the root stays' : `before ${trust.vouchedUntil}`
    }; for a wrong clock: ${lost.clockWrong}`,
    ...(trust === undefined ? [] : [`to be created again: ${lost.tokens} bootstrap tokens, which name the old root`]),
  ].join('\n');
}

function secondsOf(ms: number): string {
  return `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

function lengthOf(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 120) return `${minutes.toFixed(0)} minutes`;
  return minutes < 2_880 ? `${(minutes / 60).toFixed(1)} hours` : `${(minutes / 1_440).toFixed(1)} days`;
}
