/** The OpenAPI document of the console: what its schemas do not say, such as who may use a route and how. */

import { createJsonSchemaTransform } from 'fastify-type-provider-zod';
import type { Access, Endpoint } from './api/endpoint.ts';

const SESSION = { type: 'apiKey', in: 'cookie', name: '__Host-rollcall-session' } as const;
const BEARER = { type: 'http', scheme: 'bearer' } as const;
/** Each entry is an alternative. */
const SECURITY = {
  viewer: [{ operatorKey: [] }, { session: [] }],
  operator: [{ operatorKey: [] }, { session: [] }],
  admin: [{ operatorKey: [] }, { session: [] }],
  session: [{ session: [] }],
  metrics: [{ operatorKey: [] }, { session: [] }, { metricsKey: [] }],
  anyone: [],
  probe: [],
} satisfies Readonly<Record<Access, readonly Readonly<Record<string, string[]>>[]>>;

const ETAG_HEADER = { type: 'string', description: 'a strong entity tag (RFC 9110)' };

/** All but the routes. */
export function apiDescription(version: string) {
  return {
    openapi: '3.1.0',
    info: { title: 'Rollcall console', version, description: 'What operators can ask and order.' },
    components: {
      securitySchemes: {
        operatorKey: { ...BEARER, description: 'an API key, or the operator key' },
        session: {
          ...SESSION,
          description: 'an operator who signed in; a change also needs the header x-csrf-token',
        },
        metricsKey: BEARER,
      },
    },
    security: SECURITY.viewer,
  };
}

const describeRoute = createJsonSchemaTransform({});

/** The description of a route, with the response header that its schemas cannot state. */
export const describeTags: typeof describeRoute = (route) => {
  const described = describeRoute(route);
  const { response } = described.schema as {
    readonly response?: Readonly<Record<string, { headers?: Record<string, unknown> }>>;
  };
  const answer = response?.[200];
  if (response?.[304] !== undefined && answer !== undefined) answer.headers = { etag: ETAG_HEADER };
  return described;
};

/** Who may use a route. */
export function accessDescription({ access, recentSignIn }: Endpoint) {
  const needed = neededText(access);
  const sentences = [
    ...(needed === undefined ? [] : [`Needs ${needed}.`]),
    ...(recentSignIn === undefined
      ? []
      : [
          `An operator who signed in needs a recent sign-in${recentSignIn === 'always' ? '' : ` for ${recentSignIn}`}.`,
        ]),
  ];
  return { security: SECURITY[access], ...(sentences.length > 0 && { description: sentences.join(' ') }) };
}

function neededText(access: Access): string | undefined {
  if (access === 'anyone' || access === 'probe') return undefined;
  if (access === 'session') return 'an operator who signed in';
  return access === 'metrics' ? 'the role viewer, or the metrics key' : `the role ${access}`;
}
