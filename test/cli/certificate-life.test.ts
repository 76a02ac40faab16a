/** Certificates on the command line: profiles of groups, expiring certificates, and revocation of one certificate. */

import { X509Certificate } from 'node:crypto';
import { memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { requestRenewal } from '../../device-sdk/enrollment.ts';
import type { Ended } from '../fixtures/child-process.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { rollcall } from '../fixtures/program.ts';

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet.stop());

function run(...args: string[]): Promise<Ended> {
  return rollcall([...args, '--data', fleet.data]);
}

it('the profile of a group is set, keeps settings that a change does not name, and is removed', async () => {
  expect((await run('group', 'profile', 'show', 'brief')).stdout).toContain('brief has no profile');
  expect(await run('group', 'profile', 'set', 'brief', '--lifetime', '2h', '--max-devices', '1')).toMatchObject({
    code: 0,
    stderr: '',
  });
  expect(await run('group', 'profile', 'set', 'brief', '--keys', 'p-256')).toMatchObject({ code: 0 });
  const shown = (await run('group', 'profile', 'show', 'brief')).stdout;
  expect(shown).toMatch(/^lifetime +7200 s$/m);
  expect(shown).toMatch(/^keys +P-256$/m);
  expect(shown).toMatch(/^devices +at most 1$/m);

  const device = await fleet.enroll('brief-1', { group: 'brief' });
  const { validTo } = new X509Certificate(device.certificatePem);
  expect(Date.parse(validTo)).toBeLessThan(Date.now() + 2 * 3_600_000 + 1000);
  await expect(fleet.enroll('brief-2', { group: 'brief' })).rejects.toMatchObject({ code: 'group_full' });

  expect(await run('group', 'profile', 'set', 'brief', '--clear')).toMatchObject({ code: 0 });
  expect((await run('group', 'profile', 'show', 'brief')).stdout).toContain('brief has no profile');
});

it.each([
  ['nothing to set', [], 'expected --lifetime'],
  ['a life that is too short', ['--lifetime', '1m'], 'lifetime'],
  ['a kind of key that is none', ['--keys', 'rot13'], 'expected some of'],
  ['parts of a life that are none', ['--renewal', '2-3'], 'expected two parts of the lifetime'],
])('refuses a profile with %s', async (_, options, complaint) => {
  const { code, stderr } = await run('group', 'profile', 'set', 'other', ...options);
  expect(code).not.toBe(0);
  expect(stderr).toContain(complaint);
});

it('the list shows certificates that expire within a time, and none that expire later', async () => {
  await run('group', 'profile', 'set', 'short', '--lifetime', '3h');
  await fleet.enroll('ends-soon', { group: 'short' });
  await fleet.enroll('ends-later');
  const soon = (await run('certificates', 'expiring', '--within', '1d')).stdout;
  expect(soon).toContain('ends-soon');
  expect(soon).not.toContain('ends-later');
  const services = await run('certificates', 'expiring', '--kind', 'service,root', '--within', '1d');
  expect(services).toMatchObject({ code: 0, stdout: '', stderr: 'rollcall: nothing expires within 1d\n' });
  const wrong = await run('certificates', 'expiring', '--kind', 'services');
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('expected some of device, service, token') });
  const all = await run('certificates', 'expiring', '--kind', 'device', '--kind', 'root', '--within', '30y');
  expect(all.stdout).toMatch(/^KIND +NAME +EXPIRES +IN +ID +RENEWED BY$/m);
  expect(all.stdout).toMatch(/^root +active [0-9a-f]{8} .* in \d+d \d+h .* rollcall ca rotate prepare --root$/m);
  expect(all.stderr).toMatch(/^rollcall: within 30y: \d+ devices, 1 root$/m);
  expect((await run('certificates', 'expiring', '--late')).stdout).not.toContain('ends-soon');
});

it('one certificate is revoked alone and the valid ones are reported, but the last one is not revoked', async () => {
  const old = await fleet.enroll('pair-1');
  const next = await requestRenewal(memoryIdentityStore(), old);
  const [first, second] = [old, next].map(({ certificatePem }) => new X509Certificate(certificatePem).serialNumber);
  const whole = await run('device', 'revoke', '--serial', first as string, '--reason', 'keyCompromise', '--dry-run');
  expect(whole.stderr).toContain('this revokes the device and every certificate of it');

  // As openssl writes it: capitals, and a colon after every two digits.
  const written = first?.match(/../g)?.join(':') as string;
  const { code, stdout, stderr } = await run('certificates', 'revoke', written, '--reason', 'keyCompromise');
  expect(code, stderr).toBe(0);
  expect(stdout).toContain('of device/pair-1 is revoked; 0 live sessions closed, confirmed by 1 broker');
  expect(stderr).toContain('which has not been used yet');
  expect(stderr).toContain('was renewed from the revoked certificate');
  const last = await run('certificates', 'revoke', second as string, '--reason', 'keyCompromise');
  expect(last.code).not.toBe(0);
  expect(last.stderr).toContain('has no other certificate that counts');
  expect((await fleet.operator.showDevice({ id: 'pair-1' as never })).status).toBe('active');
});
