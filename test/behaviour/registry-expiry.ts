/** Certificates that expire next, and certificates that are late to renew. */

import { describe, expect, it } from 'vitest';
import { DAY, device, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

export function expiryBehaviour(openFresh: OpenFreshRegistry): void {
  /** Four devices, enrolled a day apart; the first certificate expires 90 days after the start. */
  const opened = async () => {
    const fleet = await RegistryFixture.open(openFresh);
    const serials: string[] = [];
    for (const id of ['p-1', 'p-2', 'p-3', 'p-4']) {
      serials.push(await fleet.enroll(id));
      fleet.pass(DAY);
    }
    const ending = async (within: number, more: object = {}) => {
      const filter = { which: 'ending', until: fleet.now + within, limit: 10, ...more } as const;
      return (await fleet.registry.listExpiring(filter)).map(({ device: id }) => id);
    };
    const late = async () => {
      const filter = { which: 'late', until: fleet.now, limit: 10 } as const;
      const found = (await fleet.registry.listExpiring(filter)).map(({ device: id }) => id);
      expect(await fleet.registry.countExpiring(filter)).toBe(found.length);
      return found;
    };
    return { fleet, serials, ending, late };
  };

  describe('the list of expiring certificates', () => {
    it('lists certificates that expire within a time, the earliest first, and no expired ones', async () => {
      const { fleet, ending } = await opened();
      expect(await ending(80 * DAY)).toEqual([]);
      expect(await ending(87 * DAY)).toEqual(['p-1', 'p-2']);
      expect(await fleet.registry.countExpiring({ which: 'ending', until: fleet.now + 87 * DAY })).toBe(2);
      fleet.pass(86 * DAY);
      expect(await ending(30 * DAY)).toEqual(['p-2', 'p-3', 'p-4']);
    });

    it('continues where a page ended', async () => {
      const { fleet, ending } = await opened();
      const until = fleet.now + 90 * DAY;
      const [, second] = await fleet.registry.listExpiring({ which: 'ending', until, limit: 2 });
      expect(await ending(90 * DAY, { after: second, limit: 1 })).toEqual(['p-3']);
    });

    it('omits renewed and revoked certificates, and those of services', async () => {
      const { fleet, serials, ending, late } = await opened();
      await fleet.issueService('dashboard');
      fleet.pass(84 * DAY);
      const [first = '', second = ''] = serials;
      const renew = (parentSerial: string, key: string) =>
        fleet.registry.commitRenewal({ parentSerial, certificate: fleet.issue(key), address: '192.0.2.7' });
      await renew(first, 'k1'); // in its last days, without an overlap
      await fleet.registry.revokeDevices([device('p-4')], 'unspecified', OPERATOR);
      expect(await ending(30 * DAY)).toEqual(['p-2', 'p-3']);
      expect(await late()).toEqual(['p-2', 'p-3']);
      await renew(second, 'k2');
      expect(await late()).toEqual(['p-3']);
    });

    it('lists as late those with nine tenths of their life over, expired or not, for ninety days', async () => {
      const { fleet, late } = await opened();
      expect(await late()).toEqual([]);
      fleet.pass(77 * DAY); // the 81st day of the first
      expect(await late()).toEqual(['p-1']);
      fleet.pass(20 * DAY);
      expect(await late()).toEqual(['p-1', 'p-2', 'p-3', 'p-4']);
      fleet.pass(71 * DAY);
      expect(await late()).toEqual(['p-3', 'p-4']);
    });
  });
}
