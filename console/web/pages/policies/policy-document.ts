/** Policies as the pages handle them: their lists, their scopes, and what differs between two of them. */

import type { AnswerOf } from '../../api.ts';

export type EffectivePolicy = AnswerOf<'GET /v1/policies/:kind/:name'>;
export type Policy = EffectivePolicy['policy'];
export type Verb = keyof Policy;

export const VERBS = {
  connect: ['Connect', 'Client ids it may connect with'],
  publish: ['Publish', 'Topics it may publish to'],
  subscribe: ['Subscribe', 'Filters it may subscribe to; what it gets is decided by Receive'],
  receive: ['Receive', 'Topics that may be delivered to it, checked at each delivery'],
  retain: ['Retain', 'Topics that it may publish with the retain flag; it needs Publish as well'],
} as const satisfies Readonly<Record<Verb, readonly [title: string, meaning: string]>>;

export const VERB_NAMES = Object.keys(VERBS) as readonly Verb[];

export interface Scope {
  readonly kind: 'group' | 'service' | 'quarantine';
  readonly name: string;
}

export function parseScope(scope: string): Scope {
  const slash = scope.indexOf('/');
  return { kind: scope.slice(0, slash) as Scope['kind'], name: scope.slice(slash + 1) };
}

/** `group press`, `every service without a policy of its own`. */
export function scopeInWords({ kind, name }: Scope): string {
  if (kind === 'quarantine') return 'devices in quarantine';
  if (name === '*') return 'services without a policy of their own';
  if (kind === 'group' && name === 'default') return 'group default, and groups without a policy of their own';
  return `${kind} ${name}`;
}

export function policyPath({ kind, name }: Scope): string {
  return `/policies/${kind}/${encodeURIComponent(name)}`;
}

export interface VerbChange {
  readonly verb: Verb;
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** Lists that differ. The order of rules has no meaning. */
export function changesBetween(before: Policy, after: Policy): readonly VerbChange[] {
  return VERB_NAMES.map((verb) => ({
    verb,
    added: after[verb].filter((rule) => !before[verb].includes(rule)),
    removed: before[verb].filter((rule) => !after[verb].includes(rule)),
  })).filter(({ added, removed }) => added.length + removed.length > 0);
}
