/** Policies: listed, shown with their origin, set, removed, restored, tried out, explained. */

import type { PolicyDocument, PolicyScope } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { Registry } from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import type { Answer } from '../api/endpoint.ts';
import { policyEndpoints as endpoints } from '../api/policies.ts';
import { isoTime } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import { countMembers, fallbackOf, listScopes } from './policy-scopes.ts';
import type { RoutesOptions } from './routes.ts';

type PolicyView = Answer<(typeof endpoints)['showPolicy']>;

export function addPolicyRoutes(app: FastifyInstance, { registry, controls }: RoutesOptions): void {
  addEndpoint(app, endpoints.listPolicies, async ({ query: { after = '', limit }, reply }) => {
    const later = (await listScopes(registry)).filter(({ scope }) => scope > after);
    return pageOf(reply, later, { limit, view: (listed) => listed, cursor: ({ scope }) => ({ after: scope }) });
  });
  addEndpoint(app, endpoints.showPolicy, ({ params }) => effectivePolicy(registry, scopeOf(params)));
  addEndpoint(app, endpoints.setPolicy, async ({ params, body, actor, expectMatch }) => {
    const scope = scopeOf(params);
    controls.checkPolicy(body);
    await registry.setPolicy(scope, body, actor, await conditionOf(registry, scope, expectMatch));
    return effectivePolicy(registry, scope);
  });
  addEndpoint(app, endpoints.removePolicy, async ({ params, actor, expectMatch }) => {
    const scope = scopeOf(params);
    await registry.removePolicy(scope, actor, await conditionOf(registry, scope, expectMatch));
    return effectivePolicy(registry, scope);
  });
  addEndpoint(app, endpoints.restorePolicy, async ({ params, body: { version }, actor, expectMatch }) => {
    const scope = scopeOf(params);
    const document = await registry.findPolicyVersion(scope, version);
    // What could be applied once may be refused today.
    if (document !== undefined) controls.checkPolicy(document);
    await registry.restorePolicy(scope, version, actor, await conditionOf(registry, scope, expectMatch));
    return effectivePolicy(registry, scope);
  });
  addEndpoint(app, endpoints.listPolicyVersions, async ({ params, query: { before, limit }, reply }) => {
    const found = await registry.listPolicyVersions(scopeOf(params), {
      limit,
      ...(before !== undefined && { before }),
    });
    return pageOf(reply, found, {
      limit,
      view: ({ value, at, restores, ...version }) => ({
        ...version,
        at: isoTime(at),
        ...(value !== undefined && { policy: lists(value) }),
        ...(restores !== undefined && { restores }),
      }),
      cursor: ({ version }) => ({ before: version }),
    });
  });
  addEndpoint(app, endpoints.checkPolicy, ({ body }) => ({
    faults: controls.policyFaults(body).map(({ verb, index, fault }) => ({ verb, index, fault })),
  }));
  addEndpoint(app, endpoints.previewPolicy, async ({ params, body }) => {
    const scope = scopeOf(params);
    const policy = body.policy ?? (await fallbackPolicy(registry, scope)).policy;
    controls.checkPolicy(policy);
    const { lost, unanswered, ...counts } = await controls.previewPolicy(scope, policy);
    return {
      members: await countMembers(registry, scope),
      ...counts,
      lost: lost.map(({ clientId, filter }) => ({ client: clientId, ...(filter !== undefined && { filter }) })),
      unanswered: [...unanswered],
    };
  });
  addEndpoint(app, endpoints.explainPolicy, ({ body }) => controls.explain(body.identity, body.verb, body.topic));
}

/** The schema of the parameters ensures the form. */
function scopeOf({ kind, name }: { readonly kind: string; readonly name: string }): PolicyScope {
  return `${kind}/${name}` as PolicyScope;
}

/** Compares `If-Match` with what GET answers for the scope. */
async function conditionOf(
  registry: Registry,
  scope: PolicyScope,
  expectMatch: (current: unknown) => void,
): Promise<(current: PolicyDocument | undefined) => void> {
  const inherited = await fallbackPolicy(registry, scope);
  return (current) => expectMatch(viewPolicy(scope, current, inherited));
}

/** The first policy that is set: of the scope, else of its fallback scope, else the built-in one. */
export async function effectivePolicy(registry: Registry, scope: PolicyScope): Promise<PolicyView> {
  return viewPolicy(scope, await registry.findPolicy(scope), await fallbackPolicy(registry, scope));
}

interface InheritedPolicy {
  readonly decidedBy: PolicyScope | 'built-in';
  readonly policy: PolicyDocument;
}

/** What applies where nothing is set for the scope. */
async function fallbackPolicy(registry: Registry, scope: PolicyScope): Promise<InheritedPolicy> {
  const [decidedBy, builtIn] = fallbackOf(scope);
  const policy = decidedBy === scope ? undefined : await registry.findPolicy(decidedBy);
  return policy === undefined ? { decidedBy: 'built-in', policy: builtIn } : { decidedBy, policy };
}

function viewPolicy(scope: PolicyScope, own: PolicyDocument | undefined, inherited: InheritedPolicy): PolicyView {
  if (own !== undefined) return { scope, isDefault: false, decidedBy: scope, policy: lists(own) };
  return { scope, isDefault: true, decidedBy: inherited.decidedBy, policy: lists(inherited.policy) };
}

function lists(
  policy: Readonly<Record<'connect' | 'publish' | 'subscribe' | 'receive' | 'retain', readonly string[]>>,
) {
  const { connect, publish, subscribe, receive, retain } = policy;
  return {
    connect: [...connect],
    publish: [...publish],
    subscribe: [...subscribe],
    receive: [...receive],
    retain: [...retain],
  };
}
