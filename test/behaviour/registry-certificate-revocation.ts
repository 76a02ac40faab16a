/** One certificate revoked alone, beside others of its device. */

import { describe, expect, it } from 'vitest';
import { DAY, device, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

export function certificateRevocationBehaviour(openFresh: OpenFreshRegistry): void {
  const opened = async () => {
    const fleet = await RegistryFixture.open(openFresh);
    const parent = await fleet.enroll('pump-1');
    const renew = async (parentSerial: string, key: string): Promise<string> => {
      const certificate = fleet.issue(key);
      const outcome = await fleet.registry.commitRenewal({ parentSerial, certificate, address: '192.0.2.7' });
      return outcome.outcome === 'refused' ? expect.unreachable() : outcome.certificate.serial;
    };
    const state = async (serial: string) => (await fleet.registry.certificateStatus(serial)).state;
    const revoke = (serial: string) => fleet.registry.revokeCertificate(serial, 'keyCompromise', OPERATOR);
    return { fleet, parent, renew, state, revoke };
  };

  describe('the revocation of one certificate', () => {
    it('leaves the device and its other certificate unchanged, and reports that one', async () => {
      const { fleet, parent, renew, state, revoke } = await opened();
      const child = await renew(parent, 'k1');
      const holder = { kind: 'device', id: 'pump-1' };
      expect(await revoke(parent)).toMatchObject({
        holder,
        serial: parent,
        reason: 'keyCompromise',
        revokedAt: fleet.now,
        others: [{ serial: child, isUsed: false, isDescendant: true }],
      });
      expect(await fleet.registry.certificateStatus(parent)).toEqual({
        state: 'revoked',
        holder,
        revokedAt: fleet.now,
        reason: 'keyCompromise',
      });
      expect(await state(child)).toBe('good');
      expect(await fleet.registry.findDevice(device('pump-1'))).toMatchObject({ status: 'active' });
      expect((await fleet.audit()).at(-1)).toBe('certificate.revoked_alone device/pump-1 done');
      await fleet.reopen();
      expect([await state(parent), await state(child)]).toEqual(['revoked', 'good']);
      expect(await fleet.registry.listRevoked()).toMatchObject([{ serial: parent }]);
    });

    it('notifies certificate listeners, not device listeners, and again when it is repeated', async () => {
      const { fleet, parent, renew, revoke } = await opened();
      await renew(parent, 'k1');
      const told: unknown[] = [];
      fleet.registry.onRevocation(() => expect.unreachable());
      fleet.registry.onCertificateRevocation(async (revocation) => {
        told.push(revocation);
        return { sessionsClosed: 1, lastMessageAt: 7 };
      });
      const proof = await revoke(parent);
      expect(proof).toMatchObject({ sessionsClosed: 1, lastMessageAt: 7, brokersConfirmed: 1 });
      const entries = (await fleet.audit()).length;
      fleet.pass(1000);
      expect(await revoke(parent)).toMatchObject({ revokedAt: proof.revokedAt, brokersConfirmed: 1 });
      const revokedAt = proof.revokedAt;
      const one = { holder: proof.holder, serial: parent, reason: 'keyCompromise', revokedAt };
      expect(told).toEqual([one, one]);
      expect(await fleet.audit()).toHaveLength(entries);
    });

    it('is refused for the last valid certificate, and for an unknown serial', async () => {
      const { fleet, parent, renew, state, revoke } = await opened();
      await expect(revoke(parent)).rejects.toMatchObject({ code: 'certificate_last' });
      const child = await renew(parent, 'k1');
      await fleet.registry.recordFirstUse(child);
      await expect(revoke(child)).rejects.toMatchObject({ code: 'certificate_last' });
      expect(await state(child)).toBe('good');
      await expect(revoke('abc')).rejects.toMatchObject({ code: 'certificate_unknown' });
      const own = fleet.issue('server key');
      await fleet.registry.recordServerCertificate('broker', own);
      await expect(revoke(own.serial)).rejects.toMatchObject({ code: 'certificate_unknown' });
    });

    it('of a superseded certificate puts it on the CRL, and leaves the device its valid one', async () => {
      const { fleet, parent, renew, state, revoke } = await opened();
      const child = await renew(parent, 'k1');
      await fleet.registry.recordFirstUse(child);
      expect(await revoke(parent)).toMatchObject({ others: [{ serial: child, isUsed: true, isDescendant: true }] });
      expect([await state(parent), await state(child)]).toEqual(['revoked', 'good']);
    });

    it('of an unused renewed certificate leaves its parent valid beyond the overlap', async () => {
      const { fleet, parent, renew, state, revoke } = await opened();
      const child = await renew(parent, 'k1');
      expect(await revoke(child)).toMatchObject({ others: [{ serial: parent, isUsed: true, isDescendant: false }] });
      fleet.pass(8 * DAY);
      expect([await state(parent), await state(child)]).toEqual(['good', 'revoked']);
    });

    it('leaves the overlap unchanged while another renewed certificate is valid', async () => {
      const { fleet, parent, renew, state, revoke } = await opened();
      const [one, two] = [await renew(parent, 'k1'), await renew(parent, 'k2')];
      await revoke(one);
      fleet.pass(8 * DAY);
      expect([await state(parent), await state(two)]).toEqual(['superseded', 'good']);
    });
  });
}
