/** What all commands need: options that find the running server, parsers of option values, and the exit code of an error. */

import { closestWord, standardOutput } from '@rollcall/output';
import {
  type DeviceId,
  type GroupName,
  NAME_RULE,
  parseDecimal,
  parseDeviceId,
  parseFraction,
  parseGroupName,
} from '@rollcall/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import type { ConsoleClient } from '../console/client.ts';
import { DURATION_RULE, formatDuration, parseDuration } from '../server/config/index.ts';
import { consoleAddressOf, type FleetOptions } from './console-address.ts';
import { inWordsOfCommand } from './request-errors.ts';
import { explainFailure, type OutputForm } from './terminal.ts';

/** Adds `--json`: standard output is one JSON document, or one JSON value a line. */
export function withJsonOption(command: Command): Command {
  return command.option('--json', 'print JSON');
}

/** Adds the options by which a command finds the running server. */
export function withServerOptions(command: Command): Command {
  return withJsonOption(command)
    .option('--data <dir>', 'data directory of the running server (default: ./data, or that of the installed server)')
    .option('--socket <path>', 'operator socket of the running server')
    .option('--server <url>', 'console of the running server, https://HOST:PORT, in place of its socket')
    .option('--api-key <file>', 'with --server: file with the API key of an operator')
    .option('--cert <file>', 'with --server, in place of --api-key: file with the certificate of an operator (PEM)')
    .option('--key <file>', 'with --cert: file with its key (PEM)')
    .option(
      '--server-ca <file>',
      'with --server: roots of the fleet (default: trust-bundle.pem in the data directory)',
    );
}

/** Adds a command under its name, and hidden from help under the name that scripts may still use. */
export function addRenamed(
  parent: Command,
  { name, formerName }: { readonly name: string; readonly formerName: string },
  define: (command: Command) => void,
): void {
  define(parent.command(name));
  define(parent.command(formerName, { hidden: true }));
}

export interface Call<Options> {
  readonly args: readonly string[];
  readonly options: Options;
  readonly form: OutputForm;
}

/** Runs a command. Explains an error on standard error, and sets the exit code. */
export function run<Options>(handler: (call: Call<Options>) => Promise<void>): (...parts: unknown[]) => Promise<void> {
  return async (...parts) => {
    const command = parts.at(-1) as Command;
    const options = command.optsWithGlobals() as Options & FleetOptions;
    const form: OutputForm = options.json === true ? 'json' : 'text';
    standardOutput.onUnhandledLoss((lost) => process.exit(explainFailure(lost, form, Date.now())));
    try {
      await handler({ args: command.args, options, form });
      if (standardOutput.lost !== undefined) throw standardOutput.lost;
    } catch (error) {
      process.exitCode = explainFailure(inWordsOfCommand(error, command), form, Date.now());
    }
  };
}

/** Runs a command whose module is loaded when it is called. */
export function runLater(
  load: () => Promise<(...parts: unknown[]) => Promise<void>>,
): (...parts: unknown[]) => Promise<void> {
  return async (...parts) => (await load())(...parts);
}

/** Runs a command with a client of the running server, and closes the client. */
export function runWithServer<Options>(
  handler: (server: ConsoleClient, call: Call<Options & FleetOptions>) => Promise<void>,
): (...parts: unknown[]) => Promise<void> {
  return run<Options & FleetOptions>(async (call) => {
    const address = consoleAddressOf(call.options);
    // Here, because help and errors in the command line need no client: the shapes of all requests and answers take half of a start.
    const { openConsoleClient } = await import('../console/client.ts');
    const server = openConsoleClient(address);
    try {
      await handler(server, call);
    } finally {
      await server.close();
    }
  });
}

// Parsers of option values. Commander reports what they throw before the command starts.

export function integerBetween(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = parseDecimal(text, least, most);
    if (value !== undefined) return value;
    throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
  };
}

export function rateBetween(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = parseFraction(text, least, most);
    if (value !== undefined) return value;
    throw new InvalidArgumentError(`expected a number from ${least} to ${most}`);
  };
}

/** Longer ones are mistakes, and their ends are no dates. */
const LONGEST_MS = 1_000 * 365 * 86_400_000;

/** Milliseconds. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError(`expected ${DURATION_RULE}`);
  if (ms > LONGEST_MS) throw new InvalidArgumentError(`expected at most ${formatDuration(LONGEST_MS)}`);
  return ms;
}

/** Parsers of durations: help shows their defaults as durations. */
const DURATION_PARSERS = new WeakSet<(text: string) => number>([duration]);

export function isDurationParser(parse: unknown): boolean {
  return typeof parse === 'function' && DURATION_PARSERS.has(parse as (text: string) => number);
}

/** Milliseconds, within limits that are written as durations. */
export function durationBetween(least: string, most: string): (text: string) => number {
  const [from, to] = [duration(least), duration(most)];
  const parse = (text: string) => {
    const ms = duration(text);
    if (ms < from || ms > to) throw new InvalidArgumentError(`expected ${least} to ${most}`);
    return ms;
  };
  DURATION_PARSERS.add(parse);
  return parse;
}

/** Milliseconds since the epoch, from an ISO 8601 time or a duration before now. */
export function instant(text: string): number {
  const ago = parseDuration(text);
  const at = ago === undefined ? Date.parse(text) : Date.now() - ago;
  if (Number.isNaN(new Date(at).getTime()))
    throw new InvalidArgumentError(
      'expected a time such as 2026-11-22T12:00:00Z, or a duration before now, such as 15m',
    );
  return at;
}

export function deviceId(text: string): DeviceId {
  const id = parseDeviceId(text);
  if (id === undefined) throw new InvalidArgumentError(`expected a device id of ${NAME_RULE}`);
  return id;
}

export function groupName(text: string): GroupName {
  const group = parseGroupName(text);
  if (group === undefined) throw new InvalidArgumentError(`expected a group name of ${NAME_RULE}`);
  return group;
}

/** Collects repeated `--label k=v`. */
export function label(text: string, labels: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const equals = text.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('expected key=value');
  return { ...labels, [text.slice(0, equals)]: text.slice(equals + 1) };
}

/** Collects values of a closed list, with commas between them or from a repeated option. */
export function someOf<Choice extends string>(
  choices: readonly Choice[],
): (text: string, list?: readonly Choice[]) => readonly Choice[] {
  return (text, list = []) => {
    const found = text.split(',').map((part) => {
      const choice = choices.find((each) => each === part);
      if (choice !== undefined) return choice;
      const meant = closestWord(part, choices);
      const suggestion = meant === undefined ? '' : ` (Did you mean ${meant}?)`;
      throw new InvalidArgumentError(`expected some of ${choices.join(', ')}${suggestion}`);
    });
    return [...list, ...found];
  };
}

/** Collects a repeated option into a list. */
export function repeated(text: string, list: readonly string[] = []): readonly string[] {
  return [...list, text];
}
