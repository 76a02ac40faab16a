/** Certificate profiles of groups and the list of expiring certificates, from the operator API to the certificate. */

import { describe, expect, it } from 'vitest';
import { startFleet } from '../fixtures/fleet.ts';

describe('an operator', () => {
  it('sets a profile with short-lived certificates, which the list of expiring certificates contains', async () => {
    const fleet = await startFleet();
    const { operator } = fleet;
    expect(await operator.showGroupProfile({ group: 'sensors' })).toEqual({
      group: 'sensors',
      isSet: false,
      profile: {},
    });
    const profile = { lifetimeSeconds: 86_400, keys: ['P-256' as const], maxDevices: 2 };
    await operator.setGroupProfile({ group: 'sensors', ...profile });
    await fleet.enroll('s-1', { group: 'sensors' });
    await fleet.enroll('s-2', { group: 'sensors' });
    await fleet.enroll('other');
    await expect(fleet.enroll('s-3', { group: 'sensors' })).rejects.toMatchObject({ code: 'group_full' });
    await expect(operator.setGroupProfile({ group: 'sensors', lifetimeSeconds: 1 })).rejects.toMatchObject({
      code: 'profile_invalid',
    });

    const query = { withinSeconds: 2 * 86_400, kind: 'device' };
    const first = await operator.listExpiring({ ...query, limit: 1 });
    const rest = await operator.listExpiring({ ...query, limit: 5, after: first.next as string });
    const listed = [...first.expiring, ...rest.expiring];
    expect(listed.map(({ name }) => name).sort()).toEqual(['s-1', 's-2']);
    expect(rest.next).toBeUndefined();
    expect(await operator.listExpiring({ which: 'late' })).toEqual({ expiring: [] });
    await fleet.stop();
  });
});
