/** A simulation whose devices cannot connect reports the cause, on the line of each second and at its end. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatBootstrapToken } from '@rollcall/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

it('a simulation whose enroll server has an unknown name fails, and its errors are counted by message', async () => {
  const token = formatBootstrapToken({
    id: '0123456789abcdef',
    secret: Buffer.alloc(20, 7).toString('base64url'),
    rootSha256: 'ab'.repeat(32),
    enrollUrl: 'https://no-such-host.invalid:8443',
  });
  const { code, stdout } = await rollcall(['simulate', '--devices', '3', '--seconds', '3', '--token', '-'], {
    stdin: token,
  });
  expect(stdout).toMatch(/[1-9]\d* x .*the name no-such-host\.invalid does not resolve$/m);
  expect(stdout).toContain('0 connected at some time');
  expect(code).toBe(1);
});

it('devices enroll at the rate that a running server admits, and the result says that it was limited', async () => {
  const data = join(temporaryDirectory(), 'data');
  const config = join(temporaryDirectory(), 'rollcall.yaml');
  // Below what any machine enrolls.
  writeFileSync(config, 'enroll: { limits: { enrollmentsPerSecondPerAddress: 1 } }\n');
  const server = await serve(data, ['--config', config]);
  onTestFinished(async () => {
    await server.end('SIGTERM');
  });
  const keep = join(temporaryDirectory(), 'keep');
  const ended = await rollcall(['simulate', 'devices', '--keep', keep, '--count', '8', '--data', data]);
  expect(ended.stdout).toContain('8 of 8 devices enrolled');
  expect(ended.stdout).toMatch(
    /\d+ x the server refused a request for its rate, and the device waited .* \(rate_limited\)/,
  );
  expect(ended.stdout).toMatch(/limited the rate of enrollments: \d+ requests had to wait/);
  expect(ended.stderr).toMatch(/\d+ of 8 devices enrolled; the server limited the rate \d+ times/);
  expect(ended.code).toBe(0);
});

it('a scenario whose broker refuses connections reports the error in the verdict and in each second', async () => {
  const directory = temporaryDirectory();
  const keep = join(directory, 'keep');
  const fleet = await startFleet();
  await rollcall(['simulate', 'devices', '--keep', keep, '--count', '3', '--socket', fleet.socket]);
  await fleet.stop();
  const scenario = join(directory, 'absent.yaml');
  writeFileSync(
    scenario,
    'name: absent\nduration: 2s\ndevices: { s: { count: 3, publish: [{ stream: t, every: 500ms }] } }\nexpect: [devices.connected == 100%]\n',
  );
  const target = `mqtts://localhost:${await freePort()}`;
  const { code, stdout, stderr } = await rollcall([
    ...['simulate', '--scenario', scenario, '--target', target, '--identities', keep, '--workers', '1'],
  ]);
  expect(stderr).toMatch(/^rollcall: \d+ s: 0 of 3 connected, .* errors; in all ECONNREFUSED \d+$/m);
  expect(stdout).toMatch(/^ {2}\d+ x nothing accepts connections at this address \(ECONNREFUSED\)$/m);
  expect(code).toBe(1);
});
