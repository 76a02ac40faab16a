/** Revocation is committed first, then reported to every listener, and is permanent. */

import { describe, expect, it } from 'vitest';
import { DAY, device, OPERATOR, type OpenFreshRegistry, RegistryFixture, service } from './registry-fixture.ts';

export function revocationBehaviour(openFresh: OpenFreshRegistry): void {
  describe('revocation', () => {
    it('ends every certificate of a device at once, with an audit entry for each', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const first = await fleet.enroll('pump-1');
      const second = fleet.issue('second');
      await fleet.registry.commitRenewal({ parentSerial: first, certificate: second, address: '192.0.2.7' });
      const bystander = await fleet.enroll('pump-2');

      const revocation = {
        holder: { kind: 'device', id: 'pump-1' },
        serials: [first, second.serial],
        reason: 'keyCompromise',
        revokedAt: fleet.now,
      };
      expect(await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR)).toEqual([revocation]);
      for (const serial of revocation.serials) {
        expect(await fleet.registry.certificateStatus(serial)).toEqual({
          state: 'revoked',
          holder: revocation.holder,
          revokedAt: fleet.now,
          reason: 'keyCompromise',
        });
      }
      expect(await fleet.registry.certificateStatus(bystander)).toMatchObject({ state: 'good' });
      expect(await fleet.registry.findDevice(device('pump-1'))).toMatchObject({
        status: 'revoked',
        revokedAt: fleet.now,
        revocationReason: 'keyCompromise',
      });
      expect((await fleet.audit()).slice(-3)).toEqual([
        'device.revoked device/pump-1 done',
        'certificate.revoked device/pump-1 done',
        'certificate.revoked device/pump-1 done',
      ]);
    });

    it('resolves only when every listener is done', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const serial = await fleet.enroll('pump-1');
      const order: string[] = [];
      const listening = Promise.withResolvers<void>();
      fleet.registry.onRevocation(async () => {
        order.push((await fleet.registry.certificateStatus(serial)).state);
        await listening.promise;
        order.push('disconnected');
      });
      const revoking = fleet.registry.revokeDevices([device('pump-1')], 'unspecified', OPERATOR);
      const done = revoking.then(() => order.push('returned'));
      await new Promise((resolve) => setImmediate(resolve));
      listening.resolve();
      await done;
      expect(order).toEqual(['revoked', 'disconnected', 'returned']);
    });

    it('stays committed when a listener fails: the others are notified, and the caller gets the failure', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const serial = await fleet.enroll('pump-1');
      const heard: string[] = [];
      fleet.registry.onRevocation(() => {
        throw new Error('at once');
      });
      fleet.registry.onRevocation(() => Promise.reject(new Error('later')));
      const stop = fleet.registry.onRevocation(() => void heard.push('unsubscribed'));
      fleet.registry.onRevocation(({ serials }) => void heard.push(...serials));
      stop();
      const revoking = fleet.registry.revokeDevices([device('pump-1')], 'unspecified', OPERATOR);
      await expect(revoking).rejects.toMatchObject({ code: 'internal' });
      expect(heard).toEqual([serial]);
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state: 'revoked' });
    });

    it('changes nothing the second time, but notifies again, so that a failed listener is called again', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.enroll('pump-1');
      const first = await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR);
      const audit = await fleet.audit();
      const heard: unknown[] = [];
      fleet.registry.onRevocation((revocation) => void heard.push(revocation));
      fleet.pass(DAY);
      const again = await fleet.registry.revokeDevices([device('pump-1')], 'superseded', OPERATOR);
      expect(again).toEqual(first);
      expect(heard).toEqual(first);
      expect(await fleet.audit()).toEqual(audit);
    });

    it('takes many devices in one operation, or none when one is unknown', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const ids = ['pump-1', 'pump-2', 'pump-3'];
      for (const id of ids) await fleet.enroll(id);
      const before = await fleet.audit();
      const heard: unknown[] = [];
      fleet.registry.onRevocation((revocation) => void heard.push(revocation));
      const strays = [...ids, 'nobody'].map(device);
      await expect(fleet.registry.revokeDevices(strays, 'unspecified', OPERATOR)).rejects.toMatchObject({
        code: 'device_unknown',
      });
      expect(await fleet.audit()).toEqual(before);
      expect(heard).toEqual([]);
      expect(await fleet.registry.listDevices({ status: 'revoked', limit: 10 })).toEqual([]);

      const twice = [...ids, ...ids].map(device);
      expect(await fleet.registry.revokeDevices(twice, 'unspecified', OPERATOR)).toHaveLength(3);
      expect(heard).toHaveLength(3);
      expect(await fleet.registry.listDevices({ status: 'revoked', limit: 10 })).toHaveLength(3);
      expect(await fleet.registry.listDevices({ status: 'active', limit: 10 })).toEqual([]);
    });

    it('takes services the same way', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const serial = await fleet.issueService('panel');
      const heard: unknown[] = [];
      fleet.registry.onRevocation((revocation) => void heard.push(revocation));
      const revocation = await fleet.registry.revokeService(service('panel'), 'cessationOfOperation', OPERATOR);
      expect(revocation).toEqual({
        holder: { kind: 'service', name: 'panel' },
        serials: [serial],
        reason: 'cessationOfOperation',
        revokedAt: fleet.now,
      });
      expect(heard).toEqual([revocation]);
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state: 'revoked' });
      expect(await fleet.registry.listServices()).toMatchObject([{ status: 'revoked', revokedAt: fleet.now }]);
      expect((await fleet.audit()).slice(-2)).toEqual([
        'service.revoked service/panel done',
        'certificate.revoked service/panel done',
      ]);
      await expect(fleet.registry.revokeService(service('nobody'), 'unspecified', OPERATOR)).rejects.toMatchObject({
        code: 'service_unknown',
      });
    });

    it('survives a restart', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const serial = await fleet.enroll('pump-1');
      await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR);
      await fleet.reopen();
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({
        state: 'revoked',
        reason: 'keyCompromise',
      });
    });
  });

  describe('the list of revoked certificates', () => {
    it('contains a revoked certificate until a CRL has contained it after its expiry', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const panel = await fleet.issueService('panel');
      const pump = await fleet.enroll('pump-1');
      await fleet.enroll('pump-2');
      expect(await fleet.registry.listRevoked()).toEqual([]);
      await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR);
      const first = { serial: pump, revokedAt: fleet.now, reason: 'keyCompromise' };
      fleet.pass(DAY);
      await fleet.registry.revokeService(service('panel'), 'superseded', OPERATOR);
      const second = { serial: panel, revokedAt: fleet.now, reason: 'superseded' };
      expect(await fleet.registry.listRevoked()).toEqual([first, second]);
      fleet.pass(90 * DAY);
      expect(await fleet.registry.listRevoked()).toEqual([first, second]);
      fleet.pass(8 * DAY);
      expect(await fleet.registry.listRevoked()).toEqual([]);
      expect(await fleet.registry.certificateStatus(pump)).toMatchObject({ state: 'revoked' });
    });

    it('is numbered without gaps or repetitions, over restarts too', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const next = () => fleet.registry.nextCrlNumber();
      expect([await next(), await next()]).toEqual([1, 2]);
      expect(await Promise.all([next(), next()])).toEqual([3, 4]);
      await fleet.reopen();
      expect(await fleet.registry.nextCrlNumber()).toBe(5);
    });
  });
}
