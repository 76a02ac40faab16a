import { escapeControls } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import { Command, InvalidArgumentError } from 'commander';
import {
  CLIENT_ID_TEMPLATE_RULE,
  causeLines,
  type FleetReport,
  type FleetSnapshot,
  isClientIdTemplate,
  isTopicTemplate,
  MQTT_ARGUMENT_RULE,
  parseMqttVersions,
  type SdkFleet,
  TOPIC_TEMPLATE_RULE,
  throttlingNote,
} from '../../simulator/index.ts';
import { duration, integerBetween, rateBetween, repeated, run, withServerOptions } from '../command-line.ts';
import { consoleAddressOf, type FleetOptions } from '../console-address.ts';
import { readSecretArgument } from '../secret-argument.ts';
import { runName, type SimulationTokens, simulationTokens } from '../simulation-operator.ts';
import { untilStopped } from '../stop-signals.ts';
import { EXIT, note, type OutputForm, printJson, printResult } from '../terminal.ts';
import { cleanupCommand } from './simulate-cleanup.ts';
import { type JoinRunOptions, joinAsHost } from './simulate-hosts.ts';
import type { TargetOptions } from './simulate-target.ts';
import { LOAD_TEST_HELP, simulateTools } from './simulate-tools.ts';
import { expectOptionsRead } from './simulate-ways.ts';

interface SimulateOptions extends Partial<JoinRunOptions>, TargetOptions {
  readonly devices?: number;
  readonly scenario?: string;
  readonly token?: string;
  /** Share of devices that use MQTT 5, from 0 to 1. */
  readonly mqtt?: number;
  readonly rate?: number;
  readonly seconds?: number;
  readonly loadTest?: readonly string[];
}

/** Messages per second and device. */
const DEFAULT_RATE = 1;
const PROGRESS_EVERY_MS = 1_000;
/** On the line of each second. */
const LIVE_CAUSES = 2;

interface PlainOptions extends SimulateOptions, FleetOptions {
  readonly devices: number;
}

const simulate = run<SimulateOptions & FleetOptions>(async ({ options, form }) => {
  const { scenario, devices, join } = options;
  if (join !== undefined) {
    if (scenario === undefined && devices === undefined) {
      expectOptionsRead('--join', options);
      return joinAsHost({ ...options, join }, form);
    }
    throw new Problem('usage', {
      reason: 'expected --join without --scenario and --devices: the coordinator has them',
    });
  }
  if ((scenario === undefined) === (devices === undefined)) {
    throw new Problem('usage', {
      reason: 'expected --scenario NAME or --devices N',
      hint: 'rollcall simulate --scenario smoke starts a server of its own',
    });
  }
  expectOptionsRead(scenario === undefined ? '--devices' : '--scenario', options);
  if (scenario !== undefined) {
    const { simulateScenario } = await import('./simulate-scenario.ts');
    return simulateScenario({ ...options, scenario }, form);
  }
  return simulatePlainly({ ...options, devices: devices as number }, form);
});

async function simulatePlainly(options: PlainOptions, form: OutputForm): Promise<void> {
  const { SdkFleet } = await import('../../simulator/index.ts');
  const { createLogger } = await import('../../server/config/load.ts');
  const { token, loadTest } = options;
  if (token !== undefined && loadTest !== undefined) {
    throw new Problem('usage', { reason: 'expected --load-test at "rollcall token create" for a token that is given' });
  }
  const own = token === undefined ? await createToken(options) : undefined;
  if (own !== undefined && form === 'text') {
    note(`the devices have the label simulated=${own.run}; "rollcall simulate cleanup --run ${own.run}" removes them`);
  }
  const report = await untilStopped(async (stopped) => {
    const fleet = await SdkFleet.start({
      devices: options.devices,
      token: own?.text ?? readSecretArgument(token as string, '--token'),
      rate: options.rate ?? DEFAULT_RATE,
      ...(options.seconds !== undefined && { seconds: options.seconds }),
      ...(options.mqtt !== undefined && { mqtt: options.mqtt }),
      log: createLogger('warn'),
    });
    const progress = setInterval(() => tell(fleet, form), PROGRESS_EVERY_MS);
    void stopped.then(() => fleet.stop());
    return fleet.done.finally(() => clearInterval(progress));
  }).finally(() => own?.revoke());
  if (form === 'json') printJson({ event: 'report', ...(own && { run: own.run }), ...report });
  else printResult(describeReport(report));
  if (!isSuccess(report)) process.exitCode = EXIT.failed;
}

