/** `rollcall doctor`: why the server, or one device, does not work, and what to do. */

import { type DeviceId, Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import type { ConsoleAddress } from '../../console/client.ts';
import type { Finding } from '../../console/index.ts';
import { type Config, runtime, version } from '../../server/config/index.ts';
import { deviceId, instant, run, runWithServer, withServerOptions } from '../command-line.ts';
import { consoleAddressOf, type FleetOptions } from '../console-address.ts';
import { deviceFindings, diagnosisText } from '../device-findings.ts';
import { findingText } from '../doctor-findings.ts';
import { EXIT, type OutputForm, printJson, printResult } from '../terminal.ts';

interface DoctorOptions extends FleetOptions {
  readonly config?: string;
  readonly device?: DeviceId;
  readonly token?: string;
  readonly since?: number;
}

const examineDevice = runWithServer<DoctorOptions>(async (server, { options, form }) => {
  const { device: id = '' as DeviceId, token, since } = options;
  const diagnosis = await server.diagnoseDevice({
    id,
    ...(token !== undefined && { token }),
    ...(since !== undefined && { since: new Date(since).toISOString() }),
  });
  const findings = deviceFindings(diagnosis);
  if (form === 'json') printJson({ ...diagnosis, findings });
  else printResult(diagnosisText(diagnosis));
  setExitCode(findings);
});

const examineServer = run<DoctorOptions>(async ({ options, form }) => {
  if (options.token !== undefined || options.since !== undefined) {
    throw new Problem('usage', { reason: 'expected --device with --token and --since' });
  }
  const { loadConfig } = await import('../../server/config/load.ts');
  const config = loadConfig({ file: options.config, environment: process.env, flags: [[['data'], options.data]] });
  const running = await runningServerFindings({ ...options, data: config.data });
  const findings = running ?? (await stoppedServerFindings(config));
  print(findings, form);
  setExitCode(findings);
});

/** Undefined when no server answers. */
async function runningServerFindings(options: DoctorOptions): Promise<readonly Finding[] | undefined> {
  let address: ConsoleAddress;
  try {
    address = consoleAddressOf(options);
  } catch (error) {
    if (options.socket === undefined && error instanceof Problem && error.code === 'server_unreachable')
      return undefined;
    throw error;
  }
  const isNamed = options.socket !== undefined || 'url' in address;
  const { openConsoleClient } = await import('../../console/client.ts');
  const { examineRunningServer } = await import('../server-findings.ts');
  const server = openConsoleClient(address);
  try {
    return await examineRunningServer(server);
  } catch (error) {
    // A socket that a killed server left behind.
    const isDown = error instanceof Problem && error.code === 'server_unreachable' && !isNamed;
    if (isDown) return undefined;
    throw error;
  } finally {
    await server.close();
  }
}

async function stoppedServerFindings(config: Config): Promise<readonly Finding[]> {
  const { examineStoppedServer } = await import('../../server/index.ts');
  return examineStoppedServer({
    config,
    environment: process.env,
    version,
    runtime: `${runtime.name} ${runtime.version}`,
    now: Date.now(),
  });
}

function print(findings: readonly Finding[], form: OutputForm): void {
  if (form === 'json') printJson({ findings });
  else printResult(findings.map(findingText).join('\n'));
}

function setExitCode(findings: readonly Finding[]): void {
  if (findings.some(({ outcome }) => outcome === 'failed')) process.exitCode = EXIT.failed;
}

export function doctorCommand(): Command {
  return withServerOptions(
    new Command('doctor').description('find out why the server, or one device, does not work, and what to do'),
  )
    .option(
      '--config <file>',
      'configuration of the server, for its data directory, and its ports while it does not run',
    )
    .option('--device <id>', 'examine this device: status, certificates, and the last refusals in sentences', deviceId)
    .option('--token <id>', 'with --device: refusals of this bootstrap token count as well')
    .option('--since <time>', 'with --device: refusals since then (default: 7d)', instant)
    .action((...parts: unknown[]) => {
      const { device } = (parts.at(-1) as Command).optsWithGlobals() as DoctorOptions;
      return device === undefined ? examineServer(...parts) : examineDevice(...parts);
    });
}
