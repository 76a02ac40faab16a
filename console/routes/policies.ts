/** Policies: shown with their origin, set, explained. */

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
import type { FastifyInstance } from 'fastify';
import type { Registry } from '../../registry/index.ts';
import type { Answer } from '../api/endpoint.ts';
import { policyEndpoints as endpoints } from '../api/policies.ts';
import { addEndpoint } from '../application.ts';
import type { RoutesOptions } from './routes.ts';

type PolicyView = Answer<(typeof endpoints)['showPolicy']>;

export function addPolicyRoutes(app: FastifyInstance, { registry, controls }: RoutesOptions): void {
  addEndpoint(app, endpoints.showPolicy, ({ params }) =>
    effectivePolicy(registry, `${params.kind}/${params.name}` as PolicyScope),
  );
  addEndpoint(app, endpoints.setPolicy, async ({ params, body, actor, expectMatch }) => {
    const scope = `${params.kind}/${params.name}` as PolicyScope; // the schema of the parameters ensures it
    controls.checkPolicy(body);
    const inherited = await fallbackPolicy(registry, scope);
    await registry.setPolicy(scope, body, actor, (current) => expectMatch(viewPolicy(scope, current, inherited)));
    return effectivePolicy(registry, scope);
  });
  addEndpoint(app, endpoints.explainPolicy, ({ body }) => controls.explain(body.identity, body.verb, body.topic));
}

/** The first policy that is set: of the scope, else of its fallback scope, else the built-in one. */
async function effectivePolicy(registry: Registry, scope: PolicyScope): Promise<PolicyView> {
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

function fallbackOf(scope: PolicyScope): readonly [PolicyScope, PolicyDocument] {
  if (scope === QUARANTINE_SCOPE) return [scope, QUARANTINE_POLICY];
  if (scope.startsWith('group/')) return [DEFAULT_DEVICE_SCOPE, DEFAULT_DEVICE_POLICY];
  return [DEFAULT_SERVICE_SCOPE, DEFAULT_SERVICE_POLICY];
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
