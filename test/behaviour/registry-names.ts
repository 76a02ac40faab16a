/** Devices and services share one namespace: no two identities may claim one MQTT client id. */

import { describe, expect, it } from 'vitest';
import { device, OPERATOR, type OpenFreshRegistry, RegistryFixture, service } from './registry-fixture.ts';

/** A service name and device ids that it reserves or leaves free. */
const CLAIMED = [
  ['panel', 'panel'],
  ['panel', 'panel-1'],
  ['panel', 'panel-'],
  ['panel', 'panel--x'],
  ['panel', 'panel-a-b-c'],
  ['panel-a', 'panel-a-b'],
  ['p-', 'p--q'],
] as const;

const FREE = [
  ['panel', 'Panel-1'],
  ['panel', 'panel.1'],
  ['panel', 'panels'],
  ['panel', 'pane'],
  ['panel', 'a-panel-1'],
  ['panel-a', 'panel'],
  ['panel-a', 'panel-ab'],
  ['panel_x', 'panel-x'],
] as const;

export function nameBehaviour(openFresh: OpenFreshRegistry): void {
  describe('names', () => {
    it.each(CLAIMED)('of service %s refuse device %s, by enrollment or by token request', async (name, id) => {
      const fleet = await RegistryFixture.open(openFresh);
      const minted = await fleet.mint({ device: device(id) });
      await fleet.issueService(name);
      for (const token of [await fleet.mint(), minted]) {
        const claim = fleet.claim({ token, id, key: 'k' });
        const refused = { outcome: 'refused', refusal: 'device_exists' };
        expect(await fleet.registry.admitEnrollment(claim)).toEqual(refused);
        expect(await fleet.registry.commitEnrollment(claim)).toEqual(refused);
      }
      await expect(fleet.mint({ device: device(id) })).rejects.toMatchObject({ code: 'token_order_invalid' });
    });

    it.each(CLAIMED)('service %s is not issued over device %s', async (name, id) => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.enroll(id);
      await expect(fleet.issueService(name)).rejects.toMatchObject({ code: 'service_exists' });
      expect(await fleet.registry.listServices()).toEqual([]);
      await fleet.registry.revokeDevices([device(id)], 'unspecified', OPERATOR);
      await expect(fleet.issueService(name)).rejects.toMatchObject({ code: 'service_exists' });
    });

    it.each(CLAIMED)('services %s and %s exclude each other, in either order', async (name, other) => {
      for (const [first, second] of [
        [name, other],
        [other, name],
      ] as const) {
        const fleet = await RegistryFixture.open(openFresh);
        await fleet.issueService(first);
        await expect(fleet.issueService(second)).rejects.toMatchObject({ code: 'service_exists' });
        expect(await fleet.registry.listServices()).toHaveLength(1);
      }
    });

    it.each(FREE)('of service %s and device %s go together', async (name, id) => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.issueService(name);
      await fleet.enroll(id);
      const reverse = await RegistryFixture.open(openFresh);
      await reverse.enroll(id);
      await reverse.issueService(name);
    });

    it('of a revoked service stay reserved, for a service of the same name', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const old = await fleet.issueService('panel');
      await fleet.registry.revokeService(service('panel'), 'keyCompromise', OPERATOR);
      const claim = fleet.claim({ token: await fleet.mint(), id: 'panel-1', key: 'k' });
      expect(await fleet.registry.commitEnrollment(claim)).toMatchObject({ refusal: 'device_exists' });

      const serial = await fleet.issueService('panel');
      expect(await fleet.registry.listServices()).toMatchObject([{ name: 'panel', status: 'active' }]);
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state: 'good' });
      expect(await fleet.registry.certificateStatus(old)).toMatchObject({ state: 'revoked' });
    });
  });
}
