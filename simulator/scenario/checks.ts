/**
 * Checks a scenario whose single values are valid: unknown groups, incidents after the end, two incidents in one, missing
 * recordings. Pure but for the question whether a file exists.
 */

import { parseExpectation } from './expectation.ts';
import type { DeviceGroup, Incident, Model, Scenario } from './schema.ts';

export type Path = readonly (string | number)[];

export interface Flaw {
  readonly path: Path;
  /** `expected ...` */
  readonly message: string;
}

/** What an incident can be, and which other words go with it. */
const ACTIONS = {
  revoke: ['of'],
  cut: ['of', 'for'],
  power: ['of', 'for'],
  clone: ['of'],
  steal: ['of'],
  renew: ['of'],
  outlive: ['of'],
  command: ['of', 'to'],
  network: ['of', 'for'],
  server: ['for'],
  disk: ['for'],
  rotate: [],
  attack: ['count'],
} as const satisfies Partial<Record<keyof Incident, readonly (keyof Incident)[]>>;

export type Action = keyof typeof ACTIONS;

/** Of the SDK's devices in one process. */
const SDK_DEVICES_MAX = 10_000;

export function actionOf(incident: Incident): Action {
  return actionsIn(incident)[0] as Action;
}

function actionsIn(incident: Incident): readonly Action[] {
  return (Object.keys(ACTIONS) as Action[]).filter((action) => incident[action] !== undefined);
}

export function flawsOf(scenario: Scenario, fileExists: (path: string) => boolean): readonly Flaw[] {
  return [
    ...Object.entries(scenario.devices).flatMap(([name, group]) => groupFlaws(group, ['devices', name], fileExists)),
    ...scenario.timeline.flatMap((incident, index) => incidentFlaws(incident, ['timeline', index], scenario)),
    ...scenario.expect.flatMap((text, index) => {
      const read = parseExpectation(text);
      return typeof read === 'string' ? [{ path: ['expect', index], message: read }] : [];
    }),
  ];
}

function groupFlaws(group: DeviceGroup, path: Path, fileExists: (path: string) => boolean): readonly Flaw[] {
  const flaws: Flaw[] = [];
  if (group.kind === 'sdk') {
    if (group.count > SDK_DEVICES_MAX) {
      flaws.push({ path: [...path, 'count'], message: `expected at most ${SDK_DEVICES_MAX} devices of kind sdk` });
    }
    for (const word of ['reads', 'acknowledges'] as const) {
      if (group[word] === 'never') {
        flaws.push({ path: [...path, word], message: 'expected "always": the device SDK reads and acknowledges' });
      }
    }
    if (group.will !== undefined) {
      flaws.push({ path: [...path, 'will'], message: 'expected no "will": the device SDK has none' });
    }
    if (group.keys !== 'own') {
      flaws.push({ path: [...path, 'keys'], message: 'expected "own": the device SDK makes its own keys' });
    }
  }
  const { arrive } = group;
  const streams = new Set<string>();
  group.publish.forEach((stream, index) => {
    const at = [...path, 'publish', index];
    if (streams.has(stream.stream)) {
      flaws.push({ path: [...at, 'stream'], message: 'expected each stream once in a group' });
    }
    streams.add(stream.stream);
    if (stream.model.kind === 'replay' && stream.every !== undefined) {
      flaws.push({ path: [...at, 'every'], message: 'expected no "every": a replay has the times of its recording' });
    }
    if (stream.model.kind !== 'replay' && stream.every === undefined) {
      flaws.push({ path: at, message: 'expected "every", the time from message to message' });
    }
    flaws.push(...modelFlaws(stream.model, [...at, 'model'], fileExists));
  });
  if (group.will !== undefined && streams.has(group.will.stream)) {
    flaws.push({ path: [...path, 'will', 'stream'], message: 'expected a stream that the group does not publish on' });
  }
  if (group.sessionExpiry >= 0xffff_ffff * 1_000) {
    flaws.push({ path: [...path, 'sessionExpiry'], message: 'expected at most 136 years' });
  }
  if (arrive.curve === 'burst' && (group.count / arrive.size) * arrive.every > 7 * 86_400_000) {
    flaws.push({ path: [...path, 'arrive'], message: 'expected all devices to arrive within a week' });
  }
  return flaws;
}

function modelFlaws(model: Model, path: Path, fileExists: (path: string) => boolean): readonly Flaw[] {
  if (model.kind === 'replay') {
    if (!/\.(csv|ndjson)$/.test(model.file)) {
      return [{ path: [...path, 'file'], message: 'expected a recording that ends in .csv or .ndjson' }];
    }
    if (!fileExists(model.file)) return [{ path: [...path, 'file'], message: 'expected a recording that exists' }];
  }
  if (model.kind === 'walk' && model.min !== undefined && model.max !== undefined && model.min >= model.max) {
    return [{ path: [...path, 'max'], message: 'expected a max above the min' }];
  }
  if (model.kind !== 'states') return [];
  const known = Object.keys(model.states);
  const flaws: Flaw[] = [];
  if (!known.includes(model.initial)) {
    flaws.push({ path: [...path, 'initial'], message: `expected one of the states ${known.join(', ')}` });
  }
  for (const [name, state] of Object.entries(model.states)) {
    for (const next of Object.keys(state.next)) {
      if (known.includes(next)) continue;
      flaws.push({
        path: [...path, 'states', name, 'next', next],
        message: `expected one of the states ${known.join(', ')}`,
      });
    }
  }
  return flaws;
}

function incidentFlaws(incident: Incident, path: Path, scenario: Scenario): readonly Flaw[] {
  const found = actionsIn(incident);
  const [action] = found;
  if (action === undefined || found.length > 1) {
    const words = Object.keys(ACTIONS).join(', ');
    return [{ path, message: `expected one incident of ${words}; found ${found.join(' and ') || 'none'}` }];
  }
  const flaws: Flaw[] = [];
  if (incident.at > scenario.duration) {
    flaws.push({
      path: [...path, 'at'],
      message: `expected a time within the duration of ${scenario.duration / 1000} s`,
    });
  } else if (incident.for !== undefined && incident.at + incident.for > scenario.duration) {
    flaws.push({
      path: [...path, 'for'],
      message: `expected it to be over within the duration of ${scenario.duration / 1000} s`,
    });
  }
  const allowed: readonly string[] = ['at', action, ...ACTIONS[action]];
  for (const word of Object.keys(incident)) {
    if (incident[word as keyof Incident] === undefined || allowed.includes(word)) continue;
    flaws.push({ path: [...path, word], message: `expected no "${word}" with "${action}"` });
  }
  if (incident.of !== undefined && !Object.hasOwn(scenario.devices, incident.of)) {
    const groups = Object.keys(scenario.devices).join(', ');
    flaws.push({ path: [...path, 'of'], message: `expected one of the groups ${groups}` });
  }
  if (action === 'disk' && incident.for === undefined) {
    flaws.push({ path, message: 'expected "for", how long the disk is full' });
  }
  return flaws;
}
