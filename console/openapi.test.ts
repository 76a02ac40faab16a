import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';
import type { Endpoint } from './api/endpoint.ts';
import { endpoints } from './endpoints.ts';

interface Operation {
  readonly summary: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Record<string, unknown> }> };
  readonly responses: Record<string, { readonly description: string; readonly content: Record<string, unknown> }>;
  readonly security?: readonly unknown[];
}

let fixture: TestConsole;
let paths: Record<string, Record<string, Operation>>;
let document: Record<string, unknown>;
beforeAll(async () => {
  fixture = await openTestConsole();
  document = await fixture.client.describeApi();
  paths = document.paths as typeof paths;
});
afterAll(() => fixture.close());

const all: readonly Endpoint[] = Object.values(endpoints);
const bracketed = (path: string) => path.replace(/:([a-z]+)/g, '{$1}');
const keysOf = (schema: z.ZodType | undefined) =>
  schema === undefined ? [] : Object.keys((z.toJSONSchema(schema, { io: 'input' }).properties ?? {}) as object).sort();

const BY_ROLE = [{ operatorKey: [] }, { session: [] }];
const SECURITY = {
  ...{ viewer: BY_ROLE, operator: BY_ROLE, admin: BY_ROLE },
  session: [{ session: [] }],
  metrics: [...BY_ROLE, { metricsKey: [] }],
  ...{ anyone: [], probe: [] },
};

describe('the OpenAPI document', () => {
  it('is of version 3.1 and describes how operators authenticate', () => {
    const bearer = { type: 'http', scheme: 'bearer' };
    expect(document).toMatchObject({
      openapi: '3.1.0',
      info: { title: 'Rollcall console', version: '1.2.3' },
      components: {
        securitySchemes: { operatorKey: bearer, metricsKey: bearer, session: { type: 'apiKey', in: 'cookie' } },
      },
      security: BY_ROLE,
    });
  });

  it('contains every route that is served and no other', () => {
    const documented = Object.entries(paths).flatMap(([path, item]) => Object.keys(item).map((m) => `${m} ${path}`));
    const served = all.map(({ method, path }) => `${method.toLowerCase()} ${bracketed(path)}`);
    expect(documented.sort()).toEqual(served.sort());
  });

  it.each(all.map((endpoint) => [`${endpoint.method} ${endpoint.path}`, endpoint] as const))(
    'agrees with the route %s',
    (_, endpoint) => {
      const operation = paths[bracketed(endpoint.path)]?.[endpoint.method.toLowerCase()] as Operation;
      expect(operation.summary).toBe(endpoint.summary);
      const named = (place: string) => (operation.parameters ?? []).filter((p) => p.in === place).map((p) => p.name);
      expect(named('query').sort()).toEqual(keysOf(endpoint.query));
      expect(named('path').sort()).toEqual(keysOf(endpoint.params));
      expect(named('path')).toEqual([...endpoint.path.matchAll(/:([a-z]+)/g)].map((match) => match[1]));
      const body = operation.requestBody?.content['application/json']?.schema;
      expect(Object.keys((body?.properties ?? {}) as object).sort()).toEqual(keysOf(endpoint.body));
      if (body !== undefined) expect(body.additionalProperties).toBe(false);
      expect(Object.keys(operation.responses['200']?.content ?? {})).toEqual([
        endpoint.mediaType ?? 'application/json',
      ]);
      expect(Object.keys(operation.responses.default?.content ?? {})).toEqual(['application/problem+json']);
      expect(operation.security).toEqual(SECURITY[endpoint.access]);
    },
  );

  it('contains no dangling reference and no schema of another dialect', () => {
    const text = JSON.stringify(document);
    for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)) {
      expect((document.components as { schemas: object }).schemas).toHaveProperty([name as string]);
    }
    expect(text).not.toMatch(/"nullable"|"\$schema"|__SCHEMA__/);
  });
});
