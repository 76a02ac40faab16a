/** Enrollment, repeated enrollment and renewal of a device. */

import type { GroupName } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import type { Revocation } from '../../registry/index.ts';
import { DAY, device, keyHash, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

export function enrollmentBehaviour(openFresh: OpenFreshRegistry): void {
  describe('enrollment', () => {
    it('records device, certificate and audit entry, with the group and labels of the token', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ group: 'pumps' as GroupName, labels: { site: 'north' } });
      const claim = fleet.claim({ token, id: 'pump-1', key: 'k' });
      expect(await fleet.registry.admitEnrollment(claim)).toEqual({ outcome: 'admitted', deviceId: 'pump-1' });
      expect(await fleet.registry.findDevice(device('pump-1'))).toBeUndefined();

      const outcome = await fleet.registry.commitEnrollment(claim);
      const record = {
        id: 'pump-1',
        group: 'pumps',
        labels: { site: 'north' },
        status: 'active',
        enrolledAt: fleet.now,
        enrolledBy: `token/${token.record.id}`,
      };
      expect(outcome).toMatchObject({ outcome: 'enrolled', device: record });
      expect(await fleet.registry.findDevice(device('pump-1'))).toMatchObject(record);
      expect(await fleet.registry.listCertificates({ kind: 'device', id: device('pump-1') })).toEqual([
        {
          ...claim.certificate,
          holder: { kind: 'device', id: 'pump-1' },
          issuedAt: fleet.now,
          parentSerial: undefined,
          operator: OPERATOR,
          tokenId: token.record.id,
          address: '192.0.2.7',
          firstUsedAt: undefined,
          supersededAt: undefined,
          isRecovered: false,
          revokedAt: undefined,
          revocationReason: undefined,
        },
      ]);
      expect(await fleet.registry.certificateStatus(claim.certificate.serial)).toEqual({
        state: 'good',
        holder: { kind: 'device', id: 'pump-1' },
        group: 'pumps',
        labels: { site: 'north' },
        notAfter: claim.certificate.notAfter,
      });
      expect(await fleet.audit()).toContain('device.enrolled device/pump-1 done');
    });

    it('issues exactly one certificate to two concurrent requests with one token', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint();
      const racers = ['pump-1', 'pump-2', 'pump-3'].map((id) => fleet.tryEnroll({ token, id, key: `key of ${id}` }));
      const outcomes = (await Promise.all(racers)).map((outcome) => outcome.outcome);
      expect(outcomes.sort()).toEqual(['enrolled', 'refused', 'refused']);
      expect(await fleet.registry.listDevices({ limit: 10 })).toHaveLength(1);
      expect(await fleet.registry.listTokens()).toMatchObject([{ uses: 1 }]);
    });

    it('answers the same token and key with the same certificate, and consumes no use', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ maxUses: 2 });
      const claim = fleet.claim({ token, id: 'pump-1', key: 'k' });
      const first = await fleet.registry.commitEnrollment(claim);
      if (first.outcome !== 'enrolled') expect.unreachable();
      const again = { outcome: 'replayed', device: first.device, certificate: first.certificate };
      expect(await fleet.registry.admitEnrollment(claim)).toEqual(again);
      expect(await fleet.registry.admitEnrollment({ ...claim, deviceId: undefined })).toEqual(again);
      expect(await fleet.tryEnroll({ token, id: 'pump-1', key: 'k' })).toEqual(again);
      expect(await fleet.registry.listTokens()).toMatchObject([{ uses: 1 }]);
    });

    it('issues one certificate to two concurrent requests with one token and one key, also with different ids', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint();
      const [one, two] = await Promise.all([
        fleet.tryEnroll({ token, id: 'chosen-1', key: 'k' }),
        fleet.tryEnroll({ token, id: 'chosen-2', key: 'k' }),
      ]);
      if (one.outcome === 'refused' || two.outcome === 'refused') expect.unreachable();
      expect([one.outcome, two.outcome].sort()).toEqual(['enrolled', 'replayed']);
      expect(two.certificate).toEqual(one.certificate);
    });

    it('answers again when the token is consumed, and for a day after it expired', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ ttlSeconds: 3600 });
      await fleet.enroll('pump-1', { token, key: 'k' });
      const again = () => fleet.tryEnroll({ token, id: 'pump-1', key: 'k' });
      expect(await again()).toMatchObject({ outcome: 'replayed' });
      fleet.pass(3_600_000 + DAY - 1);
      expect(await again()).toMatchObject({ outcome: 'replayed' });
      fleet.pass(1);
      expect(await again()).toMatchObject({ outcome: 'refused' });
    });

    it('never answers again without the secret, for a revoked token, or with a certificate that is no longer good', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const [voided, cut] = [await fleet.mint(), await fleet.mint()];
      const claim = fleet.claim({ token: voided, id: 'pump-1', key: 'k' });
      await fleet.registry.commitEnrollment(claim);
      expect(await fleet.registry.admitEnrollment({ ...claim, secret: cut.secret })).toMatchObject({
        refusal: 'wrong_secret',
      });
      await fleet.registry.revokeToken(voided.record.id, OPERATOR);
      expect(await fleet.registry.admitEnrollment(claim)).toMatchObject({ refusal: 'void' });

      await fleet.enroll('pump-2', { token: cut, key: 'k2' });
      await fleet.registry.revokeDevices([device('pump-2')], 'keyCompromise', OPERATOR);
      expect(await fleet.tryEnroll({ token: cut, id: 'pump-2', key: 'k2' })).toMatchObject({ refusal: 'spent' });
    });

    it('refuses a key that belongs or belonged to another certificate, of any holder', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ maxUses: 9 });
      const parentSerial = await fleet.enroll('pump-1', { token, key: 'enrolled' });
      await fleet.registry.commitRenewal({ parentSerial, certificate: fleet.issue('renewed'), address: '192.0.2.7' });
      await fleet.enroll('pump-2', { token, key: 'revoked' });
      await fleet.registry.revokeDevices([device('pump-2')], 'keyCompromise', OPERATOR);
      await fleet.registry.commitService('panel' as never, fleet.issue('of a service'), { actor: OPERATOR });
      await fleet.registry.recordServerCertificate('broker', fleet.issue('of the server'));

      for (const key of ['enrolled', 'renewed', 'revoked', 'of a service', 'of the server']) {
        const other = await fleet.mint();
        const claim = fleet.claim({ token: other, id: 'pump-3', key });
        const refused = { outcome: 'refused', refusal: 'key_reused' };
        expect(await fleet.registry.admitEnrollment(claim)).toEqual(refused);
        expect(await fleet.registry.commitEnrollment(claim)).toEqual(refused);
      }
      const renamed = fleet.claim({ token, id: 'pump-4', key: 'enrolled' });
      expect(await fleet.registry.admitEnrollment(renamed)).toMatchObject({ refusal: 'key_reused' });
      expect((await fleet.registry.listDevices({ limit: 10 })).map((found) => found.id)).toEqual(['pump-1', 'pump-2']);
    });

    it('refuses another device with a token that names its device', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ device: device('pump-1') });
      const claim = fleet.claim({ token, id: 'pump-2', key: 'k' });
      expect(await fleet.registry.commitEnrollment(claim)).toMatchObject({ refusal: 'device_id_not_allowed' });
      expect(await fleet.registry.admitEnrollment({ ...claim, deviceId: undefined })).toEqual({
        outcome: 'admitted',
        deviceId: 'pump-1',
      });
      await fleet.enroll('pump-1', { token });
    });

    it('leaves the id to the server when neither token nor request names one', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const claim = fleet.claim({ token: await fleet.mint(), id: 'unused', key: 'k' });
      expect(await fleet.registry.admitEnrollment({ ...claim, deviceId: undefined })).toEqual({
        outcome: 'admitted',
        deviceId: undefined,
      });
    });
  });

  describe('enrollment of a device that exists', () => {
    it('needs a token that names it', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const serial = await fleet.enroll('pump-1');
      const claim = fleet.claim({ token: await fleet.mint(), id: 'pump-1', key: 'thief' });
      const refused = { outcome: 'refused', refusal: 'device_exists' };
      expect(await fleet.registry.admitEnrollment(claim)).toEqual(refused);
      expect(await fleet.registry.commitEnrollment(claim)).toEqual(refused);
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state: 'good' });
    });

    it('supersedes its earlier certificates in the same transaction, and notifies the listeners', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const first = await fleet.enroll('pump-1');
      const renewed = fleet.issue('second');
      await fleet.registry.commitRenewal({ parentSerial: first, certificate: renewed, address: '192.0.2.7' });
      const heard: Revocation[] = [];
      fleet.registry.onRevocation(async (revocation) => void heard.push(revocation));
      fleet.pass(1000);

      const token = await fleet.mint({ device: device('pump-1'), group: 'spares' as GroupName });
      const third = await fleet.enroll('pump-1', { token, key: 'third' });
      const superseded = { state: 'revoked', reason: 'superseded', revokedAt: fleet.now };
      expect(await fleet.registry.certificateStatus(first)).toMatchObject(superseded);
      expect(await fleet.registry.certificateStatus(renewed.serial)).toMatchObject(superseded);
      expect(await fleet.registry.certificateStatus(third)).toMatchObject({ state: 'good', group: 'spares' });
      expect(heard).toEqual([
        {
          holder: { kind: 'device', id: 'pump-1' },
          serials: [first, renewed.serial],
          reason: 'superseded',
          revokedAt: fleet.now,
        },
      ]);
      expect((await fleet.audit()).slice(-4)).toEqual([
        'device.superseded device/pump-1 done',
        'certificate.revoked device/pump-1 done',
        'certificate.revoked device/pump-1 done',
        'device.enrolled device/pump-1 done',
      ]);
    });

    it('happens even when a listener fails', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.enroll('pump-1');
      fleet.registry.onRevocation(() => Promise.reject(new Error('listener')));
      const token = await fleet.mint({ device: device('pump-1') });
      await fleet.enroll('pump-1', { token, key: 'second' });
    });

    it('enrolls a revoked device only with a token that was created after the revocation', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const old = await fleet.enroll('pump-1');
      const before = await fleet.mint({ device: device('pump-1') });
      await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR);
      expect(await fleet.tryEnroll({ token: before, id: 'pump-1', key: 'k2' })).toMatchObject({ outcome: 'refused' });
      expect(await fleet.tryEnroll({ token: await fleet.mint(), id: 'pump-1', key: 'k2' })).toMatchObject({
        refusal: 'device_exists',
      });

      const after = await fleet.mint({ device: device('pump-1') });
      const serial = await fleet.enroll('pump-1', { token: after, key: 'k2' });
      expect(await fleet.registry.findDevice(device('pump-1'))).toMatchObject({
        status: 'active',
        revokedAt: undefined,
        revocationReason: undefined,
      });
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state: 'good' });
      expect(await fleet.registry.certificateStatus(old)).toMatchObject({ state: 'revoked', reason: 'keyCompromise' });
    });
  });

  describe('renewal', () => {
    it('gives a good certificate a successor and leaves it good', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const parentSerial = await fleet.enroll('pump-1');
      fleet.pass(60 * DAY);
      const certificate = fleet.issue('second');
      expect(await fleet.registry.admitRenewal(parentSerial, certificate.publicKeySha256)).toEqual({
        outcome: 'admitted',
        holder: { kind: 'device', id: 'pump-1' },
      });
      expect(await fleet.registry.commitRenewal({ parentSerial, certificate, address: '192.0.2.8' })).toMatchObject({
        outcome: 'renewed',
        certificate: {
          ...certificate,
          parentSerial,
          tokenId: expect.any(String),
          operator: OPERATOR,
          address: '192.0.2.8',
        },
      });
      expect(await fleet.registry.certificateStatus(parentSerial)).toMatchObject({ state: 'good' });
      expect(await fleet.registry.certificateStatus(certificate.serial)).toMatchObject({ state: 'good' });
      expect(await fleet.audit()).toContain('certificate.renewed device/pump-1 done');
    });

    it('serves services, too', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const parentSerial = await fleet.issueService('panel');
      const certificate = fleet.issue('second');
      await fleet.registry.commitRenewal({ parentSerial, certificate, address: '192.0.2.8' });
      expect(await fleet.registry.certificateStatus(certificate.serial)).toMatchObject({
        state: 'good',
        holder: { kind: 'service', name: 'panel' },
      });
    });

    it('answers the same parent and key with the same certificate', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const parentSerial = await fleet.enroll('pump-1');
      const renew = () =>
        fleet.registry.commitRenewal({ parentSerial, certificate: fleet.issue('second'), address: '192.0.2.8' });
      const [first, second] = await Promise.all([renew(), renew()]);
      if (first.outcome !== 'renewed') expect.unreachable();
      const again = { outcome: 'replayed', certificate: first.certificate };
      expect(second).toEqual(again);
      expect(await fleet.registry.admitRenewal(parentSerial, keyHash('second'))).toEqual(again);
    });

    it('refuses every key that was used before, that of the parent included', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const parentSerial = await fleet.enroll('pump-1', { key: 'first' });
      await fleet.enroll('pump-2', { key: 'of another' });
      const successor = fleet.issue('second');
      await fleet.registry.commitRenewal({ parentSerial, certificate: successor, address: '192.0.2.8' });
      const refused = { outcome: 'refused', refusal: 'key_reused' };
      for (const [parent, key] of [
        [parentSerial, 'first'],
        [parentSerial, 'of another'],
        [successor.serial, 'first'],
        [successor.serial, 'second'],
      ] as const) {
        expect(await fleet.registry.admitRenewal(parent, keyHash(key))).toEqual(refused);
        const renewal = { parentSerial: parent, certificate: fleet.issue(key), address: '192.0.2.8' };
        expect(await fleet.registry.commitRenewal(renewal)).toEqual(refused);
      }
    });

    it('refuses a parent that is unknown, expired, revoked, or the server itself', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const own = fleet.issue('of the server');
      await fleet.registry.recordServerCertificate('broker', own);
      const revoked = await fleet.enroll('pump-1');
      const expired = await fleet.enroll('pump-2');
      await fleet.registry.revokeDevices([device('pump-1')], 'unspecified', OPERATOR);
      const refused = { outcome: 'refused', refusal: 'parent_not_good' };
      const ask = async (parentSerial: string, expected: object = refused) => {
        expect(await fleet.registry.admitRenewal(parentSerial, keyHash('new'))).toEqual(expected);
        const renewal = { parentSerial, certificate: fleet.issue('new'), address: '192.0.2.8' };
        expect(await fleet.registry.commitRenewal(renewal)).toEqual(expected);
      };
      for (const parent of ['abcdef', own.serial, revoked]) await ask(parent);
      fleet.pass(90 * DAY);
      await ask(expired, { outcome: 'refused', refusal: 'parent_expired' });
    });
  });
}
