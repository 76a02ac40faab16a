/** The program `rollcall-device`: parses the command line and runs one command. */

import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import {
  BROKEN_PIPE_EXIT_CODE,
  escapeControlsInLines,
  jsonText,
  OutputLostError,
  standardError,
  standardOutput,
} from '@rollcall/output';
import { asDeviceError, DeviceError } from '../device-error.ts';
import { enroll as enrollAnew, enrollOnce, requireSameFleet } from '../enrollment.ts';
import { fileIdentityStore } from '../file-identity-store.ts';
import manifest from '../package.json' with { type: 'json' };
import { PAYLOAD_MAX } from '../payload.ts';
import { realTimers } from '../schedule.ts';
import { startAgent } from './agent.ts';
import { type AgentClient, agentClient } from './agent-client.ts';
import type { AgentStatus } from './agent-device.ts';
import { agentLog } from './agent-log.ts';
import { diagnose, type Finding } from './doctor.ts';
import { requireOwnDirectory } from './private-directory.ts';
import { publishAndWait } from './publish-and-wait.ts';
import { DEFAULT_TIMEOUT_S, parseTimeout, TIMEOUT_MAX_S } from './publish-request.ts';
import { serviceManager } from './service-manager.ts';
import { type AgentSettings, readSettings, SETTINGS_FILE, SettingsError } from './settings.ts';

const HELP = `rollcall-device ${manifest.version}: this machine as a device of a Rollcall fleet

usage: rollcall-device COMMAND [options]

  run                         enroll if need be, connect, and serve applications on this machine
  enroll [--token @FILE | -]  exchange a bootstrap token for an identity, also after a revocation
    --replace-fleet           move to another fleet; the identity of the former one is kept aside
  status                      what the running agent does
  publish STREAM [PAYLOAD|-]  publish telemetry through the running agent
    --wait                    until the device is enrolled and connected, and the broker has stored it
    --timeout SECONDS         how long at most (${DEFAULT_TIMEOUT_S})
  renew                       renew the certificate now
  doctor                      find out why this device can't connect

  --config FILE   settings (${SETTINGS_FILE})
  --json          for programs
  --version, --help

A token is read from a file or from standard input, never from the command line, where others could see it.
`;

/** Milliseconds to write the last log lines at exit. */
const LAST_LINES_MS = 1_000;

/** Misuse of the command line: exit code 2. */
class UsageError extends Error {
  override readonly name = 'UsageError';
}

interface Invocation {
  readonly args: readonly string[];
  readonly settings: AgentSettings;
  readonly json: boolean;
  /** Seconds, or undefined when nothing is waited for. */
  readonly wait: number | undefined;
  readonly token: string | undefined;
  readonly replaceFleet: boolean;
}

const COMMANDS: Readonly<Record<string, (invocation: Invocation) => Promise<number>>> = {
  run,
  enroll,
  status,
  publish,
  renew,
  doctor,
};

/** Resolves with the exit code: 0 done, 1 it could not be done, 2 it was not understood. */
export async function main(argv: readonly string[]): Promise<number> {
  standardOutput.onUnhandledLoss((lost) => process.exit(outputLost(lost)));
  try {
    const { values, positionals } = readCommandLine(argv);
    const [name, ...args] = positionals;
    if (values.version) return say(`${manifest.version}\n`);
    if (values.help || name === undefined) return say(HELP);
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (command === undefined) {
      throw new UsageError(`expected one of ${Object.keys(COMMANDS).join(', ')}, found ${JSON.stringify(name)}`);
    }
    const { json = false, token, config, 'replace-fleet': replaceFleet = false } = values;
    return await command({ args, settings: readSettings(config), json, wait: patienceOf(values), token, replaceFleet });
  } catch (thrown) {
    if (thrown instanceof OutputLostError) return outputLost(thrown);
    const isMisuse = thrown instanceof UsageError || thrown instanceof SettingsError;
    const message = isMisuse ? thrown.message : asDeviceError(thrown, 'internal').message;
    standardError.write(`rollcall-device: error: ${escapeControlsInLines(message)}\n`);
    return isMisuse ? 2 : 1;
  }
}