/** A token with the label of simulated devices; `revoke` ends it and its exemption. */
async function createToken(
  options: PlainOptions,
): Promise<{ readonly run: string; readonly text: string; revoke(): Promise<void> }> {
  const run = runName();
  const withServer = async <T>(act: (tokens: SimulationTokens) => Promise<T>): Promise<T> => {
    const address = consoleAddressOf(options);
    const { openConsoleClient } = await import('../../console/client.ts');
    const server = openConsoleClient(address);
    try {
      return await act(simulationTokens(server, { run, loadTest: options.loadTest }));
    } finally {
      await server.close();
    }
  };
  try {
    const { id, text } = await withServer((tokens) => tokens.create({ uses: options.devices }));
    return { run, text, revoke: () => withServer((tokens) => tokens.revoke(id)) };
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'server_unreachable') throw error;
    throw new Problem('server_unreachable', {
      reason: error.message,
      hint: 'say where the server runs with --data or --socket, or bring a bootstrap token with --token',
    });
  }
}

function tell(fleet: SdkFleet, form: 'text' | 'json'): void {
  const snapshot = fleet.snapshot();
  if (form === 'json') printJson({ event: 'progress', ...snapshot });
  else note(escapeControls([describeSnapshot(snapshot), ...causeLines(snapshot.causes, LIVE_CAUSES)].join('; ')));
}

/** Every device was connected at some time, and no message was left without an acknowledgement. */
function isSuccess(report: FleetReport): boolean {
  const { ended, byState, devices, everConnected, failed } = report;
  return ended !== 'nobody left' && byState.refused === 0 && everConnected === devices && failed === 0;
}

function describeSnapshot({ elapsed, byState, devices, sent, acknowledged, latency }: FleetSnapshot): string {
  const states = Object.entries(byState).flatMap(([state, n]) => (n === 0 ? [] : [`${n} ${state}`]));
  const times =
    latency === undefined ? '' : `; PUBACK p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(1)} ms`;
  return `${(elapsed / 1000).toFixed(0)} s: ${devices} devices (${states.join(', ')}); ${acknowledged} of ${sent} messages acknowledged${times}`;
}

function describeReport(report: FleetReport): string {
  const counts = (of: Readonly<Record<string, number>>) =>
    Object.entries(of)
      .map(([name, n]) => `${name} ${n}`)
      .join(', ') || 'none';
  const note = throttlingNote(report.throttled);
  return [
    describeSnapshot(report),
    `ended: ${report.ended}; ${report.enrolled} of ${report.devices} enrolled; ${report.everConnected} connected at some time; ${report.failed} messages failed`,
    `errors: ${counts(report.errors)}`,
    `reason codes: ${counts(report.reasons)}`,
    ...causeLines(report.causes).map((line) => escapeControls(`  ${line}`)),
    ...(note === undefined ? [] : [note]),
  ].join('\n');
}

function topicTemplate(text: string): string {
  if (!isTopicTemplate(text)) throw new InvalidArgumentError(`expected ${TOPIC_TEMPLATE_RULE}`);
  return text;
}

function clientIdTemplate(text: string): string {
  if (!isClientIdTemplate(text)) throw new InvalidArgumentError(`expected ${CLIENT_ID_TEMPLATE_RULE}`);
  return text;
}

function mqttVersions(text: string): number {
  const share5 = parseMqttVersions(text);
  if (share5 === undefined) throw new InvalidArgumentError(`expected ${MQTT_ARGUMENT_RULE}`);
  return share5;
}

