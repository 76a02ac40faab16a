import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTestConsole, type RawRequest, send, type TestConsole } from '../test/fixtures/console/test-console.ts';
import { type Endpoint, isAct } from './api/endpoint.ts';
import { endpoints } from './endpoints.ts';

const DAY = 24 * 3_600_000;

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
  await fixture.enroll('dev-1');
});
afterAll(() => fixture.close());

const post = (key: string, path: string, body: object = {}, headers: RawRequest['headers'] = {}) =>
  send(fixture, { method: 'POST', path, headers: { 'idempotency-key': key, ...headers }, body: JSON.stringify(body) });
const tokenCount = async () => (await fixture.client.listTokens()).length;

/** Replaces how a device responds to a command, and counts the commands. */
function commandsAre(command: () => Promise<unknown>): { readonly count: number } {
  const counted = { count: 0 };
  Object.assign(fixture.options.controls.deviceMessages, {
    command: async () => {
      counted.count += 1;
      return command();
    },
  });
  return counted;
}

describe('a request under an idempotency key', () => {
  it('is answered again as the first time, and done once', async () => {
    const [key, before] = [randomUUID(), await tokenCount()];
    const first = await post(key, '/v1/tokens', { uses: 3 });
    const second = await post(`"${key}"`, '/v1/tokens', { uses: 3 });
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(second.text).toBe(first.text);
    expect(second.headers['content-type']).toBe(first.headers['content-type']);
    expect([first.headers['idempotency-replayed'], second.headers['idempotency-replayed']]).toEqual([
      undefined,
      'true',
    ]);
    expect(await tokenCount()).toBe(before + 1);
    fixture.clock.now += DAY;
    expect((await post(key, '/v1/tokens', { uses: 3 })).text).not.toBe(first.text);
  });

  it('that differs in its path, its body or its condition is refused with 422, and not done', async () => {
    const key = randomUUID();
    await post(key, '/v1/tokens', { uses: 3 });
    const before = await tokenCount();
    const reused = { status: 422, json: { code: 'idempotency_key_reused' } };
    expect(await post(key, '/v1/tokens', { uses: 4 })).toMatchObject(reused);
    expect(await post(key, '/v1/devices/revoke', { ids: ['dev-1'], reason: 'unspecified' })).toMatchObject(reused);
    expect(await post(key, '/v1/tokens', { uses: 3 }, { 'if-match': '*' })).toMatchObject(reused);
    expect(await tokenCount()).toBe(before);
    expect((await fixture.registry.findDevice('dev-1' as never))?.status).toBe('active');
  });

  it('is another act for another operator', async () => {
    const key = randomUUID();
    const first = await post(key, '/v1/tokens');
    const headers = { authorization: `Bearer ${fixture.operatorKey}`, 'idempotency-key': key };
    const other = await send(fixture, { listener: 'tcp', method: 'POST', path: '/v1/tokens', headers, body: '{}' });
    expect(other.status).toBe(200);
    expect(other.text).not.toBe(first.text);
  });

  it('is answered with 409 while the first still runs, and with its answer afterwards', async () => {
    const [key, response] = [randomUUID(), Promise.withResolvers<unknown>()];
    const begun = Promise.withResolvers<void>();
    const commands = commandsAre(() => {
      begun.resolve();
      return response.promise;
    });
    const order = () => post(key, '/v1/devices/dev-1/commands', { name: 'reboot' });
    const first = order();
    await begun.promise;
    const meanwhile = await Promise.all([order(), order(), order()]);
    for (const { status, json, headers } of meanwhile) {
      expect([status, json.code, headers['retry-after']]).toEqual([409, 'idempotency_key_running', '1']);
    }
    response.resolve({ requestId: 'c1', delivery: 'stored', outcome: 'sent' });
    expect(await order()).toMatchObject({ status: 200, text: (await first).text });
    expect(commands.count).toBe(1);
  });

  it('is answered with the failure of the first when that may have done something', async () => {
    const key = randomUUID();
    const commands = commandsAre(() => Promise.reject(new Problem('command_timed_out')));
    const order = () => post(key, '/v1/devices/dev-1/commands', { name: 'reboot' });
    for (const answer of [await order(), await order()]) {
      expect(answer).toMatchObject({ status: 504, json: { code: 'command_timed_out' } });
    }
    expect(commands.count).toBe(1);
  });

  it.each(['device_offline', 'unavailable', 'confirmation_required'] as const)(
    'may be sent again after a refusal with %s, which did nothing',
    async (code) => {
      const key = randomUUID();
      const order = (name: string) => post(key, '/v1/devices/dev-1/commands', { name });
      commandsAre(() => Promise.reject(new Problem(code)));
      expect((await order('reboot')).json.code).toBe(code);
      const commands = commandsAre(async () => ({ requestId: 'c1', delivery: 'stored', outcome: 'sent' }));
      expect((await order('restart')).status).toBe(200);
      expect(commands.count).toBe(1);
    },
  );

  it('under a key of another form is refused, and nothing is done', async () => {
    const before = await tokenCount();
    const malformed = [
      '',
      '""',
      ' ',
      'a b',
      '"a',
      'a"b',
      'a\\b',
      '"a", "b"',
      'é',
      'k'.repeat(129),
      `"${'k'.repeat(129)}"`,
    ];
    for (const key of malformed) {
      expect([key, await post(key, '/v1/tokens')]).toMatchObject([
        key,
        { status: 400, json: { code: 'request_invalid' } },
      ]);
    }
    expect(await tokenCount()).toBe(before);
    expect((await post('k'.repeat(128), '/v1/tokens')).status).toBe(200);
  });

  it('needs the role each time', async () => {
    const key = randomUUID();
    await fixture.client.addOperator({ name: 'ada', role: 'operator' });
    const { text } = await fixture.client.createOperatorKey({ operator: 'ada', role: 'operator' });
    const order = () => {
      const headers = { authorization: `Bearer ${text}`, 'idempotency-key': key };
      return send(fixture, { listener: 'tcp', method: 'POST', path: '/v1/tokens', headers, body: '{}' });
    };
    expect((await order()).status).toBe(200);
    await fixture.client.resetOperator({ name: 'ada', role: 'viewer' });
    expect((await order()).status).toBe(401);
  });

  it('leaves neither the key nor anything of a secret answer on the disk', async () => {
    const key = randomUUID();
    const passphrase = 'correct horse battery';
    const { json } = await post(key, '/v1/tokens', { labels: { site: 'x' } });
    await post(randomUUID(), '/v1/ca/root/export', { passphrase });
    const secret = String(json.text).split('.').at(-1) as string;
    expect(secret.length).toBeGreaterThan(20);
    const files = readdirSync(fixture.dir).filter((name) => name.startsWith('registry.db'));
    expect(files.length).toBeGreaterThan(0);
    for (const name of files) {
      const bytes = readFileSync(join(fixture.dir, name));
      for (const text of [key, secret, passphrase]) expect(bytes.includes(text), `${text} in ${name}`).toBe(false);
    }
  });
});

describe('the header Idempotency-Key', () => {
  it('is in the OpenAPI document of each request that changes something, and of no other', async () => {
    // biome-ignore lint/suspicious/noExplicitAny: a document of any shape
    const { paths } = (await fixture.client.describeApi()) as any;
    for (const endpoint of Object.values<Endpoint>(endpoints)) {
      const operation = paths[endpoint.path.replace(/:([a-z]+)/g, '{$1}')][endpoint.method.toLowerCase()];
      const names = (operation.parameters ?? []).map(({ name }: { name: string }) => name);
      expect([endpoint.path, names.includes('idempotency-key')]).toEqual([endpoint.path, isAct(endpoint)]);
    }
  });

  it('changes nothing for a question', async () => {
    const key = randomUUID();
    const ask = (topic: string) => post(key, '/v1/policies/explain', { identity: 'dev-1', verb: 'publish', topic });
    const [first, second] = [await ask('a/b'), await ask('c/d')];
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(second.text).not.toBe(first.text);
  });
});
