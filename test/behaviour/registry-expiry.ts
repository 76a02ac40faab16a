/** Certificates that expire next, and certificates that are late to renew. */

import { describe, expect, it } from 'vitest';
import { EXPIRING_KINDS, type ExpiringRecord, type ExpiryCursor, expiryCursor } from '../../registry/index.ts';
import { DAY, device, OPERATOR, type OpenFreshRegistry, RegistryFixture, service } from './registry-fixture.ts';

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
      const filter = { which: 'ending', until: fleet.now + within, kinds: ['device'], limit: 10, ...more } as const;
      return (await fleet.registry.listExpiring(filter)).map(({ name }) => name);
    };
    const late = async () => {
      const filter = { which: 'late', until: fleet.now, kinds: ['device'], limit: 10 } as const;
      const found = (await fleet.registry.listExpiring(filter)).map(({ name }) => name);
      expect(await fleet.registry.countLate('device')).toBe(found.length);
      return found;
    };
    return { fleet, serials, ending, late };
  };

  describe('the list of expiring certificates', () => {
    it('lists certificates that expire within a time, the earliest first, and no expired ones', async () => {
      const { fleet, ending } = await opened();
      expect(await ending(80 * DAY)).toEqual([]);
      expect(await ending(87 * DAY)).toEqual(['p-1', 'p-2']);
      const untils = [80, 86, 87, 99].map((days) => fleet.now + days * DAY);
      expect(await fleet.registry.countExpiring('device', untils)).toEqual([0, 1, 2, 4]);
      fleet.pass(86 * DAY);
      expect(await ending(30 * DAY)).toEqual(['p-2', 'p-3', 'p-4']);
    });

    it('continues where a page ended', async () => {
      const { fleet, ending } = await opened();
      const until = fleet.now + 90 * DAY;
      const kinds = ['device'] as const;
      const [, second] = await fleet.registry.listExpiring({ which: 'ending', until, kinds, limit: 2 });
      const after = expiryCursor('ending', second as ExpiringRecord);
      expect(await ending(90 * DAY, { after, limit: 1 })).toEqual(['p-3']);
    });

    it('lists devices, services and tokens in one order, page by page, each once', async () => {
      const { fleet } = await opened();
      await fleet.issueService('dashboard');
      await fleet.enroll('p-5'); // expires in the same millisecond as the service
      const bound = await fleet.mint({ device: device('p-9'), ttlSeconds: 3600 });
      const open = await fleet.mint({ ttlSeconds: 7200 });
      const kinds = EXPIRING_KINDS;
      const until = fleet.now + 99 * DAY;
      const listed: string[] = [];
      let after: ExpiryCursor | undefined;
      for (;;) {
        const [item] = await fleet.registry.listExpiring({ which: 'ending', until, kinds, after, limit: 1 });
        if (item === undefined) break;
        listed.push(`${item.kind} ${item.name}`);
        after = expiryCursor('ending', item);
      }
      const devices = ['p-1', 'p-2', 'p-3', 'p-4', 'p-5'].map((id) => `device ${id}`);
      expect(listed).toEqual(['token device/p-9', 'token group/default', ...devices, 'service dashboard']);
      await fleet.registry.revokeToken(bound.record.id, OPERATOR);
      await fleet.tryEnroll({ token: open, id: 'p-6', key: 'key of p-6' });
      expect(await fleet.registry.countExpiring('token', [until])).toEqual([0]);
    });

    it('lists a service until another certificate of it follows or it is revoked, and as late when none does', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const listed = async (which: 'ending' | 'late') => {
        const filter = { which, until: fleet.now + 30 * DAY, kinds: ['service'], limit: 10 } as const;
        return (await fleet.registry.listExpiring(filter)).map(({ name }) => name);
      };
      await fleet.issueService('dashboard');
      const parentSerial = await fleet.issueService('archive');
      fleet.pass(85 * DAY);
      expect([
        await listed('ending'),
        await fleet.registry.countExpiring('service', [fleet.now + DAY, fleet.now + 9 * DAY]),
      ]).toEqual([expect.arrayContaining(['dashboard', 'archive']), [0, 2]]);
      await fleet.registry.commitRenewal({ parentSerial, certificate: fleet.issue('next'), address: '192.0.2.7' });
      expect([await listed('ending'), await listed('late')]).toEqual([['dashboard'], ['dashboard']]);
      fleet.pass(20 * DAY);
      expect([await listed('ending'), await listed('late')]).toEqual([[], ['dashboard']]);
      await fleet.registry.revokeService(service('dashboard'), 'unspecified', OPERATOR);
      expect([await listed('late'), await fleet.registry.countLate('service')]).toEqual([[], 0]);
    });

    it('lists each certificate of a service that has one on each of its machines, and none that has ended beside another', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const filter = () => ({ until: fleet.now + 90 * DAY, kinds: ['service'], limit: 10 }) as const;
      const ids = async (which: 'ending' | 'late') =>
        (await fleet.registry.listExpiring({ which, ...filter() })).map(({ id }) => id);
      const first = await fleet.issueService('dashboard');
      fleet.pass(40 * DAY);
      const certificate = fleet.issue('second machine');
      await fleet.registry.commitService(service('dashboard'), certificate, { actor: OPERATOR, again: true });
      expect(await ids('ending')).toEqual([first, certificate.serial]);
      fleet.pass(45 * DAY);
      expect(await ids('late')).toEqual([first]);
      fleet.pass(6 * DAY);
      expect([await ids('ending'), await ids('late')]).toEqual([[certificate.serial], []]);
    });

    it('counts more certificates than it reads at once, each once', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const ttlSeconds = 3600;
      for (let n = 0; n < 2_005; n += 1) await fleet.mint({ ttlSeconds });
      expect(await fleet.registry.countExpiring('token', [fleet.now, fleet.now + DAY])).toEqual([0, 2_005]);
    });

    it('omits renewed and revoked certificates, and kinds that were not asked for', async () => {
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
