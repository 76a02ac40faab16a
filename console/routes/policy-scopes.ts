/** The scopes of policies: which there are, which default applies without a policy of their own, and for whom each decides. */

import {
  DEFAULT_DEVICE_POLICY,
  DEFAULT_DEVICE_SCOPE,
  DEFAULT_SERVICE_POLICY,
  DEFAULT_SERVICE_SCOPE,
  type PolicyDocument,
  type PolicyScope,
  QUARANTINE_POLICY,
  QUARANTINE_SCOPE,
} from '@rollcall/protocol';
import type { Registry } from '../../registry/index.ts';
import type { Answer } from '../api/endpoint.ts';
import type { policyEndpoints } from '../api/policies.ts';
import { isoTime } from '../iso-time.ts';

type ListedPolicy = Answer<typeof policyEndpoints.listPolicies>[number];

const QUARANTINED_COUNTED = 10_000;
const DEFAULT_SCOPES: readonly PolicyScope[] = [DEFAULT_DEVICE_SCOPE, DEFAULT_SERVICE_SCOPE, QUARANTINE_SCOPE];

/** The scope that decides for this one without a policy of its own, and the built-in policy of that scope. */
export function fallbackOf(scope: PolicyScope): readonly [PolicyScope, PolicyDocument] {
  if (scope === QUARANTINE_SCOPE) return [scope, QUARANTINE_POLICY];
  if (scope.startsWith('group/')) return [DEFAULT_DEVICE_SCOPE, DEFAULT_DEVICE_POLICY];
  return [DEFAULT_SERVICE_SCOPE, DEFAULT_SERVICE_POLICY];
}

/** Scopes with a policy, the defaults, and groups and services that use one, in the order of their texts. */
export async function listScopes(registry: Registry): Promise<readonly ListedPolicy[]> {
  const [policies, members] = await Promise.all([registry.listPolicies(), readMembers(registry)]);
  const own = new Map(policies.map((policy) => [policy.scope, policy]));
  const scopes = [...new Set([...DEFAULT_SCOPES, ...own.keys(), ...members.scopes()])].sort();
  return scopes.map((scope) => {
    const [fallback, builtIn] = fallbackOf(scope);
    const found = own.get(scope);
    const decides = found ?? own.get(fallback);
    return {
      scope,
      isDefault: found === undefined,
      decidedBy: decides?.scope ?? 'built-in',
      rules: countRules(decides?.document ?? builtIn),
      members: members.of(scope, own),
      ...(found !== undefined && { setAt: isoTime(found.setAt), setBy: found.setBy }),
    };
  });
}

/** Devices or services that a policy of this scope decides for, or would. */
export async function countMembers(registry: Registry, scope: PolicyScope): Promise<number> {
  const own = new Set((await registry.listPolicies()).map((policy) => policy.scope));
  return (await readMembers(registry)).of(scope, own);
}

interface Members {
  scopes(): readonly PolicyScope[];
  of(scope: PolicyScope, own: { has(scope: PolicyScope): boolean }): number;
}

async function readMembers(registry: Registry): Promise<Members> {
  const [groups, services, { quarantined }] = await Promise.all([
    registry.countGroups(),
    registry.listServices(),
    registry.countDevices(QUARANTINED_COUNTED),
  ]);
  const counts = new Map<PolicyScope, number>([
    ...groups.map(({ group, devices }) => [`group/${group}`, devices] as const),
    ...services.filter(({ status }) => status === 'active').map(({ name }) => [`service/${name}`, 1] as const),
  ]);
  const sumWithoutOwn = (kind: 'group/' | 'service/', except: PolicyScope, own: { has(scope: PolicyScope): boolean }) =>
    [...counts].reduce((sum, [scope, count]) => {
      const isDecided = scope.startsWith(kind) && (scope === except || !own.has(scope));
      return isDecided ? sum + count : sum;
    }, 0);
  return {
    scopes: () => [...counts.keys()],
    of: (scope, own) => {
      if (scope === QUARANTINE_SCOPE) return quarantined;
      if (scope === DEFAULT_DEVICE_SCOPE) return sumWithoutOwn('group/', scope, own);
      if (scope === DEFAULT_SERVICE_SCOPE) return sumWithoutOwn('service/', scope, own);
      return counts.get(scope) ?? 0;
    },
  };
}

function countRules({ connect, publish, subscribe, receive, retain }: PolicyDocument): ListedPolicy['rules'] {
  return {
    connect: connect.length,
    publish: publish.length,
    subscribe: subscribe.length,
    receive: receive.length,
    retain: retain.length,
  };
}
