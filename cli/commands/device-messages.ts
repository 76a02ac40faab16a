/** Commands to a device and its twin, as operators send and change them. */

import { readFileSync } from 'node:fs';
import { type DeviceId, Problem, type TwinObject } from '@rollcall/protocol';
import type { Command } from 'commander';
import { duration, integerBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { note, type OutputForm, printJson, printResult } from '../terminal.ts';

interface CommandOptions {
  readonly payload?: string;
  /** Milliseconds; true without a value. */
  readonly wait?: number | true;
  readonly expires?: number;
}

const WAIT_MS = 30_000;

const command = runWithServer<CommandOptions>(async (server, { args, options, form }) => {
  const [id, name] = args as [DeviceId, string];
  const { payload, wait = 0, expires } = options;
  const waitMs = wait === true ? WAIT_MS : wait;
  const result = await server.commandDevice({
    id,
    name,
    waitSeconds: waitMs / 1000,
    ...(payload !== undefined && { base64: readPayload(payload).toString('base64') }),
    ...(expires !== undefined && { expiresSeconds: expires / 1000 }),
  });
  const { requestId, delivery, outcome, response } = result;
  if (form === 'json') printJson(result);
  if (outcome === 'timed_out') {
    const waited = `request ${requestId}: no response in ${waitMs / 1000} s`;
    if (delivery === 'connected') throw new Problem('command_timed_out', { reason: waited });
    throw new Problem('device_offline', {
      detail: 'the device is not connected; the command is stored and runs when it connects',
      reason: waited,
    });
  }
  if (response === undefined) {
    if (form === 'text') printResult(sentText(id, name, requestId, delivery));
    return;
  }
  if (form === 'text') printResponse(response);
  if (isError(response.payload)) throw new Problem('command_failed', { reason: `request ${requestId}` });
});

function sentText(id: string, name: string, requestId: string, delivery: 'connected' | 'stored'): string {
  const when = delivery === 'connected' ? `sent to ${id}` : `stored for ${id}, which is not connected`;
  return `command ${name} ${when}; request ${requestId}`;
}

function printResponse(response: {
  readonly payload?: unknown;
  readonly text?: string | undefined;
  readonly base64?: string | undefined;
}): void {
  const { payload, text, base64 } = response;
  if (text !== undefined) printResult(text);
  else if (base64 !== undefined) printResult(base64);
  else printJson(payload);
}

/** The SDK's response to a command that was not done. */
function isError(payload: unknown): boolean {
  return typeof payload === 'object' && payload !== null && typeof (payload as { error?: unknown }).error === 'string';
}

/** JSON, or the bytes of a file. */
function readPayload(text: string): Buffer {
  if (text.startsWith('@')) return readFile(text.slice(1));
  parseJson(text, '--payload');
  return Buffer.from(text);
}

function readFile(path: string): Buffer {
  try {
    return readFileSync(path === '-' ? 0 : path);
  } catch (error) {
    throw new Problem('usage', { reason: `${path}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be read'}` });
  }
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem('usage', { reason: `${what}: expected JSON, or @FILE` });
  }
}

const showTwin = runWithServer(async (server, { args, form }) => {
  printTwin(await server.showTwin({ id: args[0] as DeviceId }), form);
});

interface SetOptions {
  readonly replace?: boolean;
  readonly ifVersion?: number;
}

const setTwin = runWithServer<SetOptions>(async (server, { args, options, form }) => {
  const [id, text] = args as [DeviceId, string];
  const source = text.startsWith('@') ? readFile(text.slice(1)).toString('utf8') : text;
  const state = parseJson(source, 'the state');
  if (typeof state !== 'object' || state === null || Array.isArray(state))
    throw new Problem('usage', { reason: 'the state: expected a JSON object' });
  const { replace, ifVersion } = options;
  const change = { id, state: state as TwinObject, ...(ifVersion !== undefined && { ifVersion }) };
  const twin = await (replace === true ? server.replaceDesired(change) : server.mergeDesired(change));
  printTwin(twin, form);
});

interface PrintedTwin {
  readonly desired?: { readonly version: number; readonly state: unknown } | undefined;
  readonly reported?:
    | { readonly version: number; readonly desiredVersion?: number | undefined; readonly state: unknown }
    | undefined;
  readonly pending: Readonly<Record<string, unknown>>;
}

function printTwin(twin: PrintedTwin, form: OutputForm): void {
  if (form === 'json') {
    printJson(twin);
    return;
  }
  const { desired, reported, pending } = twin;
  printResult(`desired   ${desired === undefined ? 'none' : `version ${desired.version}  ${json(desired.state)}`}`);
  const seen = reported?.desiredVersion === undefined ? '' : `, of desired version ${reported.desiredVersion}`;
  printResult(
    `reported  ${reported === undefined ? 'none' : `version ${reported.version}${seen}  ${json(reported.state)}`}`,
  );
  const isDone = Object.keys(pending).length === 0;
  printResult(`pending   ${isDone ? 'nothing' : json(pending)}`);
  if (!isDone && reported === undefined) note('the device has not reported a state yet');
}

function json(value: unknown): string {
  return JSON.stringify(value);
}

export function addDeviceMessages(device: Command): void {
  withServerOptions(
    device
      .command('command')
      .argument('<id>')
      .argument('<name>')
      .description('send a command to a device, and print its response with --wait'),
  )
    .option('--payload <payload>', 'payload: JSON, or @FILE for the bytes of a file (default: null)')
    .option('--wait [duration]', 'wait so long for the response, at most 100s (30s without a duration)', duration)
    .option('--expires <duration>', 'do not deliver it after so long; without it, it waits for the device', duration)
    .action(command);
  const twin = device.command('twin').description('the desired and the reported state of a device: get and set');
  withServerOptions(
    twin.command('get').argument('<id>').description('show both states, and what the device has not reported yet'),
  ).action(showTwin);
  withServerOptions(
    twin
      .command('set')
      .argument('<id>')
      .argument('<state>', 'JSON object, or @FILE')
      .description('merge into the desired state (null removes a member), or replace it'),
  )
    .option('--replace', 'replace the whole desired state')
    .option(
      '--if-version <n>',
      'only if the desired state has this version (0: if there is none)',
      integerBetween(0, Number.MAX_SAFE_INTEGER),
    )
    .action(setTwin);
}