export function simulateCommand(): Command {
  const command = withServerOptions(
    new Command('simulate').description('run virtual devices against a server, each with its own key'),
  )
    .option('--scenario <name|file>', 'play a scenario; without --data or --target, against a server of its own')
    .option('--scale <f>', 'so many times the devices of the scenario', rateBetween(0.000_1, 1_000))
    .option('--faster <f>', 'duration, arrivals and incidents so many times as fast', rateBetween(0.01, 1_000))
    .option('--seed <n>', 'chance begins here, in place of the scenario', integerBetween(0, 999_999_999))
    .option('--duration <time>', 'in place of the scenario, such as 10m', duration)
    .option('--mqtt <versions>', `version of MQTT, in place of the scenario: ${MQTT_ARGUMENT_RULE}`, mqttVersions)
    .option('--target <url>', 'a broker to measure, mqtts://HOST:PORT, with --identities')
    .option('--identities <dir>', 'devices that were enrolled before: a directory each with key.pem, cert.pem, ca.pem')
    .option('--target-ca <file>', 'with --target: CA certificates (PEM) of the certificate of that broker')
    .option(
      '--target-name <name>',
      'with --target: name in its certificate, sent as SNI (default: the host of the URL)',
    )
    .option('--topic <template>', `with --target: topic of telemetry, ${TOPIC_TEMPLATE_RULE}`, topicTemplate)
    .option(
      '--client-id <template>',
      `with --target: MQTT client id of a device, ${CLIENT_ID_TEMPLATE_RULE}`,
      clientIdTemplate,
    )
    .option('--service-client-id <id>', 'with --target: MQTT client id of the subscribed service')
    .option('--service <dir>', 'identity of the subscribed service, where no operator can issue one')
    .option('--keep <dir>', 'write the identities of the devices there, for later runs')
    .option(
      '--nodes <n>',
      'temporary nodes over a PostgreSQL quorum of this machine (default: one server)',
      integerBetween(1, 9),
    )
    .option('--workers <n>', 'threads (default: one a core)', integerBetween(1, 256))
    .option('--source-address <addr>', 'own address to connect from; repeatable: each has its own ports', repeated)
    .option('--report <file>', 'write the report as one HTML file')
    .option('--junit <file>', 'write the assertions as JUnit XML')
    .option('--result <file>', 'write the result as JSON, for "simulate compare"')
    .option('--prometheus-port <n>', 'serve live metrics on loopback, 0 for any free port', integerBetween(0, 65_535))
    .option('--coordinate <place>', 'wait for other hosts at [HOST:]PORT, which run the devices of the scenario')
    .option('--hosts <n>', 'with --coordinate: how many', integerBetween(1, 1_000))
    .option('--gather <time>', 'with --coordinate: how long they are waited for (default: 10m)', duration)
    .option('--join <place>', 'be one of those hosts: HOST:PORT of the coordinator')
    .option('--fingerprint <sha256>', 'with --join: of the coordinator, as it prints it')
    .option('--name <name>', 'with --join: of this host (default: its host name)')
    .option('--secret <source>', 'of the run on several hosts: @FILE, or - for standard input; or ROLLCALL_JOIN_SECRET')
    .option('--devices <n>', 'without a scenario: so many devices of the SDK', integerBetween(1, 100_000))
    .option('--load-test <address>', LOAD_TEST_HELP, repeated)
    .option('--token <token>', 'bootstrap token: its text, @FILE, or - for standard input; without it one is created')
    .option('--rate <n>', 'messages per second and device (default: 1)', rateBetween(0, 1_000))
    .option('--seconds <n>', 'end after so many seconds; without it, at Ctrl-C', rateBetween(0.1, 1_000_000))
    .action(simulate);
  command.enablePositionalOptions(); // --keep after "devices" is its own, not ours
  for (const tool of [...simulateTools(), cleanupCommand()]) command.addCommand(tool);
  return command;
}
