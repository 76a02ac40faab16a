/**
 * Translates the API's complaint about a request into the words of the command that sent it: its flags and arguments in place
 * of fields, durations and sizes in place of numbers of seconds and bytes.
 */

import { Problem, parseFraction } from '@rollcall/protocol';
import type { Command } from 'commander';
import { formatDuration, formatSize } from '../server/config/index.ts';

/** Suffixes of the API's names, and the text of an amount in that unit. */
const UNITS: Readonly<Record<string, (amount: number) => string>> = {
  Seconds: (amount) => formatDuration(amount * 1000),
  Ms: formatDuration,
  Bytes: formatSize,
};

/** `query.withinSeconds: expected at most 2592000` of a request, with `body` and `params` alike. */
const COMPLAINT = /^(?:query|body|params)\.([A-Za-z]+)(?:\.([^:]*))?: (.*)$/;

/** The same Problem for any other error. */
export function inWordsOfCommand(error: unknown, command: Command): unknown {
  if (!(error instanceof Problem) || error.code !== 'request_invalid') return error;
  const detail = error.detail
    .split('; ')
    .map((complaint) => translate(complaint, command))
    .join('; ');
  return detail === error.detail ? error : new Problem('request_invalid', { detail, cause: error });
}

function translate(complaint: string, command: Command): string {
  const [, field = '', , text = ''] = COMPLAINT.exec(complaint) ?? [];
  const unit = Object.keys(UNITS).find((suffix) => field.endsWith(suffix));
  const name = unit === undefined ? field : field.slice(0, -unit.length);
  const where = flagOrArgument(name, command);
  if (where === undefined) return complaint;
  const format = unit === undefined ? undefined : UNITS[unit];
  const said = format === undefined ? text : text.replace(/\d+(?:\.\d+)?/g, (digits) => inUnit(digits, format));
  return `${where}: ${said}`;
}

function inUnit(digits: string, format: (amount: number) => string): string {
  const amount = parseFraction(digits, 0, Number.MAX_SAFE_INTEGER);
  return amount === undefined ? digits : format(amount);
}

/** The API calls a list by the plural of the option that is repeated for it. */
function flagOrArgument(name: string, command: Command): string | undefined {
  const names = [name, name.replace(/s$/, '')];
  const option = command.options.find((each) => names.includes(each.attributeName()));
  if (option?.long !== undefined && option.long !== null) return `option ${option.long}`;
  const argument = command.registeredArguments.find((each) => names.includes(each.name()));
  return argument && `argument <${argument.name()}>`;
}
