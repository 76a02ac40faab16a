/** Policies and group profiles over time: their list, their versions, and their restoration. */

import { DEFAULT_DEVICE_POLICY, DEFAULT_SERVICE_POLICY, type GroupName } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { device, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

export function policyBehaviour(openFresh: OpenFreshRegistry): void {
  describe('policies over time', () => {
    it('have versions, newest first, each with its operator, of which one can be restored as another version', async () => {
      const { registry } = await openVersions(openFresh);
      const versions = await registry.listPolicyVersions('group/pumps', { limit: 10 });
      expect(versions.map(({ value, actor, restores }) => [value, actor, restores])).toEqual([
        [undefined, OPERATOR, undefined],
        [DEFAULT_SERVICE_POLICY, OPERATOR, undefined],
        [DEFAULT_DEVICE_POLICY, OPERATOR, undefined],
      ]);
      const [removed, second, first] = versions.map(({ version }) => version) as [number, number, number];
      expect(removed > second && second > first).toBe(true);
      expect(await registry.listPolicyVersions('group/pumps', { limit: 1, before: second })).toEqual([versions[2]]);

      await registry.restorePolicy('group/pumps', first, OPERATOR);
      expect(await registry.findPolicy('group/pumps')).toEqual(DEFAULT_DEVICE_POLICY);
      const [newest] = await registry.listPolicyVersions('group/pumps', { limit: 10 });
      expect(newest).toMatchObject({ value: DEFAULT_DEVICE_POLICY, restores: first });
      await registry.restorePolicy('group/pumps', removed, OPERATOR);
      expect(await registry.findPolicy('group/pumps')).toBeUndefined();
      expect(await registry.listPolicies()).toEqual([]);
    });

    it('are not restored from a version of another scope, of none, or against a check that throws', async () => {
      const { registry } = await openVersions(openFresh);
      const [first] = await registry.listPolicyVersions('group/pumps', { limit: 10 });
      const version = first?.version ?? 0;
      for (const [scope, number] of [
        ['group/valves', version],
        ['group/pumps', 1_000],
      ] as const) {
        const restoring = registry.restorePolicy(scope, number, OPERATOR);
        await expect(restoring).rejects.toMatchObject({ code: 'version_unknown' });
      }
      const refusal = new Error('refused');
      const check = () => {
        throw refusal;
      };
      await expect(registry.restorePolicy('group/pumps', version - 1, OPERATOR, check)).rejects.toBe(refusal);
      await expect(registry.removePolicy('group/pumps', OPERATOR, check)).rejects.toBe(refusal);
      await expect(registry.removePolicy('group/pumps', OPERATOR)).rejects.toMatchObject({ code: 'policy_unknown' });
      expect(await registry.findPolicy('group/pumps')).toBeUndefined();
    });

    it('are listed as they are set, with operator and time, and groups with their devices', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.registry.setPolicy('service/*', DEFAULT_SERVICE_POLICY, OPERATOR);
      await fleet.registry.setPolicy('group/pumps', DEFAULT_DEVICE_POLICY, OPERATOR);
      expect(await fleet.registry.listPolicies()).toMatchObject([
        { scope: 'group/pumps', document: DEFAULT_DEVICE_POLICY, setBy: OPERATOR, setAt: expect.any(Number) },
        { scope: 'service/*', document: DEFAULT_SERVICE_POLICY },
      ]);
      await fleet.enroll('a');
      await fleet.enroll('b');
      await fleet.enroll('c');
      await fleet.registry.revokeDevices([device('c')], 'unspecified', OPERATOR);
      expect(await fleet.registry.countGroups()).toEqual([{ group: 'default', devices: 2 }]);
    });
  });

  it('a policy with a rule of another release is refused', async () => {
    const { registry } = await RegistryFixture.open(openFresh);
    const policy = { ...DEFAULT_DEVICE_POLICY, forbid: ['devices/+/telemetry/+'] };
    await expect(registry.setPolicy('group/pumps', policy, OPERATOR)).rejects.toMatchObject({
      code: 'policy_invalid',
      detail: 'expected only connect, publish, subscribe, receive, retain, found "forbid"',
    });
  });

  it('profiles of groups have versions as well', async () => {
    const { registry } = await RegistryFixture.open(openFresh);
    const pumps = 'pumps' as GroupName;
    await registry.setProfile(pumps, { maxDevices: 2 }, OPERATOR);
    await registry.setPolicy('group/pumps', DEFAULT_DEVICE_POLICY, OPERATOR);
    await registry.setProfile(pumps, {}, OPERATOR);
    const versions = await registry.listProfileVersions(pumps, { limit: 10 });
    expect(versions.map(({ value }) => value)).toEqual([undefined, { maxDevices: 2 }]);
    expect(await registry.listPolicyVersions('group/pumps', { limit: 10 })).toHaveLength(1);
  });
}

/** A policy that was set, set again and removed; opened again since. */
async function openVersions(openFresh: OpenFreshRegistry): Promise<RegistryFixture> {
  const fleet = await RegistryFixture.open(openFresh);
  await fleet.registry.setPolicy('group/pumps', DEFAULT_DEVICE_POLICY, OPERATOR);
  await fleet.registry.setPolicy('group/pumps', DEFAULT_SERVICE_POLICY, OPERATOR);
  await fleet.registry.removePolicy('group/pumps', OPERATOR);
  await fleet.reopen();
  return fleet;
}
