/** Secrets appear in no log, response, audit entry or file. */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { get, type RequestOptions } from 'node:https';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { parseBootstrapToken } from '@rollcall/protocol';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { PASSWORD, setPasswordByLink } from '../fixtures/one-time-link.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

/** The base64 of a PEM key without header, footer and line breaks: a leak contains it in any layout. */
function keyMaterial(pem: string): string {
  return pem.replace(/-----[^-]+-----|\s/g, '').slice(40, 100);
}

function filesUnder(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile());
}

function statusOf(url: string, options: RequestOptions): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(url, { ...options, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).once('error', reject);
  });
}

describe('a secret', () => {
  const lines: string[] = [];
  let fleet: TestFleet;
  let device: StoredIdentity;
  const secrets: string[] = [];
  const ofOperators: (string | undefined)[] = [];

  beforeAll(async () => {
    const collector = new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(chunk.toString());
        done();
      },
    });
    // Logs every level without the redaction of the real logger: modules must not rely on it.
    fleet = await startFleet({ log: pino({ level: 'trace' }, collector) });

    const token = await fleet.mint({ uses: 3 });
    const { id, secret } = parseBootstrapToken(token) as NonNullable<ReturnType<typeof parseBootstrapToken>>;
    device = await enrollOnce(memoryIdentityStore(), { token, deviceId: 'dev-1' });
    const operatorKey = readFileSync(join(fleet.data, 'operator.key'), 'utf8').trim();
    const metricsKey = readFileSync(join(fleet.data, 'metrics.key'), 'utf8').trim();
    secrets.push(secret, keyMaterial(device.keyPem), operatorKey, metricsKey);
    secrets.push('the-payload-of-a-message', 'the-password-of-nobody');

    await fleet.operator.addOperator({ name: 'ada' });
    const link = await fleet.operator.createSignInLink({ operator: 'ada' });
    const ca = readFileSync(fleet.trustBundle, 'utf8');
    const { cookie, json } = await setPasswordByLink(link.url, ca);
    ofOperators.push(link.url.split('#')[1], PASSWORD, /=([\w-]+);/.exec(cookie ?? '')?.[1], json.csrfToken);
    secrets.push(...(ofOperators as string[]));
    await setPasswordByLink(link.url, ca); // used already

    // Takes every path that handles a secret, refusals included.
    const wrong = token.replace(secret, `${'A'.repeat(26)}g`);
    secrets.push('A'.repeat(26));
    await enrollOnce(memoryIdentityStore(), { token: wrong }).catch(() => {});
    await enrollOnce(memoryIdentityStore(), { token, deviceId: 'dev-1' }).catch(() => {});
    const client = await openMqtt(device, { username: 'dev-1', password: 'the-password-of-nobody' });
    await client.publishAsync('devices/dev-1/telemetry/t', 'the-payload-of-a-message', { qos: 1 });
    client.publish('devices/dev-2/telemetry/t', 'the-payload-of-a-message');
    for (const authorization of [
      `Bearer ${operatorKey}x`,
      `Bearer ${metricsKey}`,
      `Bearer ${token}`,
      `Basic ${btoa(`x:${token}`)}`,
    ]) {
      expect(await statusOf(`${fleet.consoleUrl}/v1/tokens`, { ca, headers: { authorization } })).toBe(401);
    }
    await fleet.operator.revokeDevices({ ids: ['dev-1'], reason: 'keyCompromise' });
    await fleet.operator.revokeToken({ id });
    await client.endAsync(true);
  });
  afterAll(() => fleet.stop());

  it('is in no log line', () => {
    const log = lines.join('');
    expect(log.length).toBeGreaterThan(500);
    expect(secrets.filter((secret) => log.includes(secret))).toEqual([]);
  });

  it('is in no audit entry and no response to an operator', async () => {
    const answers = JSON.stringify([
      await fleet.operator.listAudit(),
      await fleet.operator.listTokens(),
      await fleet.operator.showDevice({ id: 'dev-1' }),
      await fleet.operator.metrics(),
    ]);
    expect(secrets.filter((secret) => answers.includes(secret))).toEqual([]);
  });

  it('of a bootstrap token, of a device or of an operator who signed in is in no file of the server', () => {
    const files = filesUnder(fleet.data);
    expect(files.length).toBeGreaterThan(8);
    const [tokenSecret, deviceKey] = secrets as [string, string];
    for (const path of files) {
      const content = readFileSync(path);
      expect(content.includes(tokenSecret), path).toBe(false);
      for (const secret of ofOperators) expect(content.includes(secret as string), path).toBe(false);
      expect(content.includes(deviceKey), path).toBe(false);
      expect(content.includes(Buffer.from(deviceKey, 'base64')), path).toBe(false);
    }
  });
});

describe('the program', () => {
  it('logs no secret of the commands that it served', async () => {
    const data = temporaryDirectory();
    const server = await serve(data, [], { environment: { ROLLCALL_LOG_LEVEL: 'trace' } });
    const { stdout: token } = await rollcall(['token', 'create', '--data', data]);
    await rollcall(['device', 'enroll', '--token', '-', '--out', join(data, 'dev')], { stdin: token });
    const { stderr } = await server.end('SIGTERM');
    const secret = token.split('.')[2] as string;
    expect(stderr).toContain('device enrolled');
    expect(stderr).not.toContain(secret);
    expect(stderr).not.toContain(keyMaterial(readFileSync(join(data, 'dev', 'key.pem'), 'utf8')));
  });
});
