/** Recovery of an expired certificate, and its refusals. */

import { describe, expect, it } from 'vitest';
import type { IssuedCertificate } from '../../registry/index.ts';
import { DAY, device, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const pump = { kind: 'device', id: device('pump-1') } as const;

export function recoveryBehaviour(openFresh: OpenFreshRegistry): void {
  const opened = async (daysAfterEnd = 10) => {
    const fleet = await RegistryFixture.open(openFresh);
    await fleet.enroll('pump-1', { key: 'k' });
    const [parent] = await fleet.registry.listCertificates(pump);
    if (parent === undefined) expect.unreachable();
    fleet.pass((90 + daysAfterEnd) * DAY);
    const recover = (changes: { readonly key?: string; readonly of?: IssuedCertificate } = {}) => {
      const { key = 'k', of = parent } = changes;
      const order = { parentSerial: of.serial, der: of.der, certificate: fleet.issue(key), address: '192.0.2.9' };
      return fleet.registry.commitRecovery(order);
    };
    return { fleet, parent, recover };
  };

  describe('recovery', () => {
    it('issues a new certificate for the same key to a device whose certificate has expired, and records it', async () => {
      const { fleet, parent, recover } = await opened();
      const claim = { serial: parent.serial, der: parent.der, publicKeySha256: parent.publicKeySha256 };
      expect(await fleet.registry.admitRecovery(claim)).toEqual({ outcome: 'admitted', holder: pump });
      const outcome = await recover();
      if (outcome.outcome !== 'recovered') expect.unreachable();
      const { serial, tokenId } = outcome.certificate;
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state: 'good', holder: pump });
      expect(tokenId).toBe(parent.tokenId);
      const [entry] = await fleet.registry.listAudit({ limit: 1 });
      expect(entry).toMatchObject({
        action: 'certificate.recovered',
        subject: 'device/pump-1',
        details: { serial, parentSerial: parent.serial, severity: 'high', recovery: 1, address: '192.0.2.9' },
      });
    });

    it('answers a repeated request again, and counts it once', async () => {
      const { fleet, recover } = await opened();
      const first = await recover();
      if (first.outcome !== 'recovered') expect.unreachable();
      expect(await recover()).toEqual({ outcome: 'replayed', certificate: first.certificate });
      await fleet.reopen();
      expect(await recover()).toEqual({ outcome: 'replayed', certificate: first.certificate });
    });

    it('is granted until thirty days after the expiry', async () => {
      const { fleet, recover } = await opened(30);
      expect(await recover()).toEqual({ outcome: 'refused', refusal: 'grace_over' });
      fleet.pass(-1);
      expect(await recover()).toMatchObject({ outcome: 'recovered' });
    });

    it('is granted three times to one key, and again after a renewal with a new one', async () => {
      const { fleet, parent, recover } = await opened();
      let of: IssuedCertificate = parent;
      for (let time = 1; time <= 3; time += 1) {
        const outcome = await recover({ of });
        if (outcome.outcome !== 'recovered') expect.unreachable();
        of = outcome.certificate;
        fleet.pass(100 * DAY);
      }
      expect(await recover({ of })).toEqual({ outcome: 'refused', refusal: 'recoveries_spent' });
      expect(await fleet.audit()).toContain('certificate.recovered device/pump-1 refused');
    });

    it('is refused to any other key, except one that was certified before the expiry and whose response was lost', async () => {
      const { fleet, parent, recover } = await opened(-1);
      const renewed = { parentSerial: parent.serial, certificate: fleet.issue('lost'), address: '192.0.2.9' };
      await fleet.registry.commitRenewal(renewed);
      fleet.pass(2 * DAY);
      expect(await recover({ key: 'other' })).toEqual({ outcome: 'refused', refusal: 'key_differs' });
      expect(await recover({ key: 'lost' })).toMatchObject({ outcome: 'replayed' });
      expect(await recover()).toMatchObject({ outcome: 'recovered' }); // a device that lost that key still has the old one
    });

    it('repeats the lost response to a device that was off during the overlap and the expiry', async () => {
      const { fleet, parent, recover } = await opened(-20);
      const lost = { parentSerial: parent.serial, certificate: fleet.issue('lost'), address: '192.0.2.9' };
      await fleet.registry.commitRenewal(lost);
      fleet.pass(30 * DAY);
      expect(await fleet.registry.certificateStatus(parent.serial)).toMatchObject({ state: 'superseded' });
      const answer = { outcome: 'replayed', certificate: { serial: lost.certificate.serial } };
      expect(await recover({ key: 'lost' })).toMatchObject(answer);
      expect(await recover()).toEqual({ outcome: 'refused', refusal: 'parent_superseded' });
    });

    it('is refused to a key with a revoked recovered certificate', async () => {
      const { fleet, parent, recover } = await opened(-1);
      const certificate = fleet.issue('next');
      await fleet.registry.commitRenewal({ parentSerial: parent.serial, certificate, address: '192.0.2.9' });
      fleet.pass(2 * DAY);
      const outcome = await recover();
      if (outcome.outcome !== 'recovered') expect.unreachable();
      await fleet.registry.revokeCertificate(outcome.certificate.serial, 'keyCompromise', 'operator/local');
      const claim = { serial: parent.serial, der: parent.der, publicKeySha256: parent.publicKeySha256 };
      const refused = { outcome: 'refused', refusal: 'parent_not_good' };
      expect(await fleet.registry.admitRecovery(claim)).toEqual(refused);
      expect(await recover()).toEqual(refused);
      expect(await fleet.registry.certificateStatus(certificate.serial)).toMatchObject({ state: 'good' });
    });

    it('waives no check but that of the dates', async () => {
      const { fleet, parent, recover } = await opened();
      const no = (refusal: string) => ({ outcome: 'refused', refusal });
      const changed = { ...parent, der: Buffer.concat([parent.der, Buffer.of(0)]) };
      expect(await recover({ of: changed })).toEqual(no('parent_not_good'));
      expect(await recover({ of: { ...parent, serial: 'abc' } })).toEqual(no('parent_not_good'));
      const apply = (name: 'suspend' | 'resume' | 'quarantine') =>
        fleet.registry.applyDeviceOperation([pump.id], { kind: name }, 'operator/local');
      await apply('suspend');
      expect(await recover()).toEqual(no('device_suspended'));
      await apply('quarantine');
      expect(await recover()).toEqual(no('device_quarantined'));
      await apply('resume');
      await fleet.registry.revokeDevices([pump.id], 'keyCompromise', 'operator/local');
      expect(await recover()).toEqual(no('parent_not_good'));
      expect(await fleet.registry.listCertificates(pump)).toHaveLength(1);
    });

    it('is refused to a superseded certificate, and to one that has not expired', async () => {
      const { fleet, parent, recover } = await opened(-20);
      expect(await recover()).toEqual({ outcome: 'refused', refusal: 'parent_not_good' });
      const renewal = { parentSerial: parent.serial, certificate: fleet.issue('next'), address: '192.0.2.9' };
      await fleet.registry.commitRenewal(renewal);
      await fleet.registry.recordFirstUse(renewal.certificate.serial);
      fleet.pass(30 * DAY);
      expect(await recover()).toEqual({ outcome: 'refused', refusal: 'parent_superseded' });
    });

    it('is decided at its commit: a device that is suspended or revoked after the admission is refused', async () => {
      const { fleet, parent, recover } = await opened();
      const claim = { serial: parent.serial, der: parent.der, publicKeySha256: parent.publicKeySha256 };
      expect(await fleet.registry.admitRecovery(claim)).toMatchObject({ outcome: 'admitted' });
      await fleet.registry.applyDeviceOperation([pump.id], { kind: 'suspend' }, 'operator/local');
      expect(await recover()).toEqual({ outcome: 'refused', refusal: 'device_suspended' });
    });
  });
}
