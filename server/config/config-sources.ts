/** Loads settings from the YAML file, then `ROLLCALL_...` variables, then flags. An error names its source and line. */

import { readFileSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { type Config, configSchema, type WrittenConfig } from './config.ts';
import { EMBEDDED_STORE } from './store-config.ts';
import { workersOf } from './workers.ts';

const FILE_MAX_BYTES = 1_048_576;
const ALIASES_MAX = 10;

/** Options whose variables hold several values, with commas between them. */
const LISTS: ReadonlySet<string | undefined> = new Set(['publicHosts', 'from', 'origins', 'roles']);

type Path = readonly string[];

export interface ConfigSources {
  /** Path of a YAML file; undefined for none. */
  readonly file: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Values of flags by setting: `['mqtt', 'port'] -> 8883`; undefined for flags that were not given. */
  readonly flags: readonly (readonly [path: Path, value: unknown])[];
}

/** Returns the configuration. Throws Problem `config_invalid` with every error and its source. */
export function loadConfig(sources: ConfigSources): Config {
  const settings: Record<string, unknown> = {};
  const origins = new Map<string, string>();

  if (sources.file !== undefined) readFile(sources.file, settings, origins);
  for (const path of settingPaths()) {
    const name = variableName(path);
    const text = sources.environment[name];
    if (text === undefined || text === '') continue;
    assign(settings, path, LISTS.has(path.at(-1)) ? text.split(',') : scalarOf(text));
    origins.set(path.join('.'), name);
  }
  for (const [path, value] of sources.flags) {
    if (value === undefined) continue;
    assign(settings, path, value);
    origins.set(path.join('.'), 'command line');
  }

  const checked = configSchema.safeParse(settings);
  if (checked.success) return resolved(checked.data);
  const errors = checked.error.issues.flatMap((issue) => describeIssue(issue, origins));
  throw new Problem('config_invalid', {
    reason: errors.join('; '),
    hint: 'rollcall.example.yaml lists every option with its default',
  });
}

function resolved(config: WrittenConfig): Config {
  const { mqtt, store, telemetry } = config;
  const { workers, limits } = mqtt;
  const isShared = store.url !== EMBEDDED_STORE;
  const { queuedBytes } = telemetry;
  return {
    ...config,
    mqtt: { ...mqtt, workers: workersOf({ workers, isShared, queuedBytes, packet: limits.packet }) },
  };
}

/** Paths of all single settings: `mqtt.limits.packet`, ... */
export function settingPaths(schema: z.ZodType = configSchema, prefix: Path = []): readonly Path[] {
  const inner = schema instanceof z.ZodPrefault ? (schema.unwrap() as z.ZodType) : schema;
  if (!(inner instanceof z.ZodObject)) return [prefix];
  return Object.entries(inner.shape).flatMap(([key, part]) => settingPaths(part as z.ZodType, [...prefix, key]));
}

/** `['mqtt', 'limits', 'connectPacket']` is `ROLLCALL_MQTT_LIMITS_CONNECT_PACKET`. */
export function variableName(path: Path): string {
  return `ROLLCALL_${path.map((part) => part.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()).join('_')}`;
}

function readFile(file: string, settings: Record<string, unknown>, origins: Map<string, string>): void {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Problem('config_invalid', {
      reason: `${file} could not be read: ${(error as NodeJS.ErrnoException).code}`,
    });
  }
  if (text.length > FILE_MAX_BYTES) {
    throw new Problem('config_invalid', {
      reason: `${file}: expected at most ${FILE_MAX_BYTES} bytes, found ${text.length}`,
    });
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const failure = document.errors[0];
  if (failure !== undefined) {
    const at = failure.linePos?.[0];
    throw new Problem('config_invalid', { reason: `${file}:${at?.line ?? 1}: ${failure.message.split('\n', 1)[0]}` });
  }
  if (document.contents === null) return;
  if (!isMap(document.contents))
    throw new Problem('config_invalid', { reason: `${file}:1: expected a mapping of options` });
  recordLines(document, file, lines, origins);
  try {
    Object.assign(settings, document.toJS({ maxAliasCount: ALIASES_MAX }));
  } catch (cause) {
    // An alias without its anchor, or too many of them.
    throw new Problem('config_invalid', { reason: `${file}: ${(cause as Error).message}` });
  }
}

/** Records the line of each key, unknown keys included. */
function recordLines(document: Document, file: string, lines: LineCounter, origins: Map<string, string>): void {
  const visit = (node: unknown, path: Path): void => {
    if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) {
        const here = [...path, String(index)];
        const start = isNode(item) ? item.range?.[0] : undefined;
        if (start !== undefined) origins.set(here.join('.'), `${file}:${lines.linePos(start).line}`);
        visit(item, here);
      }
    }
    if (!isMap(node)) return;
    for (const pair of node.items) {
      if (!isScalar(pair.key)) continue;
      const here = [...path, String(pair.key.value)];
      origins.set(here.join('.'), `${file}:${lines.linePos(pair.key.range?.[0] ?? 0).line}`);
      visit(pair.value, here);
    }
  };
  visit(document.contents, []);
}

function describeIssue(issue: z.core.$ZodIssue, origins: ReadonlyMap<string, string>): readonly string[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map(
      (key) => `${originOf([...path, key], origins)}: ${[...path, key].join('.')} is not an option`,
    );
  }
  const message = issue.message.charAt(0).toLowerCase() + issue.message.slice(1);
  return [`${originOf(path, origins)}: ${path.join('.')}: ${message}`];
}

function originOf(path: Path, origins: ReadonlyMap<string, string>): string {
  for (let length = path.length; length > 0; length -= 1) {
    const origin = origins.get(path.slice(0, length).join('.'));
    if (origin !== undefined) return origin;
  }
  return 'configuration';
}

function assign(settings: Record<string, unknown>, path: Path, value: unknown): void {
  let node = settings;
  for (const part of path.slice(0, -1)) {
    if (typeof node[part] !== 'object' || node[part] === null) node[part] = {};
    node = node[part] as Record<string, unknown>;
  }
  node[path.at(-1) as string] = value;
}

/** A number or a boolean as YAML writes them; every other text is itself, also where YAML would read a mapping or an error in it. */
function scalarOf(text: string): unknown {
  const { contents, errors } = parseDocument(text, { schema: 'core' });
  const value = errors.length === 0 && isScalar(contents) ? contents.value : text;
  return typeof value === 'number' || typeof value === 'boolean' ? value : text;
}
