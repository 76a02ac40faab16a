/** Whether a policy document can be applied, and what keeps it from that. */

import {
  filterCovers,
  isServerTopic,
  isShared,
  isTopicFilter,
  type PolicyDocument,
  Problem,
  type TopicLimits,
  TRUST_BUNDLE_TOPIC,
} from '@rollcall/protocol';
import { FLEET_EVENTS, LABEL_VARIABLE, type PolicyVerb, VARIABLE } from './acl.ts';

const VERBS: readonly PolicyVerb[] = ['connect', 'publish', 'subscribe', 'receive', 'retain'];
const RULES_MAX = 100;
const DEFAULT_TOPIC_LIMITS: TopicLimits = { maxBytes: 256, maxLevels: 16 };

/** What keeps a policy from being applied. */
export interface PolicyFault {
  readonly verb: PolicyVerb;
  /** Of the entry in its list; undefined for the list itself. */
  readonly index: number | undefined;
  readonly template: string | undefined;
  /** What was expected. */
  readonly fault: string;
}

/** Throws Problem `policy_invalid` that names the first template which cannot be applied. */
export function checkPolicy(document: PolicyDocument, limits: TopicLimits = DEFAULT_TOPIC_LIMITS): void {
  for (const { verb, template, fault } of policyFaults(document, limits)) {
    const where = template === undefined ? verb : `${verb} entry ${JSON.stringify(template.slice(0, 100))}`;
    throw new Problem('policy_invalid', { detail: `the policy is not one that can be applied: ${where}: ${fault}` });
  }
}

/** In the order of the lists and of their entries. */
export function* policyFaults(
  document: PolicyDocument,
  limits: TopicLimits = DEFAULT_TOPIC_LIMITS,
): Generator<PolicyFault, void, undefined> {
  for (const verb of VERBS) {
    const templates: unknown = document[verb];
    const ofList = (fault: string): PolicyFault => ({ verb, index: undefined, template: undefined, fault });
    if (!Array.isArray(templates)) {
      yield ofList('expected a list');
      continue;
    }
    if (templates.length > RULES_MAX) yield ofList(`expected at most ${RULES_MAX} entries`);
    for (const [index, template] of templates.entries()) {
      const fault = templateFault(verb, template, limits);
      if (fault !== undefined) yield { verb, index, template: String(template), fault };
    }
  }
}

function templateFault(verb: PolicyVerb, template: unknown, limits: TopicLimits): string | undefined {
  if (typeof template !== 'string') return 'expected text';
  return verb === 'connect' ? clientIdFault(template) : filterFault(verb, template, limits);
}

function filterFault(verb: PolicyVerb, template: string, limits: TopicLimits): string | undefined {
  const unknown = unknownVariable(template);
  if (unknown !== undefined) return unknown;
  const sample = template.replace(VARIABLE, 'x');
  if (!isTopicFilter(sample, limits)) {
    return `expected a topic filter of at most ${limits.maxLevels} levels and ${limits.maxBytes} bytes`;
  }
  if (isShared(sample)) {
    return 'expected the filter without $share/GROUP/ in front: the rule for a filter is also the rule for its shared subscriptions';
  }
  if (/[^/]\$\{|\}[^/]/.test(template)) return 'expected each variable to fill a level alone';
  const isWritten = verb === 'publish' || verb === 'retain';
  if (isWritten && isServerTopic(sample)) return 'topics of $ and devices/+/server are written by the server alone';
  if (isWritten || !sample.startsWith('$')) return undefined;
  return filterCovers(FLEET_EVENTS, sample) || sample === TRUST_BUNDLE_TOPIC
    ? undefined
    : 'of the topics that start with $ only $fleet/events and $fleet/trust-bundle can be read';
}

function clientIdFault(template: string): string | undefined {
  const unknown = unknownVariable(template);
  if (unknown !== undefined) return unknown;
  const sample = template.replace(VARIABLE, 'x');
  return /^[A-Za-z0-9._-]{1,64}\*?$|^\*$/.test(sample)
    ? undefined
    : 'expected a client id of A-Z a-z 0-9 . _ -, with at most one * at its end';
}

function unknownVariable(template: string): string | undefined {
  for (const [, name] of template.matchAll(VARIABLE)) {
    const known = name === 'device.id' || name === 'device.group' || name === 'service.name';
    if (!known && !LABEL_VARIABLE.test(name as string)) {
      return 'expected a variable of device.id, device.group, device.labels.NAME, service.name';
    }
  }
  return template.replace(VARIABLE, '').includes('${') ? 'expected } after ${' : undefined;
}
