/** Error messages for requests that do not match their schema. They never repeat input, except key names of safe characters. */

import type { z } from 'zod';

const SAFE_NAME = /^[A-Za-z0-9_-]{1,64}$/;

const MAX_SHOWN = 5;

/** `body.ids.3: expected a device id …; body: unknown key colour` */
export function describeIssues(error: z.ZodError, part: string): string {
  const where = part === 'querystring' ? 'query' : part;
  return error.issues
    .slice(0, MAX_SHOWN)
    .map((issue) => `${[where, ...issue.path.map(placeName)].join('.')}: ${issue.message}`)
    .join('; ');
}

/** A step of the path to the fault. Keys come from the client, so only safe ones are printed. */
function placeName(step: PropertyKey): string {
  const text = String(step);
  return SAFE_NAME.test(text) ? text : '(a key that is not shown)';
}

/** `expected X, found Y` for an issue of zod; undefined keeps the message of the schema, or of zod. */
export function explainIssue(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${issue.expected === 'int' ? 'a whole number' : withArticle(issue.expected)}, found ${kindOf(issue.input)}`;
    case 'unrecognized_keys':
      return `unknown key ${issue.keys.slice(0, MAX_SHOWN).map(placeName).join(', ')}`;
    case 'invalid_value':
      return `expected one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return `expected at least ${issue.minimum}${unitOf(issue.origin)}`;
    case 'too_big':
      return `expected at most ${issue.maximum}${unitOf(issue.origin)}`;
    case 'invalid_format':
      return issue.format === 'datetime' ? 'expected an ISO 8601 time such as 2026-11-22T12:00:00Z' : undefined;
    default:
      return undefined;
  }
}

function withArticle(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`;
}

function kindOf(input: unknown): string {
  if (input === undefined) return 'nothing';
  if (input === null) return 'null';
  if (Array.isArray(input)) return 'an array';
  if (Number.isNaN(input)) return 'something else';
  if (typeof input === 'number' && !Number.isInteger(input)) return 'a number that is not whole';
  return withArticle(typeof input);
}

function unitOf(origin: string): string {
  if (origin === 'string') return ' characters';
  return origin === 'array' ? ' entries' : '';
}
