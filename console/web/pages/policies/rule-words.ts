/** What a rule of a policy allows, in words. */

import type { Verb } from './policy-document.ts';

const KINDS: Readonly<Record<string, string>> = {
  telemetry: 'telemetry',
  events: 'events',
  commands: 'commands',
  responses: 'command responses',
  server: 'server notices',
};

export function ruleInWords(verb: Verb, rule: string): string {
  if (verb === 'connect') return clientIdInWords(rule);
  if (rule === '#') return 'every topic';
  const levels = rule.split('/');
  return deviceTopicInWords(levels) ?? otherTopicInWords(rule, levels) ?? levelsInWords(levels);
}

function clientIdInWords(rule: string): string {
  if (rule === '*') return 'any client id';
  if (rule === '${device.id}') return 'its device id';
  if (rule === '${service.name}') return 'its name';
  if (rule === '${service.name}-*') return 'its name with - and an ending';
  return rule.endsWith('*') ? `ids that begin with ${rule.slice(0, -1)}` : `the id ${rule}`;
}

function deviceTopicInWords([root, device, kind, ...rest]: readonly string[]): string | undefined {
  if (root !== 'devices' || device === undefined) return undefined;
  if (device === '#') return 'everything of every device';
  if (kind === '#') return `everything ${ownerInWords(device)}`;
  if (kind === 'twin') {
    const [state] = rest;
    const noun = state === 'desired' || state === 'reported' ? `${state} state` : 'desired and reported state';
    return possessed(noun, device);
  }
  const noun = kind === undefined ? undefined : KINDS[kind];
  if (noun === undefined) return undefined;
  const named = rest.filter((level) => level !== '+' && level !== '#');
  return `${possessed(noun, device)}${named.length === 0 ? '' : `, ${named.join('/')} alone`}`;
}

function otherTopicInWords(rule: string, [root, group, kind]: readonly string[]): string | undefined {
  if (rule === '$fleet/trust-bundle') return 'the trust bundle';
  if (rule === '$fleet/events/#') return 'events of the fleet';
  if (root !== 'groups' || kind !== 'broadcast') return undefined;
  if (group === '${device.group}') return 'broadcasts to its own group';
  return group === '+' ? 'broadcasts to every group' : `broadcasts to group ${group}`;
}

function possessed(noun: string, device: string): string {
  return device === '${device.id}' ? `its own ${noun}` : `${noun} ${ownerInWords(device)}`;
}

function ownerInWords(device: string): string {
  if (device === '${device.id}') return 'of its own';
  if (device === '+') return 'of every device';
  const label = /^\$\{device\.labels\.(.+)\}$/.exec(device)?.[1];
  return label === undefined ? `of ${device}` : `of the device in its label ${label}`;
}

function levelsInWords(levels: readonly string[]): string {
  const words = levels.map((level) => {
    if (level === '+') return 'any level';
    if (level === '#') return 'anything below';
    const variable = /^\$\{(.+)\}$/.exec(level)?.[1];
    if (variable === undefined) return level;
    const label = /^device\.labels\.(.+)$/.exec(variable)?.[1];
    return label === undefined ? `its ${variable.replace('.', ' ')}` : `its label ${label}`;
  });
  return words.join(' / ');
}
