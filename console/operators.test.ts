import type { IncomingMessage } from 'node:http';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTestConsole, send, sendAndWaitForHead, type TestConsole } from '../test/fixtures/console/test-console.ts';

let fixture: TestConsole;
const logged: string[] = [];
const secrets: string[] = [];
beforeAll(async () => {
  fixture = await openTestConsole({ log: pino({ level: 'trace' }, { write: (line) => logged.push(line) }) });
});
afterAll(() => fixture.close());

let added = 0;
/** A new operator with one key. */
async function operatorWithKey({ role = 'viewer', ttlSeconds = 86_400 } = {}) {
  added += 1;
  const name = `ada-${added}`;
  await fixture.client.addOperator({ name, role: role as 'viewer' });
  const { key, text } = await fixture.client.createOperatorKey({ operator: name, role: role as 'viewer', ttlSeconds });
  secrets.push(text.slice(-43));
  return { name, id: key.id, text };
}

const request = (key: string, path: string, method = 'GET', body?: string) =>
  send(fixture, {
    listener: 'tcp',
    method,
    path,
    headers: { authorization: `Bearer ${key}` },
    ...(body !== undefined && { body }),
  });

async function linesOf(response: IncomingMessage): Promise<readonly string[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString().trim().split('\n');
}

async function lastLine(response: IncomingMessage): Promise<unknown> {
  return JSON.parse(((await linesOf(response)).at(-1) ?? '').replace(/^data: /, ''));
}

describe('an API key', () => {
  it('has a text that secret scanners can find, and is shown once', async () => {
    const { name, id, text } = await operatorWithKey();
    expect(text).toMatch(new RegExp(`^rollcall_${id}_[A-Za-z0-9_-]{43}$`));
    const listed = await fixture.client.listOperatorKeys({ operator: name });
    expect(listed).toMatchObject([{ id, operator: name, role: 'viewer', state: 'usable' }]);
    expect(JSON.stringify(listed)).not.toContain(text.slice(-43));
  });

  it('tells its holder who they are', async () => {
    const { name, id, text } = await operatorWithKey({ role: 'operator' });
    expect((await request(text, '/v1/whoami')).json).toMatchObject({
      actor: `operator/${name}`,
      role: 'operator',
      apiKey: id,
    });
    expect(await fixture.client.showSelf()).toEqual({ actor: 'operator/unix', role: 'admin' });
    expect((await request(fixture.operatorKey, '/v1/whoami')).json).toEqual({ actor: 'operator/key', role: 'admin' });
  });

  it('puts the name of its operator, its id and the address into the audit', async () => {
    const { name, id, text } = await operatorWithKey({ role: 'operator' });
    expect((await request(text, '/v1/tokens', 'POST', '{}')).status).toBe(200);
    const [byKey] = await fixture.client.listAudit({ limit: 1 });
    expect(byKey).toMatchObject({
      actor: `operator/${name}`,
      action: 'token.minted',
      details: { apiKey: id, fromAddress: '127.0.0.1' },
    });
    await request(fixture.operatorKey, '/v1/tokens', 'POST', '{}');
    const [byMachineKey] = await fixture.client.listAudit({ limit: 1 });
    expect(byMachineKey).toMatchObject({ actor: 'operator/key', details: { fromAddress: '127.0.0.1' } });
    await fixture.client.createToken({});
    const [bySocket] = await fixture.client.listAudit({ limit: 1 });
    expect(bySocket?.actor).toBe('operator/unix');
    expect(bySocket?.details).not.toHaveProperty('fromAddress');
  });

  it('that is altered, expired or revoked is refused as any other wrong key', async () => {
    const { id, text } = await operatorWithKey({ ttlSeconds: 60 });
    const refused = { status: 401, json: { code: 'operator_required' } };
    for (const wrong of [text.slice(0, -1), `${text}A`, `${text.slice(0, -2)}AA`, text.replace(id, 'f'.repeat(16))]) {
      fixture.clock.now += 1_000;
      expect(await request(wrong, '/v1/tokens')).toMatchObject(refused);
    }
    expect((await request(text, '/v1/tokens')).status).toBe(200);
    fixture.clock.now += 60_000;
    expect(await request(text, '/v1/tokens')).toMatchObject(refused);
    const other = await operatorWithKey();
    await fixture.client.revokeOperatorKey({ id: other.id });
    expect(await request(other.text, '/v1/tokens')).toMatchObject(refused);
  });

  it('is still accepted from an address whose wrong keys are limited', async () => {
    const { text } = await operatorWithKey();
    fixture.clock.now += 3_600_000;
    const statuses: number[] = [];
    for (let i = 0; i < 11; i += 1) statuses.push((await request(`${text.slice(0, -3)}AAA`, '/v1/tokens')).status);
    expect(statuses).toEqual([...new Array(10).fill(401), 429]);
    expect((await request(text, '/v1/tokens')).status).toBe(200);
  });
});

