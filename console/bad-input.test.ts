import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTestConsole, type RawRequest, send, type TestConsole } from '../test/fixtures/console/test-console.ts';
import { exceedsDepth, viewPayload } from './untrusted-json.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
});
afterAll(() => fixture.close());

const post = (path: string, body: unknown) =>
  send(fixture, { method: 'POST', path, body: typeof body === 'string' ? body : JSON.stringify(body) });

describe('a request of another shape', () => {
  it.each<[string, RawRequest, string]>([
    [
      'an unknown key',
      { method: 'POST', path: '/v1/tokens', body: '{"uses":1,"colour":2}' },
      'body: unknown key colour',
    ],
    ['an unknown query', { path: '/v1/devices?colour=2' }, 'query: unknown key colour'],
    ['an unknown query where none is', { path: '/v1/tokens?x=1' }, 'query: unknown key x'],
    ['a key of the prototype in a query', { path: '/v1/devices?__proto__=1' }, 'query: unknown key __proto__'],
    [
      'a key that is HTML',
      { method: 'POST', path: '/v1/tokens', body: '{"<script>":1}' },
      'body: unknown key (a key that is not shown)',
    ],
    [
      'a wrong type',
      { method: 'POST', path: '/v1/tokens', body: '{"uses":"1"}' },
      'body.uses: expected a number, found a string',
    ],
    [
      'a fraction',
      { method: 'POST', path: '/v1/tokens', body: '{"uses":1.5}' },
      'body.uses: expected a whole number, found a number that is not whole',
    ],
    ['too little', { method: 'POST', path: '/v1/tokens', body: '{"uses":0}' }, 'body.uses: expected at least 1'],
    [
      'too much',
      { method: 'POST', path: '/v1/tokens', body: '{"ttlSeconds":2592001}' },
      'body.ttlSeconds: expected at most 2592000',
    ],
    [
      'a body that is a list',
      { method: 'POST', path: '/v1/tokens', body: '[]' },
      'body: expected an object, found an array',
    ],
    ['no body', { method: 'POST', path: '/v1/devices/revoke' }, 'body: expected an object, found nothing'],
    [
      'a body where none is',
      { method: 'POST', path: '/v1/tokens/0123456789abcdef/void', body: '{"x":1}' },
      'body: unknown key x',
    ],
    [
      'an unknown reason',
      { method: 'POST', path: '/v1/services/x/revoke', body: '{"reason":"bored"}' },
      'body.reason: expected one of unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn',
    ],
    [
      'no ids',
      { method: 'POST', path: '/v1/devices/revoke', body: '{"ids":[],"reason":"unspecified"}' },
      'body.ids: expected at least 1 entries',
    ],
    ['a limit of 0', { path: '/v1/audit?limit=0' }, 'query.limit: expected at least 1'],
    [
      'a limit that is no number',
      { path: '/v1/audit?limit=many' },
      'query.limit: expected a number, found something else',
    ],
    ['two limits', { path: '/v1/audit?limit=1&limit=2' }, 'query.limit: expected a number, found something else'],
    [
      'a time that is none',
      { path: '/v1/telemetry?device=a&since=yesterday' },
      'query.since: expected an ISO 8601 time such as 2026-11-22T12:00:00Z',
    ],
    [
      'a policy kind that is none',
      { path: '/v1/policies/fleet/x' },
      'params.kind: expected one of group, service, quarantine',
    ],
    [
      'a group of every name',
      { path: '/v1/policies/group/*' },
      'params.name: expected group/NAME, service/NAME, service/* or quarantine/*, a name being one to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit',
    ],
  ])('is refused with its place: %s', async (_, request, detail) => {
    const answer = await send(fixture, request);
    expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8');
    expect(answer.json).toMatchObject({ status: 400, code: 'request_invalid', detail });
    expect(answer.status).toBe(400);
  });

  it.each([
    '<script>alert(1)</script>',
    '__proto__',
    '..%2f..%2fetc%2fpasswd',
    'a%00b',
    'a%20b',
    'd%C3%A9v',
    '+',
    '%23',
    'a%2Fb',
    'x'.repeat(65),
  ])('is refused without repeating it: device id %s', async (id) => {
    const answer = await send(fixture, { path: `/v1/devices/${id.startsWith('<') ? encodeURIComponent(id) : id}` });
    expect(answer.json).toMatchObject({
      code: 'request_invalid',
      detail: expect.stringMatching(/^params\.id: expected/),
    });
    expect(answer.text).not.toMatch(/script|passwd|__proto__|xxx/);
    const listed = await post('/v1/devices/revoke', { ids: ['dev-1', decodeURIComponent(id)], reason: 'unspecified' });
    expect(listed.json.detail).toMatch(/^body\.ids\.1: expected a device id/);
  });

  it('is refused when the URL itself is malformed or endless', async () => {
    expect((await send(fixture, { path: '/v1/devices/%zz' })).json).toMatchObject({ code: 'request_invalid' });
    const long = await send(fixture, { path: `/v1/devices/${'x'.repeat(2000)}` });
    expect(long.json).toMatchObject({ code: 'request_invalid' });
    expect(long.text).not.toContain('xxx');
  });
});

