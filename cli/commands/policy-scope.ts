/** The scope of a policy as people write it. */

import { NAME_RULE, type PolicyScope, Problem, parseIdentity, QUARANTINE_SCOPE } from '@rollcall/protocol';

/**
 * `default` or `GROUP` is a group of devices; `service/NAME` one service; `service/*` every service without its own;
 * `quarantine/*` every device in quarantine.
 */
export function scopeOf(text: string): PolicyScope {
  const scope = text.includes('/') ? text : `group/${text}`;
  if (scope === 'service/*' || scope === QUARANTINE_SCOPE) return scope;
  const [kind, name] = [scope.slice(0, scope.indexOf('/')), scope.slice(scope.indexOf('/') + 1)];
  if ((kind === 'group' || kind === 'service') && parseIdentity(name) !== undefined) return scope as PolicyScope;
  throw new Problem('usage', {
    reason: `expected a group, service/NAME, service/* or quarantine/*, a name being ${NAME_RULE}`,
  });
}

export function partsOf(scope: PolicyScope): {
  readonly kind: 'group' | 'service' | 'quarantine';
  readonly name: string;
} {
  const slash = scope.indexOf('/');
  return { kind: scope.slice(0, slash) as 'group' | 'service' | 'quarantine', name: scope.slice(slash + 1) };
}
