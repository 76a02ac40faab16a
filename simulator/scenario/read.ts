/**
 * Reads a scenario from YAML, or says all that is wrong with it: line, column, where in the scenario, what was expected
 * and what was found. It runs nothing.
 */

import { closestWord } from '@rollcall/output';
import { type Document, isMap, isNode, isScalar, LineCounter, type Node, type Pair, parseDocument } from 'yaml';
import { type core, z } from 'zod';
import { type Flaw, flawsOf, type Path } from './checks.ts';
import { type Scenario, scenarioSchema } from './schema.ts';

export interface ScenarioFlaw {
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** `devices.sensors.publish[0].every`; empty for the whole. */
  readonly where: string;
  readonly message: string;
}

export type ReadScenario = { readonly scenario: Scenario } | { readonly flaws: readonly ScenarioFlaw[] };

export interface ReadOptions {
  /** Whether a recording exists, by the path that the scenario gives it. */
  readonly fileExists: (path: string) => boolean;
}

const BYTES_MAX = 1024 * 1024;
const FOUND_MAX = 60;

export function readScenario(text: string, options: ReadOptions): ReadScenario {
  if (text.length > BYTES_MAX) {
    return { flaws: [{ line: 1, column: 1, where: '', message: `expected at most ${BYTES_MAX} characters` }] };
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    return {
      flaws: document.errors.map((error) => ({
        ...place(lines, error.pos[0]),
        where: '',
        message: `expected YAML: ${error.message.toLowerCase()}`,
      })),
    };
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch {
    return { flaws: [{ line: 1, column: 1, where: '', message: 'expected fewer aliases' }] };
  }
  const checked = scenarioSchema.safeParse(value);
  const flaws = checked.success
    ? flawsOf(checked.data, options.fileExists)
    : checked.error.issues.flatMap(flawsInIssue);
  if (checked.success && flaws.length === 0) return { scenario: checked.data };
  return {
    flaws: flaws
      .map((flaw) => ({
        ...place(lines, offsetOf(document, flaw.path)),
        where: pathText(flaw.path),
        message: withFound(flaw, document),
      }))
      .sort((a, b) => a.line - b.line || a.column - b.column),
  };
}

export function describeFlaw(file: string, { line, column, where, message }: ScenarioFlaw): string {
  return `${file}:${line}:${column}: ${where === '' ? '' : `${where}: `}${message}`;
}

function flawsInIssue(issue: core.$ZodIssue): readonly Flaw[] {
  const path = issue.path as Path;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const meant = closestWord(key, knownKeys());
      const suggestion = meant === undefined ? '' : `; did you mean "${meant}"?`;
      return { path: [...path, key], message: `expected a known key, found "${key}"${suggestion}` };
    });
  }
  if (issue.code === 'invalid_key') return [{ path, message: issue.issues[0]?.message ?? issue.message }];
  return [{ path, message: plainly(issue) }];
}

/** The keys of all parts of a scenario. */
function knownKeys(): ReadonlySet<string> {
  const keys = new Set<string>();
  const visit = (schema: unknown): void => {
    if (typeof schema !== 'object' || schema === null) return;
    for (const [name, value] of Object.entries(schema)) {
      if (name === 'properties') for (const key of Object.keys(value as object)) keys.add(key);
      visit(value);
    }
  };
  visit(z.toJSONSchema(scenarioSchema, { io: 'input', target: 'draft-7' }));
  return keys;
}

/** Zod's own sentences, in the words of ours. */
function plainly(issue: core.$ZodIssue): string {
  switch (issue.code) {
    case 'too_small':
      if (issue.message.startsWith('expected')) return issue.message;
      return `expected ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}${issue.origin === 'array' ? ' entries' : ''}`;
    case 'too_big':
      if (issue.message.startsWith('expected')) return issue.message;
      return `expected at most ${issue.maximum}`;
    case 'invalid_value':
      if (issue.message.startsWith('expected')) return issue.message;
      return `expected ${issue.values.map(String).join(' or ')}`;
    case 'invalid_type':
      if (issue.message.startsWith('expected')) return issue.message;
      return `expected ${issue.expected === 'record' || issue.expected === 'object' ? 'a map of keys' : `a value of type ${issue.expected}`}`;
    default:
      return issue.message.startsWith('expected')
        ? issue.message
        : `expected another value: ${issue.message.toLowerCase()}`;
  }
}

function withFound({ path, message }: Flaw, document: Document): string {
  if (message.includes('found')) return message;
  const node = document.getIn(path, true);
  if (node === undefined) return path.length === 0 ? message : `${message}, found nothing`;
  if (!isScalar(node)) return message;
  const found = JSON.stringify(node.value) ?? String(node.value);
  return `${message}, found ${found.length > FOUND_MAX ? `${found.slice(0, FOUND_MAX)}...` : found}`;
}

/** Where a value begins; for a key that is missing, where the map begins that should hold it. */
function offsetOf(document: Document, path: Path): number {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = document.getIn(path.slice(0, length - 1), true);
    const last = path[length - 1];
    if (isMap(parent)) {
      const pair = parent.items.find((item: Pair) => isScalar(item.key) && String(item.key.value) === String(last));
      const start = pair !== undefined && isNode(pair.key) ? pair.key.range?.[0] : undefined;
      if (start !== undefined) return start;
    }
    const node = document.getIn(path.slice(0, length), true) as Node | undefined;
    if (isNode(node) && node.range != null) return node.range[0];
  }
  return document.contents?.range?.[0] ?? 0;
}

function place(lines: LineCounter, offset: number): { readonly line: number; readonly column: number } {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

function pathText(path: Path): string {
  return path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${part}`))
    .join('');
}
