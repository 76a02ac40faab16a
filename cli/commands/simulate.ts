import { Command } from 'commander';
import { openConsoleClient } from '../../console/client.ts';
import { Problem } from '../../contract/problem.ts';
import type { FleetReport, FleetRun } from '../../simulator/fleet.ts';
import type { FleetSnapshot } from '../../simulator/report.ts';
import { type FleetOptions, findsServer, integerBetween, rateBetween, run, socketPathOf } from '../command-line.ts';
import { createLogger } from '../logger.ts';
import { readSecretArgument } from '../secret-argument.ts';
import { untilStopped } from '../stop-signals.ts';
import { EXIT, note, printJson, printResult } from '../terminal.ts';

interface SimulateOptions {
  readonly devices: number;
  readonly token?: string;
  readonly rate: number;
  readonly seconds?: number;
}

const PROGRESS_EVERY_MS = 1_000;
/** A token that this command mints for itself is of no use to anyone after it. */
const OWN_TOKEN_TTL_SECONDS = 3_600;

const simulate = run<SimulateOptions & FleetOptions>(async ({ options, form }) => {
  const { runFleet } = await import('../../simulator/fleet.ts');
  const token = options.token === undefined ? await mintToken(options) : readSecretArgument(options.token, '--token');
  const report = await untilStopped(async (stopped) => {
    const fleet = runFleet({
      devices: options.devices,
      token,
      rate: options.rate,
      ...(options.seconds !== undefined && { seconds: options.seconds }),
      log: createLogger('warn'),
      now: Date.now,
    });
    const progress = setInterval(() => tell(fleet, form), PROGRESS_EVERY_MS);
    void stopped.then(() => fleet.stop());
    return fleet.done.finally(() => clearInterval(progress));
  });
  if (form === 'json') printJson({ event: 'report', ...report });
  else printResult(describeReport(report));
  if (!isSuccess(report)) process.exitCode = EXIT.failed;
});

async function mintToken(options: SimulateOptions & FleetOptions): Promise<string> {
  const server = openConsoleClient({ socketPath: socketPathOf(options) });
  try {
    const { text } = await server.mintToken({ uses: options.devices, ttlSeconds: OWN_TOKEN_TTL_SECONDS });
    return text;
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'server_unreachable') throw error;
    throw new Problem('server_unreachable', {
      reason: error.message,
      hint: 'say where the server runs with --data or --socket, or bring a bootstrap token with --token',
    });
  } finally {
    await server.close();
  }
}

function tell(fleet: FleetRun, form: 'text' | 'json'): void {
  const snapshot = fleet.snapshot();
  if (form === 'json') printJson({ event: 'progress', ...snapshot });
  else note(describeSnapshot(snapshot));
}

/** Every device was let in, and no message was left without an acknowledgement. */
function isSuccess(report: FleetReport): boolean {
  return report.ended !== 'nobody left' && report.byState.refused === 0 && report.failed === 0;
}

function describeSnapshot({ elapsed, byState, devices, sent, acknowledged, latency }: FleetSnapshot): string {
  const states = Object.entries(byState).flatMap(([state, n]) => (n === 0 ? [] : [`${n} ${state}`]));
  const times =
    latency === undefined ? '' : `; PUBACK p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(1)} ms`;
  return `${(elapsed / 1000).toFixed(0)} s: ${devices} devices (${states.join(', ')}); ${acknowledged} of ${sent} messages acknowledged${times}`;
}

function describeReport(report: FleetReport): string {
  const errors = Object.entries(report.errors).map(([code, n]) => `${code} ${n}`);
  return [
    describeSnapshot(report),
    `ended: ${report.ended}; ${report.enrolled} enrolled; ${report.failed} messages failed`,
    `errors: ${errors.join(', ') || 'none'}`,
  ].join('\n');
}

export function simulateCommand(): Command {
  return findsServer(new Command('simulate').description('run virtual devices against a server, each with its own key'))
    .requiredOption('--devices <n>', 'how many', integerBetween(1, 100_000))
    .option('--token <token>', 'bootstrap token: its text, @FILE, or - for standard input; without it one is minted')
    .option('--rate <n>', 'messages per second and device', rateBetween(0, 1_000), 1)
    .option('--seconds <n>', 'end after so many seconds; without it, at Ctrl-C', rateBetween(0.1, 1_000_000))
    .action(simulate);
}
