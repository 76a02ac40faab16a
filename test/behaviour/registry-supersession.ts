/** Supersession of a certificate by a renewed one. */

import { describe, expect, it } from 'vitest';
import type { RenewalOutcome } from '../../registry/certificates/issuance-store.ts';
import { DAY, device, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

export function supersessionBehaviour(openFresh: OpenFreshRegistry): void {
  const opened = async () => {
    const fleet = await RegistryFixture.open(openFresh);
    const parent = await fleet.enroll('pump-1');
    const ask = (parentSerial: string, key: string): Promise<RenewalOutcome> =>
      fleet.registry.commitRenewal({ parentSerial, certificate: fleet.issue(key), address: '192.0.2.7' });
    const renew = async (parentSerial: string, key: string): Promise<string> => {
      const outcome = await ask(parentSerial, key);
      return outcome.outcome === 'refused' ? expect.unreachable() : outcome.certificate.serial;
    };
    const state = async (serial: string) => (await fleet.registry.certificateStatus(serial)).state;
    const forks = async () => (await fleet.audit()).filter((entry) => entry.startsWith('certificate.renewal_forked'));
    return { fleet, parent, ask, renew, state, forks };
  };

  describe('supersession', () => {
    it('comes with the first use of the new certificate, whose status says that it is unused', async () => {
      const { fleet, parent, renew, state } = await opened();
      const child = await renew(parent, 'k1');
      expect(await fleet.registry.certificateStatus(child)).toMatchObject({ state: 'good', isUnused: true });
      expect(await state(parent)).toBe('good');

      expect(await fleet.registry.recordFirstUse(child)).toBe(true);
      expect(await fleet.registry.certificateStatus(child)).not.toHaveProperty('isUnused');
      expect(await fleet.registry.certificateStatus(parent)).toEqual({
        state: 'superseded',
        holder: { kind: 'device', id: 'pump-1' },
        supersededAt: fleet.now,
      });
      expect(await fleet.registry.recordFirstUse(child)).toBe(false);
      await fleet.reopen();
      expect(await state(parent)).toBe('superseded');
    });

    it('is no revocation: no listener is notified, and no CRL contains it', async () => {
      const { fleet, parent, renew } = await opened();
      const told: unknown[] = [];
      fleet.registry.onRevocation((revocation) => void told.push(revocation));
      await fleet.registry.recordFirstUse(await renew(parent, 'k1'));
      expect(told).toEqual([]);
      expect(await fleet.registry.listRevoked()).toEqual([]);
    });

    it('comes without any use when the overlap is over, and never after the expiry', async () => {
      const { fleet, parent, renew, state } = await opened();
      const child = await renew(parent, 'k1');
      fleet.pass(7 * DAY - 1);
      expect(await state(parent)).toBe('good');
      await renew(parent, 'k2'); // a second renewal does not restart the overlap
      fleet.pass(1);
      expect([await state(parent), await state(child)]).toEqual(['superseded', 'good']);
    });

    it('leaves a parent its own expiry when that is earlier than the end of the overlap', async () => {
      const { fleet, parent, renew } = await opened();
      fleet.pass(88 * DAY);
      await renew(parent, 'k1');
      const [first] = await fleet.registry.listCertificates({ kind: 'device', id: device('pump-1') });
      expect(first?.supersededAt).toBeUndefined();
    });

    it('ends every other certificate of the device', async () => {
      const { fleet, parent, renew, state } = await opened();
      const lost = await renew(parent, 'lost');
      const used = await renew(parent, 'used');
      const next = await renew(used, 'next'); // a renewal proves possession of the key, so `used` counts as used
      expect(await Promise.all([parent, lost, used, next].map(state))).toEqual([
        'superseded',
        'superseded',
        'good',
        'good',
      ]);
      expect(await fleet.registry.recordFirstUse(lost)).toBe(false);
      await fleet.registry.recordFirstUse(next);
      expect(await state(used)).toBe('superseded');
    });

    it('lets the old certificate repeat its renewal request, and no other', async () => {
      const { fleet, parent, ask, renew } = await opened();
      const child = await renew(parent, 'k1');
      await fleet.registry.recordFirstUse(child);
      expect(await ask(parent, 'k1')).toMatchObject({ outcome: 'replayed', certificate: { serial: child } });
      expect(await ask(parent, 'k2')).toEqual({ outcome: 'refused', refusal: 'parent_superseded' });
      await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', 'operator/local');
      expect(await ask(parent, 'k1')).toEqual({ outcome: 'refused', refusal: 'parent_not_good' });
    });

    it('is not for services: their replicas may share a certificate', async () => {
      const { fleet, renew, state, forks } = await opened();
      const shared = await fleet.issueService('dashboard');
      const first = await renew(shared, 'replica 1');
      await renew(shared, 'replica 2');
      expect(await fleet.registry.recordFirstUse(first)).toBe(false);
      fleet.pass(8 * DAY);
      expect(await state(shared)).toBe('good');
      expect(await forks()).toEqual([]);
    });

    it('does not undo a revocation or suspension', async () => {
      const { fleet, parent, renew, state } = await opened();
      const child = await renew(parent, 'k1');
      await fleet.registry.applyDeviceOperation([device('pump-1')], { kind: 'suspend' }, 'operator/local');
      await fleet.registry.recordFirstUse(child);
      expect(await state(child)).toBe('suspended');
      await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', 'operator/local');
      expect(await fleet.registry.recordFirstUse(child)).toBe(false);
      expect(await state(child)).toBe('revoked');
    });
  });

  describe('a fork', () => {
    it('is answered and recorded while the first key is unused: it may have been lost in a crash', async () => {
      const { fleet, parent, renew, state, forks } = await opened();
      const lost = await renew(parent, 'lost');
      expect(await forks()).toEqual([]);
      const second = await renew(parent, 'second');
      expect(await forks()).toEqual(['certificate.renewal_forked device/pump-1 done']);
      const [entry] = (await fleet.registry.listAudit({ limit: 10 })).filter(({ action }) => action.endsWith('forked'));
      expect(entry?.details).toMatchObject({ serial: second, parentSerial: parent, others: lost });
      await renew(parent, 'second');
      expect(await forks()).toHaveLength(1);
      await fleet.registry.recordFirstUse(second);
      expect(await state(lost)).toBe('superseded');
    });

    it('is refused to a device that is revoked or suspended between admission and commit', async () => {
      const { fleet, parent, ask } = await opened();
      const admit = (key: string) => fleet.registry.admitRenewal(parent, key.repeat(64));
      expect(await admit('a')).toMatchObject({ outcome: 'admitted' });
      await fleet.registry.applyDeviceOperation([device('pump-1')], { kind: 'suspend' }, 'operator/local');
      expect(await ask(parent, 'k1')).toEqual({ outcome: 'refused', refusal: 'device_suspended' });
      await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', 'operator/local');
      expect(await ask(parent, 'k1')).toEqual({ outcome: 'refused', refusal: 'parent_not_good' });
      expect(await fleet.registry.listCertificates({ kind: 'device', id: device('pump-1') })).toHaveLength(1);
    });

    it('is refused and recorded once one of them was used', async () => {
      const { fleet, parent, ask, renew, forks } = await opened();
      await fleet.registry.recordFirstUse(await renew(parent, 'k1'));
      expect(await fleet.registry.admitRenewal(parent, 'f'.repeat(64))).toEqual({
        outcome: 'refused',
        refusal: 'parent_superseded',
      });
      await ask(parent, 'k2');
      expect(await forks()).toEqual([
        'certificate.renewal_forked device/pump-1 refused',
        'certificate.renewal_forked device/pump-1 refused',
      ]);
    });
  });
}