describe('an operator', () => {
  it('without the role gets a problem that names it, and changes nothing', async () => {
    const { text } = await operatorWithKey();
    const before = await fixture.client.listAudit({ limit: 1 });
    expect(await request(text, '/v1/operators', 'POST', '{"name":"eve","role":"admin"}')).toMatchObject({
      status: 403,
      json: { code: 'role_insufficient', detail: 'this needs the role admin' },
    });
    expect(await fixture.client.listAudit({ limit: 1 })).toEqual(before);
    expect(logged.join('')).toContain('operator role insufficient');
  });

  it('that is disabled is refused at once, and its open streams end with the reason', async () => {
    const [ada, bob] = [await operatorWithKey(), await operatorWithKey()];
    const follow = (key: string, path: string, accept = '*/*') =>
      sendAndWaitForHead(fixture, { listener: 'tcp', path, headers: { authorization: `Bearer ${key}`, accept } });
    const lines = await follow(ada.text, '/v1/telemetry/follow');
    const sse = await follow(ada.text, '/v1/events/follow', 'text/event-stream');
    const other = await follow(bob.text, '/v1/telemetry/follow');
    await fixture.client.disableOperator({ name: ada.name });
    fixture.clock.now += 3_600_000; // refusals that were counted against this address are forgotten
    for (const stream of [lines, sse]) expect(await lastLine(stream)).toMatchObject({ code: 'operator_required' });
    expect((await request(ada.text, '/v1/whoami')).status).toBe(401);
    await fixture.say('dev-1', 'temp', '1');
    await fixture.client.revokeOperatorKey({ id: bob.id });
    expect((await linesOf(other)).map((line) => JSON.parse(line))).toMatchObject([
      { stream: 'temp' },
      { code: 'operator_required' },
    ]);
  });

  it('gets nothing more from a stream when its key has expired', async () => {
    const { text } = await operatorWithKey({ ttlSeconds: 60 });
    const headers = { authorization: `Bearer ${text}` };
    const stream = await sendAndWaitForHead(fixture, { listener: 'tcp', path: '/v1/telemetry/follow', headers });
    fixture.clock.now += 60_000;
    await fixture.say('dev-1', 'temp', '"after the end"');
    expect(await lastLine(stream)).toMatchObject({ code: 'operator_required' });
  });

  it('is active again after a reset, with other keys and another role', async () => {
    const { name, text } = await operatorWithKey();
    await fixture.client.disableOperator({ name });
    fixture.clock.now += 3_600_000;
    expect(await fixture.client.resetOperator({ name, role: 'operator' })).toMatchObject({
      state: 'active',
      role: 'operator',
    });
    expect((await request(text, '/v1/whoami')).status).toBe(401);
    const { text: next } = await fixture.client.createOperatorKey({ operator: name, role: 'operator' });
    expect((await request(next, '/v1/whoami')).json).toMatchObject({ role: 'operator' });
  });

  it('is listed in pages, and so are keys', async () => {
    const names = (await fixture.client.listOperators()).map(({ name }) => name);
    const [first, second] = await fixture.client.listOperators({ limit: 2 });
    expect([first?.name, second?.name]).toEqual(names.slice(0, 2));
    const [third] = await fixture.client.listOperators({ after: second?.name as string, limit: 1 });
    expect(third?.name).toBe(names[2]);
    const [key, next] = await fixture.client.listOperatorKeys({ limit: 2 });
    expect(await fixture.client.listOperatorKeys({ after: key?.id as string, limit: 1 })).toEqual([next]);
  });
});

describe('the log', () => {
  it('never contains an API key', () => {
    expect(secrets.length).toBeGreaterThan(5);
    for (const secret of secrets) expect(logged.join('')).not.toContain(secret);
  });
});
