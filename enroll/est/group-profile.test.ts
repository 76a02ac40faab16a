import { generateKeyPairSync, sign } from 'node:crypto';
import { EST_PATHS, type GroupName } from '@rollcall/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import type { GroupProfile } from '../../registry/index.ts';
import { freshKey, writeTestCsr } from '../../test/fixtures/enroll/test-csr.ts';
import {
  certificateOf,
  type EnrolledDevice,
  openTestEnrollment,
  type TestEnrollment,
} from '../../test/fixtures/enroll/test-enrollment.ts';
import { encodeDer, oid, sequence } from '../x509/der-writer.ts';
import { scheduledWindow } from './renewal-windows.ts';

const DAY = 24 * 3600;
const group = 'pumps' as GroupName;
let fleet: TestEnrollment;
const set = (profile: GroupProfile) => fleet.registry.setProfile(group, profile, 'operator/test');

beforeEach(async () => {
  fleet = await openTestEnrollment();
});

async function enroll(pair: ReturnType<typeof freshKey>, id = 'dev-7') {
  const basic = [id, await fleet.createToken({ group })] as const;
  return fleet.send({ path: EST_PATHS.simpleenroll, basic, body: writeTestCsr(pair) });
}

const renew = ({ cert, key }: EnrolledDevice, pair = freshKey()) =>
  fleet.send({ path: EST_PATHS.simplereenroll, body: writeTestCsr(pair), client: { cert, key } });

const lifeOf = (answer: Parameters<typeof certificateOf>[0]) => {
  const { validToDate } = certificateOf(answer);
  return (validToDate.getTime() - fleet.clock.now) / 1000;
};

describe('the profile of a group', () => {
  it('defines the validity of certificates at enrollment and renewal', async () => {
    await set({ lifetimeSeconds: 2 * DAY });
    const enrolled = await enroll(freshKey());
    expect(lifeOf(enrolled)).toBeLessThanOrEqual(2 * DAY);
    expect(lifeOf(enrolled)).toBeGreaterThan(1.7 * DAY);
    const device = await fleet.enroll('dev-8', { group });
    await set({ lifetimeSeconds: 3600 });
    expect(lifeOf(await renew(device))).toBeLessThanOrEqual(3600);
    await set({});
    expect(lifeOf(await renew(device))).toBeGreaterThan(80 * DAY);
  });

  it('defines which keys are certified, and refuses others with a code of their own', async () => {
    const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
    const p384 = () => generateKeyPairSync('ec', { namedCurve: 'P-384' });
    await set({ keys: ['P-384'] });
    expect(await enroll(freshKey())).toMatchObject({ status: 422, code: 'csr_key_not_allowed' });
    const token = (await fleet.registry.listTokens())[0];
    expect(token?.uses).toBe(0);
    expect((await enroll(p384())).status).toBe(200);
    const other = await fleet.enroll('dev-8');
    expect((await renew(other)).status).toBe(200);
    await fleet.registry.setDevice('dev-8' as never, { group }, 'operator/test');
    expect(await renew(other)).toMatchObject({ status: 422, code: 'csr_key_not_allowed' });
    await set({ keys: ['RSA'] });
    expect(await renew(other, p384())).toMatchObject({ status: 422, code: 'csr_key_not_allowed' });
    expect((await enroll({ ...rsa() }, 'dev-9')).status).toBe(200);
  });

  it('allows Ed25519 where it names it, and nowhere else', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const csr = edRequest(privateKey, publicKey.export({ type: 'spki', format: 'der' }));
    const ask = async () =>
      fleet.send({ path: EST_PATHS.simpleenroll, basic: ['dev-7', await fleet.createToken({ group })], body: csr });
    expect(await ask()).toMatchObject({ status: 422, code: 'csr_key_not_allowed' });
    await set({ keys: ['P-256', 'Ed25519'] });
    const answer = await ask();
    expect(certificateOf(answer).publicKey.asymmetricKeyType).toBe('ed25519');
    const client = {
      cert: certificateOf(answer).toString() + fleet.authority.trust.chainPem,
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
    expect((await fleet.send({ path: EST_PATHS.simplereenroll, body: writeTestCsr(), client })).status).toBe(200);
  });

  it('limits the number of devices', async () => {
    await set({ maxDevices: 1 });
    expect((await enroll(freshKey())).status).toBe(200);
    expect(await enroll(freshKey(), 'dev-8')).toMatchObject({ status: 409, code: 'group_full' });
  });

  it('defines the windows of renewals', () => {
    const life = { serial: '40ffffffff', notBefore: 0, notAfter: 1000 };
    expect(scheduledWindow(life, 0, { from: 0.3, to: 0.4 }).end).toBeLessThanOrEqual(400);
    expect(scheduledWindow({ ...life, serial: '4000000000' }, 0, { from: 0.3, to: 0.4 }).start).toBe(300);
    const whole = { from: 0.1, to: 0.9 };
    expect(scheduledWindow(life, 1e9, whole).end).toBeLessThanOrEqual(900);
  });
});

/** The testbed's requests carry a hash, which Ed25519 has none of. */
function edRequest(privateKey: ReturnType<typeof freshKey>['privateKey'], spki: Buffer): Buffer {
  const signed = Buffer.concat([
    Buffer.from('020100', 'hex'),
    Buffer.from('3000', 'hex'),
    spki,
    Buffer.from('a000', 'hex'),
  ]);
  const info = wrap(0x30, signed);
  const algorithm = encodeDer(sequence(oid('1.3.101.112')));
  const signature = sign(null, info, privateKey);
  return wrap(0x30, Buffer.concat([info, algorithm, wrap(0x03, Buffer.concat([Buffer.of(0), signature]))]));
}

function wrap(tag: number, contents: Buffer): Buffer {
  const length = contents.length < 128 ? Buffer.of(contents.length) : Buffer.of(0x81, contents.length);
  return Buffer.concat([Buffer.of(tag), length, contents]);
}
