import { existsSync } from 'node:fs';
import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { liveSession, openTestConsole, START, send, type TestConsole } from '../test/fixtures/console/test-console.ts';

const at = (ms: number) => new Date(ms).toISOString();

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
  for (const id of ['dev-1', 'dev-2', 'dev-3']) await fixture.enroll(id);
});
afterAll(() => fixture.close());

describe('bootstrap tokens', () => {
  it('are created with defaults, listed without their text, and revoked', async () => {
    const minted = await fixture.client.createToken({ group: 'pumps', labels: { site: 'north', constructor: 'x' } });
    expect(minted.token).toMatchObject({
      state: 'usable',
      maxUses: 1,
      group: 'pumps',
      labels: { site: 'north', constructor: 'x' },
      mintedBy: 'operator/unix',
      mintedAt: at(START),
      expiresAt: at(START + 86_400_000),
    });
    expect(minted.text).toMatch(new RegExp(`^rc1\\.${minted.token.id}\\.[A-Za-z0-9_-]{27}$`));
    const listed = await fixture.client.listTokens();
    expect(listed).toContainEqual(minted.token);
    expect(JSON.stringify(listed)).not.toContain(minted.text.split('.')[2]);
    expect(await fixture.client.revokeToken({ id: minted.token.id })).toMatchObject({
      state: 'void',
      voidedAt: at(START),
    });
  });

  it('that do not exist cannot be revoked', async () => {
    await expect(fixture.client.revokeToken({ id: '0123456789abcdef' })).rejects.toMatchObject({
      code: 'token_unknown',
    });
  });

  it('for one device have one use, as the registry says', async () => {
    await expect(fixture.client.createToken({ device: 'dev-1', uses: 2 })).rejects.toMatchObject({
      code: 'token_order_invalid',
    });
  });
});

describe('devices', () => {
  it('are listed in pages, by group and by status', async () => {
    const ids = async (filter: Parameters<typeof fixture.client.listDevices>[0]) =>
      (await fixture.client.listDevices(filter)).map(({ id }) => id);
    expect(await ids({ limit: 2 })).toEqual(['dev-1', 'dev-2']);
    expect(await ids({ limit: 2, after: 'dev-2' })).toEqual(['dev-3']);
    expect(await ids({ status: 'revoked' })).toEqual([]);
    expect(await ids({ group: 'pumps' })).toEqual([]);
    expect(await ids({ group: 'default', status: 'active' })).toHaveLength(3);
  });

  it('are shown with their certificates and their live session', async () => {
    fixture.sessions.push(liveSession('dev-2'));
    const shown = await fixture.client.showDevice({ id: 'dev-2' });
    expect(shown).toMatchObject({
      id: 'dev-2',
      labels: { site: 'north' },
      status: 'active',
      certificates: [{ status: 'good', notAfter: at(START + 86_400_000) }],
      session: { identity: 'device/dev-2', connectedAt: at(START) },
    });
    expect((await fixture.client.showDevice({ id: 'dev-1' })).session).toBeUndefined();
    await expect(fixture.client.showDevice({ id: 'dev-9' })).rejects.toMatchObject({ code: 'device_unknown' });
    fixture.sessions.length = 0;
  });

  it('show a certificate as expired after its last instant', async () => {
    fixture.clock.now = START + 86_400_001;
    const { certificates } = await fixture.client.showDevice({ id: 'dev-1' });
    fixture.clock.now = START;
    expect(certificates.map(({ status }) => status)).toEqual(['expired']);
  });

  it('are revoked together, with the count of sessions that ended', async () => {
    const stop = fixture.registry.onRevocation(async () => ({ sessionsClosed: 1, lastMessageAt: START - 5 }));
    const answer = await fixture.client.revokeDevices({ ids: ['dev-1', 'dev-1'], reason: 'keyCompromise' });
    stop();
    expect(answer).toMatchObject({
      act: 'revoke',
      devices: [
        { device: 'dev-1', status: 'revoked', reason: 'keyCompromise', revokedAt: at(START), sessionsClosed: 1 },
      ],
      revokedAt: at(START),
      lastMessageAt: at(START - 5),
      sessionsClosed: 1,
      brokersConfirmed: 1,
    });
    expect(answer.tookMs).toBeGreaterThanOrEqual(answer.propagationMs);
    expect(answer.propagationMs).toBeGreaterThan(0);
    expect(await fixture.client.showDevice({ id: 'dev-1' })).toMatchObject({
      status: 'revoked',
      revocationReason: 'keyCompromise',
      certificates: [{ status: 'revoked', revokedAt: at(START) }],
    });
  });

  it('are all left alone when one of them is unknown, which is named', async () => {
    const refused = fixture.client.revokeDevices({ ids: ['dev-2', 'dev-8', 'dev-9'], reason: 'unspecified' });
    await expect(refused).rejects.toMatchObject({
      code: 'device_unknown',
      detail: 'there is no device dev-8, dev-9; nothing was done',
    });
    expect((await fixture.client.showDevice({ id: 'dev-2' })).status).toBe('active');
  });
});

