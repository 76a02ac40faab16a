/** Every route of the real console, called with each role and with none, against the table in docs/operators.md. */

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OPERATOR_ROLES, type OperatorRole } from '../registry/index.ts';
import { openTestConsole, sendAndWaitForHead, type TestConsole } from '../test/fixtures/console/test-console.ts';
import type { Endpoint } from './api/endpoint.ts';
import { formatApiKey } from './api-key.ts';
import { endpoints } from './endpoints.ts';

const all: readonly Endpoint[] = Object.values(endpoints);
const nameOf = ({ method, path }: Endpoint) => `${method} ${path}`;

let fixture: TestConsole;
const keys = new Map<OperatorRole, string>();
beforeAll(async () => {
  fixture = await openTestConsole();
  for (const role of OPERATOR_ROLES) {
    await fixture.registry.addOperator({ name: `a-${role}`, role: 'admin' }, 'operator/test');
    const order = { operator: `a-${role}`, role, ttlSeconds: 365 * 86_400 };
    const { record, secret } = await fixture.registry.createOperatorKey(order, 'operator/test');
    keys.set(role, formatApiKey({ id: record.id, secret }));
  }
});
afterAll(() => fixture.close());

async function statusOf({ method, path }: Endpoint, key: string | undefined): Promise<number> {
  fixture.clock.now += 3_600_000; // refusals that were counted against this address are forgotten
  const response = await sendAndWaitForHead(fixture, {
    listener: 'tcp',
    method,
    path: path.replace(/:[a-z]+/g, 'x'),
    headers:
      key === undefined ? { host: 'localhost', origin: 'https://localhost' } : { authorization: `Bearer ${key}` },
    ...(method !== 'GET' && method !== 'DELETE' && { body: '{}' }),
  });
  response.on('error', () => {}).destroy(); // some answers do not end
  return response.statusCode as number;
}

describe('a role', () => {
  it.each(all.map((endpoint) => [nameOf(endpoint), endpoint] as const))('decides on %s', async (_, endpoint) => {
    const { access } = endpoint;
    if (access === 'anyone' || access === 'probe') {
      // A change needs the Origin of a page of this console, and then a body. This console has no identity provider, and the client no
      // certificate.
      const answered = endpoint.path.includes('/oidc') ? [404] : [200];
      const changed = endpoint.path.endsWith('/certificate') ? [401] : [200, 400];
      expect(endpoint.method === 'GET' ? answered : changed).toContain(await statusOf(endpoint, undefined));
      return;
    }
    expect(await statusOf(endpoint, undefined)).toBe(401);
    if (access === 'session') {
      for (const role of OPERATOR_ROLES) expect(await statusOf(endpoint, keys.get(role))).toBe(403);
      return;
    }
    for (const role of OPERATOR_ROLES) {
      const status = await statusOf(endpoint, keys.get(role));
      const needed = access === 'metrics' ? 'viewer' : access;
      const isAllowed = OPERATOR_ROLES.indexOf(role) >= OPERATOR_ROLES.indexOf(needed);
      expect([role, status === 403]).toEqual([role, !isAllowed]);
      expect(status).not.toBe(401);
    }
  });

  it('is declared by every route as docs/operators.md states it, and the page has no other routes', () => {
    const page = readFileSync(new URL('../docs/operators.md', import.meta.url), 'utf8');
    const stated = [...page.matchAll(/^\| `([A-Z]+ \/\S*)` \|.*\| (\S+) \|$/gm)].map(([, route, role]) => [
      route,
      role,
    ]);
    expect(stated.sort()).toEqual(all.map((endpoint) => [nameOf(endpoint), endpoint.access]).sort());
  });

  it('is stated there together with what needs a recent sign-in', () => {
    const page = readFileSync(new URL('../docs/operators.md', import.meta.url), 'utf8');
    const stated = [
      ...page.matchAll(/^\| `([A-Z]+ \/\S*)` \|.*; \*recent sign-in( for several devices)?\* \| \S+ \|$/gm),
    ];
    const declared = all.flatMap(({ recentSignIn, ...endpoint }) =>
      recentSignIn === undefined ? [] : [[nameOf(endpoint), recentSignIn] as const],
    );
    const found = stated.map(([, route, several]) => [route, several === undefined ? 'always' : 'several devices']);
    expect(found.sort()).toEqual(declared.sort());
  });

  it('is in the description of each route in the OpenAPI document', async () => {
    const { paths } = (await fixture.client.describeApi()) as { paths: Record<string, Record<string, object>> };
    expect(paths['/v1/ca/prepare']?.post).toMatchObject({
      description: expect.stringContaining('Needs the role admin.'),
    });
    expect(paths['/livez']?.get).toMatchObject({ security: [] });
  });
});
