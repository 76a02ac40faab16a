/** `rollcall service renew` and `service issue --again` against a running server. */

import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { collect, type Ended, ended } from '../fixtures/child-process.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { rollcall, start } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

let fleet: TestFleet;
/** Its certificates are past the renewal window when they are issued. */
let late: TestFleet;
beforeAll(async () => {
  fleet = await startFleet();
  late = await startFleet({
    settings: [
      [['certificates', 'device'], '10m'],
      [['certificates', 'backdate'], '55m'],
    ],
  });
});
afterAll(async () => {
  await fleet.stop();
  await late.stop();
});

/** Issues a service and returns its directory. */
async function issue(name: string, { data } = fleet): Promise<string> {
  const directory = join(temporaryDirectory(), name);
  const { code, stderr } = await rollcall(['service', 'issue', name, '--out', directory, '--data', data]);
  expect(code, stderr).toBe(0);
  return directory;
}

const renew = (directory: string, ...options: string[]): Promise<Ended> =>
  rollcall(['service', 'renew', directory, ...options]);

function pairIn(directory: string) {
  const read = (name: string) => readFileSync(join(directory, name), 'utf8');
  return { keyPem: read('key.pem'), certificatePem: read('cert.pem'), rootPem: read('ca.pem') };
}

const serialOf = ({ certificatePem }: { readonly certificatePem: string }) =>
  new X509Certificate(certificatePem).serialNumber;

describe('rollcall service renew', () => {
  it('leaves a certificate alone that is not due, and says when it is', async () => {
    const directory = await issue('early');
    const before = pairIn(directory);
    const { code, stdout, stderr } = await renew(directory);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(
      /^service early: certificate not due for renewal, valid until .*; the next renewal is due at 20/,
    );
    expect(pairIn(directory)).toEqual(before);
  });

  it('renews a certificate that the server calls late, with a new key that the broker accepts beside the old one', async () => {
    const directory = await issue('late', late);
    const before = pairIn(directory);
    const { code, stdout, stderr } = await renew(directory, '--json');
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({ service: 'late', renewed: true });
    const after = pairIn(directory);
    expect(after.keyPem).not.toBe(before.keyPem);
    expect(serialOf(after)).not.toBe(serialOf(before));
    expect(statSync(join(directory, 'key.pem')).mode & 0o777).toBe(0o600);
    expect(after.certificatePem.match(/BEGIN/g)).toHaveLength(2);
    for (const pair of [after, before])
      await connectMqtt({ ...pair, deviceId: `late-${serialOf(pair).slice(-4)}`, mqttUrl: late.mqttUrl });
  });

  it('renews a certificate whose renewal an operator has pulled forward', async () => {
    const pulled = await startFleet();
    onTestFinished(() => pulled.stop());
    const directory = await issue('pulled', pulled);
    const before = serialOf(pairIn(directory));
    const { stdout } = await rollcall(['renewals', 'pull', '--all', '--data', pulled.data]);
    expect(stdout).toMatch(/^0 devices and 1 certificates of services are asked to renew until 20/);
    expect((await renew(directory)).stdout).toContain('service pulled: certificate renewed');
    expect(serialOf(pairIn(directory))).not.toBe(before);
  });

  it('with --force renews before the time, and runs the command of --exec', async () => {
    const directory = await issue('forced');
    const before = serialOf(pairIn(directory));
    const { code, stdout } = await renew(directory, '--force', '--exec', `touch ${join(directory, 'reloaded')}`);
    expect(code).toBe(0);
    expect(stdout).toContain('service forced: certificate renewed');
    expect(serialOf(pairIn(directory))).not.toBe(before);
    expect(existsSync(join(directory, 'reloaded'))).toBe(true);
    const failed = await renew(directory, '--force', '--exec', 'exit 7');
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('the certificate was renewed, and the command of --exec ended with 7');
  });

  it('keeps the pair and repeats the same request when the server was not reached', async () => {
    const directory = await issue('cut');
    const before = pairIn(directory);
    const away = await renew(directory, '--force', '--enroll-url', 'https://localhost:1');
    expect(away.code).toBe(4);
    expect(away.stderr).toContain('ECONNREFUSED');
    expect(pairIn(directory)).toEqual(before);
    expect((await renew(directory, '--force')).code).toBe(0);
  });

  it('of a revoked service is refused with exit code 3 and says what to do', async () => {
    const directory = await issue('ended');
    await rollcall(['service', 'revoke', 'ended', '--data', fleet.data]);
    const { keyPem, certificatePem } = pairIn(directory);
    const { code, stderr } = await renew(directory, '--force');
    expect(code).toBe(3);
    expect(stderr).toContain('"rollcall service issue NAME --out DIR"');
    expect(pairIn(directory)).toMatchObject({ keyPem, certificatePem });
  });

  it('asks for the enroll server once in a directory without service.json', async () => {
    const directory = await issue('older');
    rmSync(join(directory, 'service.json'));
    const without = await renew(directory);
    expect(without.code).toBe(2);
    expect(without.stderr).toContain('--enroll-url');
    expect((await renew(directory, '--enroll-url', fleet.enrollUrl)).code).toBe(0);
    expect(JSON.parse(readFileSync(join(directory, 'service.json'), 'utf8'))).toMatchObject({
      service: 'older',
      enrollUrl: fleet.enrollUrl,
    });
    expect((await renew(directory, '--force')).code).toBe(0);
  });

  it.each([
    ['no credentials', () => {}, 'found no cert.pem'],
    [
      'a key of another certificate',
      async (directory: string) => {
        const other = pairIn(await issue('other'));
        writeFileSync(join(directory, 'cert.pem'), pairIn(await issue('mixed')).certificatePem);
        for (const [file, text] of Object.entries({ 'key.pem': other.keyPem, 'ca.pem': other.rootPem }))
          writeFileSync(join(directory, file), text, { mode: 0o600 });
        writeFileSync(
          join(directory, 'service.json'),
          JSON.stringify({ service: 'mixed', enrollUrl: 'https://localhost:1', mqttUrl: 'mqtts://localhost:2' }),
        );
      },
      'the certificate belongs to another key',
    ],
  ])('refuses a directory with %s', async (_, prepare, complaint) => {
    const directory = temporaryDirectory();
    await prepare(directory);
    const { code, stderr } = await renew(directory);
    expect(code).toBe(2);
    expect(stderr).toContain(complaint);
  });
});