describe('services', () => {
  it('are issued, listed and revoked', async () => {
    const csrPem = '-----BEGIN CERTIFICATE REQUEST-----\n';
    expect(await fixture.client.issueService({ name: 'dash', csrPem })).toEqual({
      service: { name: 'dash', status: 'active', issuedAt: at(START), expiresAt: at(START + 24 * 3_600_000) },
      certificatePem: 'chain',
      caPem: 'root',
      enrollUrl: 'https://a:1',
      mqttUrl: 'mqtts://a:2',
    });
    expect((await fixture.client.listServices()).map(({ name }) => name)).toEqual(['dash']);
    expect(await fixture.client.revokeService({ name: 'dash' })).toMatchObject({
      revocations: [{ identity: 'service/dash', reason: 'unspecified' }],
      sessionsClosed: 0,
    });
    expect(await fixture.client.listServices()).toMatchObject([{ status: 'revoked', revokedAt: at(START) }]);
    await expect(fixture.client.revokeService({ name: 'nobody' })).rejects.toMatchObject({ code: 'service_unknown' });
  });

  it('return what the authority refuses', async () => {
    await expect(fixture.client.issueService({ name: 'x', csrPem: 'no' })).rejects.toMatchObject({
      code: 'csr_malformed',
    });
  });
});

describe('policies', () => {
  const silent = { connect: ['${device.id}'], publish: [], subscribe: [], receive: [], retain: [] };

  it('are the built-in ones until one is set', async () => {
    expect(await fixture.client.showPolicy({ kind: 'group', name: 'pumps' })).toEqual({
      scope: 'group/pumps',
      isDefault: true,
      decidedBy: 'built-in',
      policy: DEFAULT_DEVICE_POLICY,
    });
    expect((await fixture.client.showPolicy({ kind: 'service', name: '*' })).policy.publish).toContain(
      'devices/+/commands/+/+',
    );
  });

  it('of a scope come from its fallback scope', async () => {
    const set = await fixture.client.setPolicy({ kind: 'service', name: '*', ...silent });
    expect(set).toMatchObject({ isDefault: false, decidedBy: 'service/*' });
    expect(await fixture.client.showPolicy({ kind: 'service', name: 'dash' })).toMatchObject({
      isDefault: true,
      decidedBy: 'service/*',
    });
  });

  it('allow nothing in a list that was left out', async () => {
    const set = await fixture.client.setPolicy({ kind: 'group', name: 'pumps', connect: ['${device.id}'] });
    expect(set).toEqual({ scope: 'group/pumps', isDefault: false, decidedBy: 'group/pumps', policy: silent });
    expect(await fixture.registry.findPolicy('group/pumps')).toEqual(silent);
  });

  it('are refused, and not stored, when they cannot be applied', async () => {
    const refused = fixture.client.setPolicy({ kind: 'group', name: 'valves', ...silent, publish: ['bad/#/filter'] });
    await expect(refused).rejects.toMatchObject({ code: 'policy_invalid', detail: 'expected # at the end' });
    expect(await fixture.registry.findPolicy('group/valves')).toBeUndefined();
  });

  it('are explained for devices and services', async () => {
    const ask = { verb: 'publish', topic: 'a/b' } as const;
    expect(await fixture.client.explainPolicy({ ...ask, identity: 'dev-1' })).toEqual({
      allowed: true,
      rule: 'device publish',
    });
    expect(await fixture.client.explainPolicy({ ...ask, identity: 'service/dash', topic: 'c' })).toEqual({
      allowed: false,
      rule: 'service publish',
    });
  });
});

