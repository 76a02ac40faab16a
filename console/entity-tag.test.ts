import type { DeviceId, GroupName } from '@rollcall/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openTestConsole, type RawRequest, send, type TestConsole } from '../test/fixtures/console/test-console.ts';
import type { Endpoint } from './api/endpoint.ts';
import { endpoints } from './endpoints.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
  await fixture.enroll('dev-1');
});
afterAll(() => fixture.close());

/** What has an entity tag: its path, two changes, and what of the answer they change. */
const TAGGED = [
  {
    path: '/v1/groups/pumps/profile',
    method: 'PUT',
    changes: [{ lifetimeSeconds: 7200 }, { lifetimeSeconds: 3600, keys: ['P-384', 'P-256'] }],
    restore: () => fixture.registry.setProfile('pumps' as GroupName, {}, 'operator/test'),
  },
  {
    path: '/v1/policies/group/pumps',
    method: 'PUT',
    changes: [{ publish: ['devices/{id}/telemetry/a'] }, { publish: ['devices/{id}/telemetry/b'] }],
    restore: () => fixture.client.setPolicy({ kind: 'group', name: 'pumps' }),
  },
  {
    path: '/v1/devices/dev-1/settings',
    method: 'PATCH',
    changes: [{ labels: { site: 'south' } }, { group: 'valves' }],
    restore: () =>
      fixture.registry.setDevice(
        'dev-1' as DeviceId,
        { group: 'default' as GroupName, labels: { site: 'north' } },
        'operator/test',
      ),
  },
] as const;

/** What else changes something of the table. */
const OTHER_CHANGES = [
  { method: 'DELETE', path: '/v1/policies/group/pumps' },
  { method: 'POST', path: '/v1/policies/group/pumps/restore', body: (version: number) => ({ version }) },
] as const;

const get = (path: string, headers: RawRequest['headers'] = {}) => send(fixture, { path, headers });

describe.each(TAGGED)('the entity tag of $path', ({ path, method, changes, restore }) => {
  beforeEach(() => restore());
  const change = (index: 0 | 1, headers: RawRequest['headers'] = {}, listener: RawRequest['listener'] = 'unix') => {
    const key = listener === 'tcp' ? { authorization: `Bearer ${fixture.operatorKey}` } : {};
    return send(fixture, {
      listener,
      method,
      path,
      headers: { ...headers, ...key },
      body: JSON.stringify(changes[index]),
    });
  };
  const tagNow = async () => (await get(path)).headers.etag as string;

  it('is strong, stays while nothing changes, and is another after a change', async () => {
    const before = await tagNow();
    expect(before).toMatch(/^"[A-Za-z0-9_-]{43}"$/);
    expect(await tagNow()).toBe(before);
    expect((await change(0)).status).toBe(200);
    expect(await tagNow()).not.toBe(before);
  });

  it.each(['unix', 'tcp'] as const)(
    'allows the first of two changes over %s, and refuses the stale one',
    async (listener) => {
      const tag = await tagNow();
      expect((await change(0, { 'if-match': `"other", ${tag}` }, listener)).status).toBe(200);
      const after = await get(path);
      const stale = await change(1, { 'if-match': tag }, listener);
      expect([stale.status, stale.json.code]).toEqual([412, 'precondition_failed']);
      expect(await get(path)).toMatchObject({ text: after.text });
    },
  );

  it('is compared in the transaction of the change: one of several at once succeeds', async () => {
    const tag = await tagNow();
    const answers = await Promise.all(([0, 1, 0, 1] as const).map((index) => change(index, { 'if-match': tag })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412, 412, 412]);
  });

  it('is not needed: a change without If-Match, or with *, is made', async () => {
    expect((await change(0)).status).toBe(200);
    expect((await change(1, { 'if-match': '*' })).status).toBe(200);
  });

  it('saves the body of what the client has', async () => {
    const tag = await tagNow();
    for (const known of [tag, `"other", W/${tag}`, '*']) {
      const answer = await get(path, { 'if-none-match': known });
      expect([answer.status, answer.text, answer.headers.etag]).toEqual([304, '', tag]);
    }
    expect((await get(path, { 'if-none-match': '"other"' })).status).toBe(200);
    await change(0);
    expect((await get(path, { 'if-none-match': tag })).status).toBe(200);
  });

  it('is not weak, not part of a tag, and not without quotes', async () => {
    const tag = await tagNow();
    expect((await change(0, { 'if-match': `W/${tag}` })).status).toBe(412);
    expect((await change(0, { 'if-match': '""' })).status).toBe(412);
    for (const malformed of [tag.slice(1), tag.slice(0, -1), `${tag} ${tag}`, '*, "a"', ',', `"${'a'.repeat(2000)}"`]) {
      expect((await change(0, { 'if-match': malformed })).json).toMatchObject({ code: 'request_invalid' });
    }
    expect(await tagNow()).toBe(tag);
  });

  it('is no condition of another kind: If-None-Match refuses a change', async () => {
    expect((await change(0, { 'if-none-match': '*' })).status).toBe(412);
  });
});

