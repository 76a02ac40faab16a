/** Files of a simulation: scenarios and their recordings, saved identities, results. */

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closestWord } from '@rollcall/output';
import { NAME_RULE, Problem, parseDeviceId } from '@rollcall/protocol';
import {
  describeFlaw,
  identityOf,
  type RunResult,
  readScenario,
  resultSchema,
  type Scenario,
  type TlsIdentity,
} from '../simulator/index.ts';

const READY = fileURLToPath(new URL('../simulator/scenarios/', import.meta.url));

export interface LoadedScenario {
  readonly scenario: Scenario;
  /** By the path in the scenario. */
  readonly recordings: ReadonlyMap<string, string>;
}

export function builtInScenarios(): readonly string[] {
  return readdirSync(READY)
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -'.yaml'.length))
    .sort();
}

/** A file, or one of the ready scenarios by its name. Problem `config_invalid` with every flaw and its line. */
export function loadScenario(nameOrFile: string): LoadedScenario {
  const file = builtInScenarios().includes(nameOrFile) ? join(READY, `${nameOrFile}.yaml`) : resolve(nameOrFile);
  if (!existsSync(file)) {
    const meant = closestWord(nameOrFile, builtInScenarios());
    throw new Problem('config_invalid', {
      reason: `expected a scenario file, found nothing at ${nameOrFile}${meant === undefined ? '' : ` (did you mean ${meant}?)`}`,
      hint: `or name one of the ready ones: ${builtInScenarios().join(', ')}`,
    });
  }
  const place = dirname(file);
  const read = readScenario(readFileSync(file, 'utf8'), { fileExists: (path) => existsSync(join(place, path)) });
  if ('flaws' in read) {
    throw new Problem('config_invalid', {
      reason: read.flaws.map((flaw) => describeFlaw(nameOrFile, flaw)).join('\n'),
      hint: 'docs/scenarios.md lists every word',
    });
  }
  const { scenario } = read;
  const recordings = new Map<string, string>();
  for (const { publish } of Object.values(scenario.devices)) {
    for (const { model } of publish) {
      if (model.kind === 'replay') recordings.set(model.file, readFileSync(join(place, model.file), 'utf8'));
    }
  }
  return { scenario, recordings };
}

/**
 * One new directory for each device, as `rollcall device enroll --out` writes it. Names come from hosts that joined. Problem
 * `config_invalid` for one that is no device id, before anything is written, and for one that is there already.
 */
export function saveIdentities(directory: string, identities: ReadonlyMap<string, TlsIdentity>, rootPem: string): void {
  for (const id of identities.keys()) {
    if (parseDeviceId(id) === undefined)
      throw new Problem('config_invalid', { reason: `expected ids of ${NAME_RULE}` });
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const [id, { keyPem, certificatePem, issuersPem = '' }] of identities) {
    const place = join(directory, id);
    makeNew(place, id);
    const write = (name: string, text: string, mode: number) =>
      writeFileSync(join(place, name), text, { mode, flag: 'wx' });
    write('key.pem', keyPem, 0o600);
    write('cert.pem', certificatePem + issuersPem, 0o644);
    write('ca.pem', rootPem, 0o644);
  }
}

function makeNew(place: string, id: string): void {
  try {
    mkdirSync(place, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new Problem('config_invalid', {
      reason: `expected no identity of ${id} in the directory of --keep, found one`,
      hint: 'keep identities in a new directory',
    });
  }
}

export interface SavedIdentities {
  readonly identities: ReadonlyMap<string, TlsIdentity>;
  readonly rootPem: string;
}

export function loadIdentities(directory: string): SavedIdentities {
  const identities = new Map<string, TlsIdentity>();
  let rootPem = '';
  const names = existsSync(directory) ? readdirSync(directory).sort() : [];
  for (const id of names) {
    const place = join(directory, id);
    if (parseDeviceId(id) === undefined || !existsSync(join(place, 'cert.pem'))) continue;
    const identity = loadIdentity(place);
    identities.set(id, identity);
    const ca = join(place, 'ca.pem');
    if (rootPem === '' && existsSync(ca)) rootPem = readFileSync(ca, 'utf8');
  }
  if (identities.size > 0) return { identities, rootPem };
  throw new Problem('config_invalid', {
    reason: `expected directories with key.pem, cert.pem and ca.pem in ${directory}, found none`,
    hint: 'rollcall simulate devices --keep DIR --count N writes them',
  });
}

export function loadIdentity(place: string): TlsIdentity {
  const read = (name: string) => readFileSync(join(place, name), 'utf8');
  return identityOf(read('key.pem'), read('cert.pem'));
}

export function loadResult(file: string): RunResult {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    throw new Problem('config_invalid', { reason: `expected a result in JSON at ${file}` });
  }
  const checked = resultSchema.safeParse(value);
  if (checked.success) return checked.data;
  throw new Problem('config_invalid', { reason: `expected a result of "rollcall simulate --result" in ${file}` });
}