describe('telemetry', () => {
  const binary = Uint8Array.of(0xff, 0x00);
  beforeAll(async () => {
    await fixture.say('dev-1', 'temp', '{"c":21.5,"__proto__":1}', START);
    await fixture.say('dev-1', 'note', 'warm \u2028 day', START + 1000);
    await fixture.say('dev-2', 'blob', binary, START + 2000);
    await fixture.say('dev-1', 'temp', 'null', START + 3000);
  });

  it('is read back with its payload as value, text or base64', async () => {
    const all = await fixture.client.queryTelemetry({ device: 'dev-1' });
    expect(all.map((m) => [m.position, m.receivedAt, JSON.stringify(m.payload), m.text])).toEqual([
      [1, at(START), '{"c":21.5,"__proto__":1}', undefined],
      [2, at(START + 1000), undefined, 'warm \u2028 day'],
      [4, at(START + 3000), 'null', undefined],
    ]);
    expect(await fixture.client.queryTelemetry({ device: 'dev-2' })).toMatchObject([{ base64: '/wA=' }]);
  });

  it('is narrowed by stream, time and number', async () => {
    const positions = async (query: Omit<Parameters<typeof fixture.client.queryTelemetry>[0], 'device'>) =>
      (await fixture.client.queryTelemetry({ device: 'dev-1', ...query })).map(({ position }) => position);
    expect(await positions({ stream: 'temp' })).toEqual([1, 4]);
    expect(await positions({ since: at(START + 1000) })).toEqual([2, 4]);
    expect(await positions({ since: '2026-11-22T13:00:01+01:00' })).toEqual([2, 4]);
    expect(await positions({ limit: 1 })).toEqual([4]);
  });

  it('has a last message of each stream', async () => {
    expect((await fixture.client.lastTelemetry()).map(({ position }) => position).sort()).toEqual([2, 3, 4]);
    expect((await fixture.client.lastTelemetry({ device: 'dev-2' })).map(({ position }) => position)).toEqual([3]);
  });

  it('comes in pages that fit into one answer, the newest first', async () => {
    for (let i = 0; i < 17; i += 1) await fixture.say('dev-7', 'big', new Uint8Array(1_000_000));
    const newest = await fixture.client.queryTelemetry({ device: 'dev-7' });
    expect(newest).toHaveLength(16);
    const before = newest[0]?.position as number;
    expect(await fixture.client.queryTelemetry({ device: 'dev-7', before })).toHaveLength(1);
    expect(await fixture.client.queryTelemetry({ device: 'dev-7', limit: 2 })).toHaveLength(2);
  });
});

describe('the server', () => {
  it('shows its audit trail newest first, in pages', async () => {
    const newest = await fixture.client.listAudit({ limit: 2 });
    expect(newest).toHaveLength(2);
    expect(newest[0]?.id).toBeGreaterThan(newest[1]?.id as number);
    const older = await fixture.client.listAudit({ before: newest[1]?.id as number, limit: 1 });
    expect(older[0]?.id).toBe((newest[1]?.id as number) - 1);
    expect(await fixture.client.listAudit()).toContainEqual(
      expect.objectContaining({ action: 'device.revoked', actor: 'operator/unix', subject: 'device/dev-1' }),
    );
  });

  it('lists live sessions', async () => {
    fixture.sessions.push(liveSession('dev-3'));
    expect((await fixture.client.listSessions()).sessions).toEqual([
      {
        identity: 'device/dev-3',
        clientId: 'dev-3',
        node: 'w1',
        address: '127.0.0.1',
        serial: '1a',
        connectedAt: at(START),
        notAfter: at(START + 1000),
      },
    ]);
    fixture.sessions.length = 0;
  });

  it('gives its health, its trust bundle and its metrics', async () => {
    expect(await fixture.client.health()).toEqual({
      status: 'ok',
      version: '1.2.3',
      runtime: 'node 1.2.3',
      node: 'main',
      time: at(START),
      database: 'ok',
      certificates: 'ok',
      telemetry: 'ok',
      clock: 'ok',
      sessions: 'ok',
    });
    const bundle = await send(fixture, { path: '/v1/trust-bundle' });
    expect(bundle.headers['content-type']).toBe('application/pem-certificate-chain');
    expect(bundle.text).toBe('-----BEGIN CERTIFICATE-----\n');
    const metrics = await send(fixture, { path: '/metrics' });
    expect(metrics.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(metrics.text).toBe('# TYPE rollcall_sessions gauge\nrollcall_sessions 2\n');
  });

  it('says that it is not healthy when its database does not answer', async () => {
    const lame = await openTestConsole();
    await lame.registry.close();
    const answer = await send(lame, { path: '/v1/health' });
    expect(answer.status).toBe(503);
    expect(answer.json).toMatchObject({
      code: 'unavailable',
      detail: 'the server cannot do this now; try again later',
    });
    await lame.close();
  });

  it('frees both addresses when it closes, and the client reports server_unreachable', async () => {
    const other = await openTestConsole();
    const { socketPath } = other.console;
    await other.close();
    expect(existsSync(socketPath)).toBe(false);
    await expect(other.client.health()).rejects.toMatchObject({
      code: 'server_unreachable',
      hint: expect.stringContaining('rollcall serve'),
    });
  });
});
