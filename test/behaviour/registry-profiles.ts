/** Certificate profiles and device limits of groups. */

import { DEFAULT_DEVICE_POLICY, type GroupName, Problem } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import type { GroupProfile } from '../../registry/index.ts';
import { device, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const pumps = 'pumps' as GroupName;

export function profileBehaviour(openFresh: OpenFreshRegistry): void {
  describe('profiles', () => {
    it('are stored with an audit entry, replaced as a whole, and removed by an empty one', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      expect(await fleet.registry.findProfile(pumps)).toBeUndefined();
      const profile: GroupProfile = {
        lifetimeSeconds: 3600,
        keys: ['P-256', 'Ed25519'],
        maxDevices: 2,
        renewal: { from: 0.3, to: 0.5 },
      };
      await fleet.registry.setProfile(pumps, profile, OPERATOR);
      await fleet.reopen();
      expect(await fleet.registry.findProfile(pumps)).toEqual(profile);
      expect(await fleet.registry.listProfiles()).toEqual(new Map([[pumps, profile]]));
      expect(await fleet.audit()).toContain('group.profile_set group/pumps done');
      await fleet.registry.setProfile(pumps, { keys: ['RSA'] }, OPERATOR);
      expect(await fleet.registry.findProfile(pumps)).toEqual({ keys: ['RSA'] });
      await fleet.registry.setProfile(pumps, {}, OPERATOR);
      expect(await fleet.registry.findProfile(pumps)).toBeUndefined();
    });

    it('of a group, policies and settings of a device are not changed by an operator whose check throws', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.enroll('pump-1');
      const before = await fleet.audit();
      const seen: unknown[] = [];
      const check = (current: unknown) => {
        seen.push(current);
        throw new Problem('precondition_failed');
      };
      const { registry } = fleet;
      const pump = device('pump-1');
      for (const change of [
        () => registry.setProfile(pumps, { maxDevices: 2 }, OPERATOR, check),
        () => registry.setPolicy('group/pumps', DEFAULT_DEVICE_POLICY, OPERATOR, check),
        () => registry.setDevice(pump, { group: pumps }, OPERATOR, check),
      ]) {
        await expect(change()).rejects.toMatchObject({ code: 'precondition_failed' });
      }
      expect(seen).toEqual([undefined, undefined, await registry.findDevice(pump)]);
      expect(await registry.findProfile(pumps)).toBeUndefined();
      expect(await registry.findPolicy('group/pumps')).toBeUndefined();
      expect(await fleet.audit()).toEqual(before);
      await registry.setProfile(pumps, { maxDevices: 2 }, OPERATOR, () => {});
      expect(await registry.findProfile(pumps)).toEqual({ maxDevices: 2 });
    });

    it.each([
      { lifetimeSeconds: 3599 },
      { lifetimeSeconds: 397 * 86_400 + 1 },
      { lifetimeSeconds: 3600.5 },
      { keys: [] },
      { keys: ['DSA' as never] },
      { maxDevices: 0 },
      { maxDevices: 1.5 },
      { renewal: { from: 0.05, to: 0.5 } },
      { renewal: { from: 0.5, to: 0.95 } },
      { renewal: { from: 0.5, to: 0.52 } },
      { renewal: { from: Number.NaN, to: 0.5 } },
    ] satisfies GroupProfile[])('are refused outside of their bounds: %j', async (profile) => {
      const fleet = await RegistryFixture.open(openFresh);
      await expect(fleet.registry.setProfile(pumps, profile, OPERATOR)).rejects.toMatchObject({
        code: 'profile_invalid',
      });
      expect(await fleet.registry.findProfile(pumps)).toBeUndefined();
    });

    it('come with the admission, by the group of the token and later of the device', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.registry.setProfile(pumps, { lifetimeSeconds: 7200 }, OPERATOR);
      const claim = fleet.claim({ token: await fleet.mint({ group: pumps }), id: 'pump-1', key: 'k' });
      const profile = { lifetimeSeconds: 7200 };
      expect(await fleet.registry.admitEnrollment(claim)).toMatchObject({ outcome: 'admitted', profile });
      await fleet.registry.commitEnrollment(claim);
      const renewal = () => fleet.registry.admitRenewal(claim.certificate.serial, 'a'.repeat(64));
      expect(await renewal()).toMatchObject({ outcome: 'admitted', profile });
      await fleet.registry.setDevice(device('pump-1'), { group: 'valves' as GroupName }, OPERATOR);
      expect(await renewal()).not.toMatchObject({ profile });
    });

    it('limit the devices of a group, also for concurrent requests, and admit those that it has already', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.registry.setProfile(pumps, { maxDevices: 2 }, OPERATOR);
      const token = await fleet.mint({ group: pumps, maxUses: 10 });
      const enroll = (id: string) => fleet.tryEnroll({ token, id, key: `key of ${id}` });
      const ids = ['p-1', 'p-2', 'p-3'];
      const outcomes = await Promise.all(ids.map(enroll));
      expect(outcomes.map(({ outcome }) => outcome).sort()).toEqual(['enrolled', 'enrolled', 'refused']);
      // Concurrent requests have no order.
      const [one = '', other = ''] = ids.filter((_, index) => outcomes[index]?.outcome === 'enrolled');
      const refused = ids.find((id) => id !== one && id !== other) ?? '';
      expect(await enroll(refused)).toEqual({ outcome: 'refused', refusal: 'group_full' });
      expect((await fleet.registry.listTokens())[0]?.uses).toBe(2);

      const again = await fleet.mint({ group: pumps, device: device(one) });
      expect(await fleet.tryEnroll({ token: again, id: one, key: 'new key' })).toMatchObject({ outcome: 'enrolled' });
      await fleet.enroll('v-1');
      const move = () => fleet.registry.setDevice(device('v-1'), { group: pumps }, OPERATOR);
      await expect(move()).rejects.toMatchObject({ code: 'group_full' });
      await fleet.registry.revokeDevices([device(other)], 'unspecified', OPERATOR);
      expect(await move()).toMatchObject({ group: pumps });
      expect(await enroll('p-4')).toMatchObject({ refusal: 'group_full' });
    });
  });
}
