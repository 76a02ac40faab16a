import { DEFAULT_GROUP, type DeviceId, EST_PATHS, RENEWAL_INFO_PATH } from '@rollcall/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { freshKey, type TestCsrOptions, writeTestCsr } from '../../test/fixtures/enroll/test-csr.ts';
import {
  certificateOf,
  openTestAuthority,
  openTestEnrollment,
  type TestEnrollment,
} from '../../test/fixtures/enroll/test-enrollment.ts';
import { pem } from '../x509/pem.ts';
import { publicKeySha256 } from '../x509/profile.ts';

const DAY_MS = 24 * 3_600_000;
const id = 'dev-7' as DeviceId;

let fleet: TestEnrollment;
beforeEach(async () => {
  fleet = await openTestEnrollment({ startAt: Date.now() - 200 * DAY_MS });
});

/** A device whose certificate ended so many days ago, by every clock there is; the server lives today. */
async function endedDevice(daysAgo: number, authority = fleet.authority) {
  const { registry, clock } = fleet;
  const today = Date.now();
  clock.now = today - (90 + daysAgo) * DAY_MS;
  const { privateKey, publicKey } = freshKey();
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const certificate = await authority.issuer.issue({ kind: 'device', id }, spki);
  if (authority === fleet.authority) {
    const { record, secret } = await registry.createToken(
      { maxUses: 1, ttlSeconds: 3600, group: DEFAULT_GROUP, labels: {}, device: id },
      'operator/test',
    );
    await registry.commitEnrollment({
      ...{ tokenId: record.id, secret, deviceId: id, certificate, address: '192.0.2.7' },
      publicKeySha256: publicKeySha256(spki),
    });
  }
  clock.now = today;
  await fleet.authority.serverCertificates.renewDue();
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const client = { cert: pem(certificate.der) + authority.trust.chainPem, key };
  const ask = (order: TestCsrOptions = { privateKey, publicKey }) =>
    fleet.send({ path: EST_PATHS.simplereenroll, body: writeTestCsr(order), client });
  return { client, certificate, publicKey, privateKey, ask };
}

describe('a device whose certificate has expired', () => {
  it('gets another one for the same key, and the same one for a repeated request', async () => {
    const device = await endedDevice(10);
    const answer = await device.ask();
    const recovered = certificateOf(answer);
    expect(recovered.publicKey.equals(device.publicKey)).toBe(true);
    expect(recovered.subjectAltName).toBe('URI:spiffe://fleet.example/device/dev-7');
    expect(recovered.validToDate.getTime()).toBeGreaterThan(Date.now());
    expect((await device.ask()).body).toBe(answer.body);
    expect(fleet.logged.text()).toContain('certificate recovered after its expiry');
    const client = { ...device.client, cert: pem(recovered.raw) };
    const renewed = await fleet.send({ path: EST_PATHS.simplereenroll, body: writeTestCsr(), client });
    expect(renewed.status).toBe(200);
  });

  it('is told that it has expired when it sends another key', async () => {
    const { ask } = await endedDevice(10);
    expect(await ask({})).toMatchObject({ status: 403, code: 'certificate_expired' });
  });

  it('is refused when the grace period is over', async () => {
    const { ask } = await endedDevice(32);
    expect(await ask()).toMatchObject({ status: 403, code: 'recovery_refused' });
  });

  it('is refused at every other path', async () => {
    const { client } = await endedDevice(10);
    expect(await fleet.send({ path: RENEWAL_INFO_PATH, client })).toMatchObject({
      status: 403,
      code: 'certificate_rejected',
    });
  });

  it('is refused while it is suspended, and finally once it is revoked', async () => {
    const { ask } = await endedDevice(10);
    await fleet.registry.applyDeviceOperation([id], { kind: 'suspend' }, 'operator/test');
    expect(await ask()).toMatchObject({ code: 'device_suspended' });
    await fleet.registry.revokeDevices([id], 'keyCompromise', 'operator/test');
    expect(await ask()).toMatchObject({ status: 403, code: 'device_revoked' });
  });

  it('is refused when another CA signed it, with the same name, key and dates', async () => {
    await endedDevice(10);
    const { authority } = await openTestAuthority({ now: () => fleet.clock.now });
    const { ask } = await endedDevice(5, authority);
    expect(await ask()).toMatchObject({ status: 403, code: 'certificate_rejected' });
  });

  it('is refused when our CA signed it and the registry does not know it', async () => {
    const { client } = await endedDevice(10);
    const { privateKey, publicKey } = freshKey();
    const today = fleet.clock.now;
    fleet.clock.now = today - 100 * DAY_MS;
    const unknown = await fleet.authority.issuer.issue(
      { kind: 'device', id },
      publicKey.export({ type: 'spki', format: 'der' }),
    );
    fleet.clock.now = today;
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const answer = await fleet.send({
      path: EST_PATHS.simplereenroll,
      body: writeTestCsr({ privateKey, publicKey }),
      client: { ...client, cert: pem(unknown.der) + fleet.authority.trust.chainPem, key },
    });
    expect(answer).toMatchObject({ status: 403, code: 'certificate_rejected' });
  });
});
