/** `rollcall doctor --device` explains refusals of a device, as the broker and the EST server caused them. */

import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDatedAuthority } from '../fixtures/dated-authority.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { rollcall } from '../fixtures/program.ts';

let fleet: TestFleet;
const doctor = (...args: string[]) => rollcall(['doctor', '--device', ...args, '--socket', fleet.socket]);

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet.stop());

/** Resolves when the event of the refusal is stored. */
async function refusedWith({ keyPem: key, certificatePem: cert }: Pick<StoredIdentity, 'keyPem' | 'certificatePem'>) {
  const stop = new AbortController();
  const events = fleet.operator.followEvents({ type: 'presence.connect_failed' }, stop.signal)[Symbol.asyncIterator]();
  const refused = events.next();
  const { port } = new URL(fleet.mqttUrl);
  const socket = connectTls({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false, key, cert });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  await refused;
  stop.abort();
  socket.destroy();
}

describe('the doctor of a device', () => {
  it('has nothing to say about a device that is connected, and exits with 0', async () => {
    const client = await openMqtt(await fleet.enroll('dev-1'));
    const { code, stdout } = await doctor('dev-1');
    await client.endAsync();
    expect(code).toBe(0);
    expect(stdout).toMatch(/^device {7}ok {7}dev-1 is active, in group default, enrolled /);
    expect(stdout).toMatch(/^session {6}ok {7}connected since \S+ from 127\.0\.0\.1, with serial [0-9a-f]+$/m);
    expect(stdout).toMatch(/^refusals {5}ok {7}none since /m);
  });

  it('says when a device that is away was seen last, from where, and how its session ended', async () => {
    const shown = () => fleet.operator.showDevice({ id: 'dev-1' });
    await expect.poll(async () => (await shown()).lastDisconnect).toBeDefined();
    const { lastDisconnect } = await shown();
    const { stdout } = await doctor('dev-1');
    expect(lastDisconnect?.reason).toBe('client_disconnected');
    expect(stdout).toMatch(
      /^session {6}warning {2}not connected; connected last \S+ from 127\.0\.0\.1, last seen \S+; disconnected \S+ \(client_disconnected\)$/m,
    );
  });

  it('explains that a certificate with its name is of another CA: issuer, serial, dates, and what to do', async () => {
    const stranger = await makeDatedAuthority('CN=Acme root');
    const names = [{ type: 'url', value: 'spiffe://rollcall.internal/device/gw-2' }] as const;
    await refusedWith(await stranger.server(Date.UTC(2020, 0), Date.UTC(2090, 0), [...names]));
    const { code, stdout } = await doctor('gw-2');
    expect(code).toBe(1);
    expect(stdout).toContain('gw-2 never enrolled here, or was deleted');
    expect(stdout).toMatch(/^connection refused 1 time, \S+, from 127\.0\.0\.1$/m);
    expect(stdout).toMatch(/^ {2}reason {7}certificate_untrusted: UNABLE_TO_\w+$/m);
    expect(stdout).toContain('check        the issuer of the certificate is not a CA of this fleet');
    expect(stdout).toMatch(/certificate {2}subject CN=dated; issuer CN=Acme root; serial [0-9a-f]+\n/);
    expect(stdout).toContain('valid from 2020-01-01T00:00:00.000Z to 2090-01-01T00:00:00.000Z');
    expect(stdout).toContain(
      '-> compare the issuer with "rollcall ca show"; create a token with "rollcall token create --device gw-2"',
    );
  });

  it('counts repeated refusals of a revoked device as one, with the first and the last time', async () => {
    const identity = await fleet.enroll('dev-2');
    await fleet.operator.revokeDevices({ ids: ['dev-2'], reason: 'keyCompromise' });
    await refusedWith(identity);
    await refusedWith(identity);
    const { code, stdout } = await doctor('dev-2');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^device {7}FAILED {3}dev-2 is revoked \(keyCompromise\) since /m);
    expect(stdout).toMatch(/^connection refused 2 times, \S+ to \S+, from 127\.0\.0\.1$/m);
    expect(stdout).toContain('the certificate, or its device, was revoked');
  });

  it('explains the enrollment of a device that never succeeded, by the token that it used', async () => {
    const token = await fleet.mint({ device: 'dev-3' });
    const { id } = (await fleet.operator.listTokens()).find(({ device }) => device === 'dev-3') as { id: string };
    await fleet.operator.revokeToken({ id });
    await expect(enrollOnce(memoryIdentityStore(), { token })).rejects.toThrow();
    await expect.poll(async () => (await doctor('dev-3')).stdout).toContain('enrollment refused');
    const { code, stdout } = await doctor('dev-3');
    expect(code).toBe(1);
    expect(stdout).toMatch(new RegExp(`^token {8}ok {7}${id} is revoked: 0 of 1 uses`, 'm'));
    expect(stdout).toContain('reason       token_rejected: void');
    expect(stdout).toContain('check        the token was revoked');
    expect(stdout).toContain('-> create another token');
  });

  it('prints JSON for programs', async () => {
    const answer = JSON.parse((await doctor('dev-2', '--json')).stdout);
    expect(answer).toMatchObject({
      device: 'dev-2',
      status: 'revoked',
      refusals: [{ kind: 'connection', code: 'revoked', count: 2, isAtLeast: false, attribution: 'device' }],
    });
    expect(answer.findings.map(({ check }: { check: string }) => check)).toEqual([
      'device',
      'certificate',
      'session',
      'refusals',
    ]);
  });
});