function readCommandLine(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        config: { type: 'string' },
        token: { type: 'string' },
        'replace-fleet': { type: 'boolean' },
        json: { type: 'boolean' },
        wait: { type: 'boolean' },
        timeout: { type: 'string' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message.split('\n', 1)[0]);
  }
}

function patienceOf({ wait, timeout }: { readonly wait?: boolean; readonly timeout?: string }): number | undefined {
  if (timeout === undefined) return wait === true ? DEFAULT_TIMEOUT_S : undefined;
  if (wait !== true) throw new UsageError('--timeout: expected --wait beside it');
  const seconds = parseTimeout(timeout);
  if (seconds === undefined) {
    throw new UsageError(`--timeout: expected 1 to ${TIMEOUT_MAX_S} seconds, found ${JSON.stringify(timeout)}`);
  }
  return seconds;
}

async function run({ args, settings }: Invocation): Promise<number> {
  none(args);
  standardError.useAsLog();
  const log = agentLog(settings.logLevel, Date.now, (line) => standardError.write(line));
  const manager = serviceManager({ environment: process.env, schedule: realTimers, log });
  const agent = await startAgent({
    settings,
    version: manifest.version,
    now: Date.now,
    random: Math.random,
    schedule: realTimers,
    log,
    manager,
  });
  log.info({ socket: settings.socket, mqttPort: agent.mqttPort, version: manifest.version }, 'agent started');
  process.on('SIGHUP', () => log.warn({ signal: 'SIGHUP' }, 'signal ignored: the agent goes on'));
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGTERM', () => resolve('SIGTERM'));
    process.once('SIGINT', () => resolve('SIGINT'));
  });
  log.info({ signal }, 'agent ends');
  await agent.close();
  // A reader of the log that stalls must not keep the process.
  if (!(await standardError.settled(LAST_LINES_MS))) process.exit(0);
  return 0;
}

async function enroll({ args, settings, json, token, replaceFleet }: Invocation): Promise<number> {
  none(args);
  const text = readToken(token ?? `@${settings.tokenFile}`);
  if (await isRunning(settings)) {
    return tell(await controlClient(settings).enroll(text, { replaceFleet }), json);
  }
  const store = fileIdentityStore(settings.state);
  const options = {
    token: text,
    replaceFleet,
    ...(settings.id !== undefined && { deviceId: settings.id }),
    ...(settings.enroll !== undefined && { enrollUrl: settings.enroll }),
    ...(settings.broker !== undefined && { mqttUrl: settings.broker }),
  };
  // An identity that exists stays; a token of another fleet must not look as if it had been used.
  if (!replaceFleet) await requireSameFleet(store, options);
  const identity = await (replaceFleet ? enrollAnew : enrollOnce)(store, options);
  const { deviceId: device, enrollUrl, mqttUrl: broker } = identity;
  return say(
    json
      ? `${jsonText({ device, enrollUrl, broker })}\n`
      : `enrolled as ${device}; its identity is in ${settings.state}\n`,
  );
}

async function status({ args, settings, json }: Invocation): Promise<number> {
  none(args);
  return tell(await agentClient(settings.socket).status(), json);
}

async function publish({ args, settings, json, wait }: Invocation): Promise<number> {
  const [stream, payload = '-', ...more] = args;
  if (stream === undefined || more.length > 0) throw new UsageError('expected publish STREAM [PAYLOAD|-]');
  const bytes = payload === '-' ? readFileSync(0) : Buffer.from(payload, 'utf8');
  if (bytes.length > PAYLOAD_MAX) {
    throw new UsageError(`expected a payload of at most ${PAYLOAD_MAX} bytes, found ${bytes.length}`);
  }
  const client = agentClient(settings.socket);
  const answer =
    wait === undefined
      ? await client.publish(stream, bytes, { wait })
      : await publishAndWait({ client, stream, bytes, wait, tell: (text) => standardError.write(text) });
  say(json ? `${jsonText(answer)}\n` : `${answer.state}\n`);
  if (wait === undefined || answer.state === 'acknowledged') return 0;
  const why = answer.error === undefined ? '' : `: ${answer.error.message}`;
  standardError.write(`rollcall-device: error: the broker has not stored it yet; it waits on disk${why}\n`);
  return 1;
}