describe('rollcall service renew --daemon', () => {
  it('renews before the certificate ends, ends with a signal, and with exit code 3 when the service is revoked', async () => {
    const brief = await startFleet({
      settings: [
        [['certificates', 'device'], '15s'],
        [['certificates', 'backdate'], '0s'],
      ],
    });
    try {
      const directory = await issue('brief', brief);
      const run = async (...options: string[]) => {
        const child = start(['service', 'renew', directory, '--daemon', '--json', ...options], {});
        const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
        const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
        const line = async () => JSON.parse((await lines.next()).value as string);
        return { child, line, end: () => ended(child, stdout, stderr) };
      };
      const first = await run();
      const { expiresAt } = await first.line();
      const renewed = await first.line();
      expect(renewed).toMatchObject({ service: 'brief', renewed: true });
      expect(Date.now()).toBeLessThan(Date.parse(expiresAt));
      expect(Date.parse(renewed.expiresAt)).toBeGreaterThan(Date.parse(expiresAt));
      first.child.kill('SIGTERM');
      expect(await first.end()).toMatchObject({ code: 0, stderr: '' });

      await rollcall(['service', 'revoke', 'brief', '--data', brief.data]);
      const second = await run('--force');
      const { code, stderr } = await second.end();
      expect(code).toBe(3);
      expect(JSON.parse(stderr.trim().split('\n').at(-1) as string)).toMatchObject({ code: 'device_revoked' });
    } finally {
      await brief.stop();
    }
  });
});

describe('rollcall service issue', () => {
  it('refuses a name that is in use, names the ways out, and with --again leaves the earlier certificate valid', async () => {
    const directory = await issue('twice');
    const out = join(temporaryDirectory(), 'second');
    const order = ['service', 'issue', 'twice', '--out', out, '--data', fleet.data];
    const refused = await rollcall(order);
    expect(refused.code).toBe(3);
    expect(refused.stderr).toContain('"rollcall service renew DIR"');
    expect(refused.stderr).toContain('"rollcall service issue twice --again"');
    const session = await connectMqtt({ ...pairIn(directory), deviceId: 'twice', mqttUrl: fleet.mqttUrl });
    expect((await rollcall([...order, '--again'])).code).toBe(0);
    await connectMqtt({ ...pairIn(out), deviceId: 'twice-2', mqttUrl: fleet.mqttUrl });
    expect(session.connected).toBe(true);
    expect((await renew(directory, '--force')).code).toBe(0);
  });

  it('with --again refuses the name of a device, and lists the end of the certificate that ends last', async () => {
    await fleet.enroll('gateway-9');
    const out = join(temporaryDirectory(), 'device');
    const refused = await rollcall(['service', 'issue', 'gateway-9', '--again', '--out', out, '--data', fleet.data]);
    expect(refused.code).toBe(3);
    const directory = await issue('listed');
    await renew(directory, '--force');
    const { validToDate } = new X509Certificate(pairIn(directory).certificatePem);
    const { stdout } = await rollcall(['service', 'list', '--data', fleet.data]);
    expect(stdout).toContain('EXPIRES');
    const first = new Map(stdout.split('\n').map((line) => [line.split(/ +/)[0], line.split(/ +/)[3]])).get('listed');
    expect(Date.parse(first as string)).toBeGreaterThanOrEqual(validToDate.getTime());
  });
});