describe('a body', () => {
  it.each([
    ['is not JSON', '{"uses":', 'body: expected JSON'],
    ['has a key that reaches the prototype', '{"labels":{"__proto__":{"x":"1"}}}', 'body: expected JSON'],
    ['hides such a key', '{"labels":{"\\u005f_proto__":{"x":"1"}}}', 'body: expected JSON'],
    ['reaches it by the constructor', '{"constructor":{"prototype":{"x":1}}}', 'body: expected JSON'],
    ['nests too deep', `${'['.repeat(17)}${']'.repeat(17)}`, 'body: expected at most 16 levels'],
    ['is a bomb of brackets', '['.repeat(500_000), 'body: expected at most 16 levels'],
    ['is a bomb of objects', '{"a":'.repeat(200_000), 'body: expected at most 16 levels'],
  ])('that %s is refused', async (_, body, detail) => {
    const answer = await post('/v1/tokens', body);
    expect(answer.json).toMatchObject({ code: 'request_invalid', detail });
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });

  it('that is not UTF-8 is refused', async () => {
    const body = Buffer.concat([Buffer.from('{"device":"'), Buffer.of(0xff), Buffer.from('"}')]);
    const answer = await send(fixture, { method: 'POST', path: '/v1/tokens', body });
    expect(answer.json).toMatchObject({ code: 'request_invalid', detail: 'body: expected UTF-8' });
  });

  it('of more than 1 MiB is refused, declared or streamed', async () => {
    const body = `{"csrPem":"${'x'.repeat(1_048_576)}"}`;
    expect((await post('/v1/services', body)).json).toMatchObject({ status: 413, code: 'body_too_large' });
    const chunked: RawRequest = {
      method: 'POST',
      path: '/v1/services',
      headers: { 'transfer-encoding': 'chunked' },
      body,
    };
    expect((await send(fixture, chunked)).json).toMatchObject({ status: 413, code: 'body_too_large' });
  });

  it('of another media type is refused', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'nonsense']) {
      const answer = await send(fixture, {
        method: 'POST',
        path: '/v1/tokens',
        headers: { 'content-type': type },
        body: '{}',
      });
      expect(answer.json).toMatchObject({ status: 415, code: 'media_type_unsupported' });
    }
  });
});

describe('a path', () => {
  it('that does not exist is not found', async () => {
    expect((await send(fixture, { path: '/v2/tokens' })).json).toMatchObject({ status: 404, code: 'not_found' });
  });

  it('that does not answer to the method says to which it does', async () => {
    const answer = await send(fixture, { method: 'DELETE', path: '/v1/tokens' });
    expect(answer.json).toMatchObject({ status: 405, code: 'method_not_allowed' });
    expect(answer.headers.allow).toBe('POST, GET');
    expect((await send(fixture, { method: 'PATCH', path: '/v1/policies/group/x?y=1' })).headers.allow).toBe(
      'GET, PUT, DELETE',
    );
  });
});

describe('every answer', () => {
  it('is marked against caching and content sniffing', async () => {
    for (const path of ['/v1/health', '/v1/tokens', '/nothing']) {
      const { headers } = await send(fixture, { path });
      expect(headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
    }
  });

  it('about an internal failure is one sentence, with the reason in the log only', async () => {
    fixture.telemetry.last = async () => {
      throw new Error('/var/secret is full');
    };
    const answer = await send(fixture, { path: '/v1/telemetry/last' });
    expect(answer.json).toMatchObject({ code: 'internal', detail: 'the server failed; the reason is in its log' });
    expect(answer.text).not.toContain('secret');
  });

  it('to what is not HTTP is the end of the connection', async () => {
    const socket = connect(fixture.options.socketPath);
    socket.write('\x16\x03\x01 hello\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += chunk;
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('a payload', () => {
  const shown = (text: string) => viewPayload(Buffer.from(text));

  it.each(['21.5', '"a"', 'null', '[1,{"a":true}]', '9007199254740991', '1e3', '0.1234567890123456789'])(
    'of JSON is shown as a value: %s',
    (text) => expect(shown(text)).toEqual({ payload: JSON.parse(text) }),
  );

  it.each(['12345678901234567890', '{"a":[1e999]}', '-1e300', '{a:1}', '', ' ', 'NaN', '"\u0001"', '\ufeff1'])(
    'that would become another one is shown as text: %s',
    (text) => expect(shown(text)).toEqual({ text }),
  );

  it('of a bomb of brackets is shown as text', () => {
    const bomb = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    expect(shown(bomb)).toEqual({ text: bomb });
  });

  it('that is not UTF-8 is shown as base64', () => {
    expect(viewPayload(Uint8Array.of(0xc3, 0x28).subarray(0, 1))).toEqual({ base64: 'ww==' });
  });
});

describe('the depth of JSON', () => {
  it('counts no brackets in strings, whatever they escape', () => {
    expect(exceedsDepth('["[[[[", "\\"[[[", "\\\\", [1]]', 2)).toBe(false);
    expect(exceedsDepth('["\\\\", [[1]]]', 2)).toBe(true);
    expect(exceedsDepth('[[],[],[]]', 2)).toBe(false);
    expect(exceedsDepth('"[', 0)).toBe(false);
  });
});