describe('If-Match', () => {
  it.each(OTHER_CHANGES)('decides on $method $path as well', async ({ method, path, ...rest }) => {
    const { client } = fixture;
    await client.setPolicy({ kind: 'group', name: 'pumps', publish: ['devices/{id}/telemetry/a'] });
    const [first] = await client.listPolicyVersions({ kind: 'group', name: 'pumps' });
    await client.setPolicy({ kind: 'group', name: 'pumps' });
    const before = await get('/v1/policies/group/pumps');
    const body = 'body' in rest ? JSON.stringify(rest.body(first?.version ?? 0)) : undefined;
    const change = (tag: string) =>
      send(fixture, { method, path, headers: { 'if-match': tag }, ...(body !== undefined && { body }) });
    expect((await change('"other"')).json).toMatchObject({ code: 'precondition_failed' });
    expect((await get('/v1/policies/group/pumps')).text).toBe(before.text);
    expect((await change(before.headers.etag as string)).status).toBe(200);
    expect((await get('/v1/policies/group/pumps')).text).not.toBe(before.text);
  });

  it('refuses a change of what has no entity tag, which it cannot check', async () => {
    const body = JSON.stringify({ labels: { site: 'east' } });
    const request = { method: 'PATCH', path: '/v1/devices/dev-1', headers: { 'if-match': '"a"' }, body };
    expect((await send(fixture, request)).json).toMatchObject({ code: 'precondition_failed' });
    expect((await fixture.registry.findDevice('dev-1' as DeviceId))?.labels.site).not.toBe('east');
  });

  it('is tested here for every endpoint that has a tag, and is in the OpenAPI document', async () => {
    const tagged = Object.values<Endpoint>(endpoints).filter(({ isTagged }) => isTagged);
    const matches = (path: string) => new RegExp(`^${path.replace(/:[a-z]+/g, '[^/]+')}$`);
    for (const { path } of tagged)
      expect(
        TAGGED.some((tested) => matches(path.replace(/\/restore$/, '')).test(tested.path)),
        path,
      ).toBe(true);
    expect(tagged).toHaveLength(2 * TAGGED.length + OTHER_CHANGES.length);
    // biome-ignore lint/suspicious/noExplicitAny: a document of any shape
    const { paths } = (await fixture.client.describeApi()) as any;
    for (const { path, method } of tagged) {
      const { parameters, responses } = paths[path.replace(/:([a-z]+)/g, '{$1}')][method.toLowerCase()];
      const name = method === 'GET' ? 'if-none-match' : 'if-match';
      expect(parameters).toContainEqual(expect.objectContaining({ in: 'header', name }));
      expect(Object.keys(responses)).toEqual(method === 'GET' ? ['200', '304', 'default'] : ['200', 'default']);
      if (method === 'GET') expect(responses[200].headers.etag).toMatchObject({ schema: { type: 'string' } });
    }
  });
});