async function renew({ args, settings, json }: Invocation): Promise<number> {
  none(args);
  return tell(await controlClient(settings).renew(), json);
}

/** 0 when nothing has failed. */
async function doctor({ args, settings, json }: Invocation): Promise<number> {
  none(args);
  const findings = await diagnose({ settings, now: Date.now });
  say(json ? `${jsonText(findings)}\n` : findings.map(findingText).join(''));
  return findings.some(({ outcome }) => outcome === 'failed') ? 1 : 0;
}

const MARKS = { ok: 'ok', warning: 'warning', failed: 'FAILED', skipped: '-' } as const;

function findingText({ check, outcome, found, fix }: Finding): string {
  const line = `${check.padEnd(12)} ${MARKS[outcome].padEnd(8)} ${found}\n`;
  return fix === undefined ? line : `${line}${' '.repeat(22)}-> ${fix}\n`;
}

function tell(agent: AgentStatus, json: boolean): number {
  if (json) return say(`${jsonText(agent)}\n`);
  const { state, reason, since, error, device, broker, certificateEnds, queue, clock } = agent;
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['device', device ?? 'not enrolled'],
    ['state', `${state} since ${since} (${reason})`],
    ['error', error?.message],
    ['broker', broker ?? undefined],
    ['certificate', certificateEnds === null ? undefined : `until ${certificateEnds}`],
    [
      'queue',
      queue === null ? undefined : `${queue.messages} messages, ${queue.bytes} bytes, ${queue.dropped} dropped`,
    ],
    ['clock', clock?.skew === undefined ? undefined : `${clock.skew} ms ahead`],
  ];
  return say(
    lines
      .filter(([, text]) => text !== undefined)
      .map(([name, text]) => `${name.padEnd(12)} ${text}\n`)
      .join(''),
  );
}

function controlClient({ controlSocket, state }: AgentSettings): AgentClient {
  requireOwnDirectory(dirname(controlSocket), state);
  return agentClient(controlSocket);
}

async function isRunning({ socket }: AgentSettings): Promise<boolean> {
  try {
    await agentClient(socket).status();
    return true;
  } catch (error) {
    if (!(error instanceof DeviceError) || error.code !== 'agent_absent') return true;
    // A user without access to the socket must not enroll beside a running agent.
    return (error.cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES';
  }
}

const TOKEN_FILE_MAX = 4_096;

function readToken(argument: string): string {
  if (argument !== '-' && !argument.startsWith('@')) {
    throw new UsageError('--token: expected @FILE, or - for standard input; on the command line others could see it');
  }
  let bytes: Buffer;
  try {
    bytes = readFileSync(argument === '-' ? 0 : argument.slice(1));
  } catch (error) {
    throw new UsageError(`--token: the token could not be read: ${(error as NodeJS.ErrnoException).code}`);
  }
  const text = bytes.subarray(0, TOKEN_FILE_MAX).toString('utf8').split('\n', 1)[0]?.trim() ?? '';
  if (text === '') throw new UsageError('--token: expected a bootstrap token in the first line');
  return text;
}

function none(args: readonly string[]): void {
  if (args.length > 0) throw new UsageError(`expected nothing more, found ${JSON.stringify(args[0])}`);
}

function say(text: string): 0 {
  standardOutput.write(escapeControlsInLines(text));
  return 0;
}

/** A closed pipe needs no message. */
function outputLost(lost: OutputLostError): number {
  if (lost.isBrokenPipe) return BROKEN_PIPE_EXIT_CODE;
  standardError.write(`rollcall-device: error: standard output could not be written: ${lost.message}\n`);
  return 1;
}
