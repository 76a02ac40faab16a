/** Presence of devices, and the list of devices by criteria and in orders. */

import type { DeviceId, GroupName } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import {
  DEVICE_SORTS,
  type DeviceCriteria,
  type DeviceRecord,
  type DeviceSort,
  deviceCursor,
  parseAddressRange,
  type Registry,
} from '../../registry/index.ts';
import { DAY, device, MINUTE, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const BROKER = 'one';

function begin(id: string, sequence: number, at: number, more: object = {}) {
  const usual = { sequence, at, address: '192.0.2.7', mqttVersion: '5', sdkVersion: 'rollcall-device-sdk/0.1.0' };
  return { device: device(id), begin: { ...usual, ...more } };
}

function end(id: string, sequence: number, at: number, reason = 'connection_lost') {
  return { device: device(id), end: { sequence, at, lastSeenAt: at, reason } };
}

export function findBehaviour(openFresh: OpenFreshRegistry): void {
  describe('the presence of a device', () => {
    it('is unknown before it connected, and then tells of the session and of the end of the one before', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.enroll('pump-1');
      const presence = async () => (await fleet.registry.findDevice(device('pump-1')))?.presence;
      expect(await presence()).toBeUndefined();
      const at = fleet.now;
      await fleet.registry.recordPresence(BROKER, [begin('pump-1', 1, at)]);
      const session = {
        broker: BROKER,
        connectedAt: at,
        address: '192.0.2.7',
        mqttVersion: '5',
        sdkVersion: 'rollcall-device-sdk/0.1.0',
      };
      expect(await presence()).toEqual({ isOnline: true, lastSeenAt: at, ...session });
      await fleet.registry.recordPresence(BROKER, [end('pump-1', 1, at + 5)]);
      await fleet.reopen();
      const lastDisconnect = { at: at + 5, reason: 'connection_lost' };
      expect(await presence()).toEqual({ isOnline: false, lastSeenAt: at + 5, lastDisconnect, ...session });
      await fleet.registry.recordPresence(BROKER, [begin('pump-1', 2, at + 9, { sdkVersion: undefined })]);
      expect(await presence()).toMatchObject({ isOnline: true, connectedAt: at + 9, lastDisconnect });
      expect(await presence()).not.toHaveProperty('sdkVersion');
    });

    it('is online while the session that took over lasts, in whatever order begin and end are recorded', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.enroll('pump-1');
      const at = fleet.now;
      await fleet.registry.recordPresence(BROKER, [begin('pump-1', 1, at)]);
      await fleet.registry.recordPresence(BROKER, [
        { ...begin('pump-1', 2, at + 1), ...end('pump-1', 1, at + 2, 'session_taken_over') },
      ]);
      const found = await fleet.registry.findDevice(device('pump-1'));
      expect(found?.presence).toMatchObject({ isOnline: true, lastDisconnect: { reason: 'session_taken_over' } });
    });

    it('is offline after a broker starts that had left the device online, and nobody else is', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      for (const id of ['a', 'b', 'c']) await fleet.enroll(id);
      const at = fleet.now;
      await fleet.registry.recordPresence(BROKER, [begin('a', 1, at)]);
      await fleet.registry.recordPresence('two', [begin('b', 2, at)]);
      fleet.pass(MINUTE);
      expect(await fleet.registry.resetPresence(BROKER)).toBe(1);
      const [a, b] = await fleet.registry.listDevices({ limit: 3 });
      expect(a?.presence).toMatchObject({
        isOnline: false,
        lastSeenAt: at,
        lastDisconnect: { at: fleet.now, reason: 'server_lost' },
      });
      expect(b?.presence?.isOnline).toBe(true);
    });

    it('is not recorded for a device that does not exist, and removed with the device', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.enroll('a');
      await fleet.registry.recordPresence(BROKER, [begin('a', 1, fleet.now), begin('b', 2, fleet.now)]);
      await fleet.registry.applyDeviceOperation([device('a')], { kind: 'delete' }, OPERATOR);
      await fleet.registry.recordPresence(BROKER, [end('a', 1, fleet.now)]);
      expect(await fleet.registry.listDevices({ limit: 9 })).toEqual([]);
      await fleet.enroll('a', { key: 'another' });
      expect((await fleet.registry.findDevice(device('a')))?.presence).toBeUndefined();
      expect(await fleet.registry.listDevices({ limit: 9, text: 'a' })).toHaveLength(1);
    });
  });

  describe('the end of the newest certificate', () => {
    it('follows renewal, revocation of one certificate, and revocation of the device', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const first = await fleet.enroll('a');
      const endsAt = async () => (await fleet.registry.findDevice(device('a')))?.certificateEndsAt;
      const firstEnd = fleet.now + 90 * DAY;
      expect(await endsAt()).toBe(firstEnd);
      fleet.pass(DAY);
      const certificate = fleet.issue('second');
      await fleet.registry.commitRenewal({ parentSerial: first, certificate, address: '192.0.2.7' });
      expect(await endsAt()).toBe(firstEnd + DAY);
      await fleet.registry.revokeCertificate(certificate.serial, 'keyCompromise', OPERATOR);
      expect(await endsAt()).toBe(firstEnd);
      await fleet.registry.revokeDevices([device('a')], 'unspecified', OPERATOR);
      expect(await endsAt()).toBeUndefined();
    });
  });

  describe('the number of devices', () => {
    it('is counted for each status up to a bound, without deleted ones', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      expect(await fleet.registry.countDevices(9)).toEqual({ active: 0, suspended: 0, quarantined: 0, revoked: 0 });
      for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) await fleet.enroll(id, { key: id });
      await fleet.registry.applyDeviceOperation([device('a')], { kind: 'suspend' }, OPERATOR);
      await fleet.registry.applyDeviceOperation([device('b')], { kind: 'delete' }, OPERATOR);
      await fleet.registry.revokeDevices([device('c')], 'unspecified', OPERATOR);
      expect(await fleet.registry.countDevices(9)).toEqual({ active: 3, suspended: 1, quarantined: 0, revoked: 1 });
      expect(await fleet.registry.countDevices(2)).toMatchObject({ active: 2, suspended: 1 });
    });
  });

  describe('the list of devices', () => {
    it('contains for every criterion and in every order what a search of all devices finds', async () => {
      const { registry, all, criteria } = await openMany(openFresh);
      for (const sort of DEVICE_SORTS) {
        for (const isReversed of [false, true]) {
          const ordered = sorted(all, sort, isReversed);
          for (const wanted of criteria) {
            const expected = ordered.filter((found) => matches(found, wanted)).map(({ id }) => id);
            expect(
              await pages(registry, wanted, { sort, isReversed, limit: 7 }),
              `${sort} ${JSON.stringify(wanted)}`,
            ).toEqual(expected);
          }
        }
      }
    }, 30_000);

    it('has as many devices as are counted for every criterion, up to the number asked for', async () => {
      const { registry, all, criteria } = await openMany(openFresh);
      for (const wanted of criteria) {
        const { length } = all.filter((found) => matches(found, wanted));
        expect(await registry.countMatchingDevices(wanted, 100), JSON.stringify(wanted)).toBe(length);
        expect(await registry.countMatchingDevices(wanted, 3)).toBe(Math.min(3, length));
      }
    });

    it('finds a text at the begin of a word of the id or of a value, in any case', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ maxUses: 9, labels: { site: 'Hall-3' } });
      await fleet.enroll('press-gw0042', { token });
      await fleet.enroll('pump_7');
      const find = async (text: string) =>
        (await fleet.registry.listDevices({ limit: 9, text })).map(({ id }) => id).join(' ');
      for (const text of ['press', 'PRESS-gw', 'gw0', '0042', 'hall', '3', 'hall-3'])
        expect(await find(text)).toBe('press-gw0042');
      for (const text of ['ress', 'all', '42', 'site', 'hall-4']) expect(await find(text)).toBe('');
      await fleet.registry.setDevice(device('press-gw0042'), { labels: { site: 'yard' } }, OPERATOR);
      expect(await find('hall')).toBe('');
      expect(await find('yard')).toBe('press-gw0042');
      expect(await find('p')).toBe('press-gw0042 pump_7');
    });

    it.each(['', 'nonsense', deviceCursor({ id: 'a' } as never, 'id', true), 'x'.repeat(600)])(
      'refuses the cursor "%s" of another order',
      async (cursor) => {
        const fleet = await RegistryFixture.open(openFresh);
        await expect(fleet.registry.listDevices({ limit: 1, cursor })).rejects.toMatchObject({
          code: 'request_invalid',
        });
      },
    );
  });
}

/** Thirty devices that differ in everything that devices are found by. */
async function openMany(openFresh: OpenFreshRegistry) {
  const fleet = await RegistryFixture.open(openFresh);
  const tokens = [];
  for (const [group, site] of [
    ['pumps', 'north'],
    ['pumps', 'south'],
    ['fans', 'south'],
  ] as const) {
    tokens.push(
      await fleet.mint({
        maxUses: 20,
        group: group as GroupName,
        labels: { site, hall: site === 'north' ? '1' : '2' },
      }),
    );
  }
  for (let n = 0; n < 30; n += 1) {
    const id = `dev-${(n * 7) % 30}`;
    fleet.pass(n % 3 === 0 ? MINUTE : 0);
    await fleet.enroll(id, { token: tokens[n % 3] as never });
    if (n % 4 === 0) continue;
    const address = n % 5 === 0 ? '2001:db8::7' : `10.0.${n % 2}.${n}`;
    const sdkVersion = n % 3 === 0 ? undefined : `sdk/${n % 2}`;
    await fleet.registry.recordPresence(BROKER, [begin(id, n, fleet.now + n, { address, sdkVersion })]);
    if (n % 2 === 0) await fleet.registry.recordPresence(BROKER, [end(id, n, fleet.now + 50 * (n % 6))]);
  }
  const revoke = { kind: 'revoke', reason: 'unspecified' } as const;
  await fleet.registry.applyDeviceOperation(['dev-1', 'dev-12'].map(device), { kind: 'suspend' }, OPERATOR);
  await fleet.registry.applyDeviceOperation(['dev-3', 'dev-4', 'dev-9'].map(device), revoke, OPERATOR);
  await fleet.registry.applyDeviceOperation([device('dev-5')], { kind: 'delete' }, OPERATOR);
  const all = await fleet.registry.listDevices({ limit: 100 });
  expect(all).toHaveLength(29);
  const seen = all.flatMap(({ presence }) => presence?.lastSeenAt ?? []).sort((a, b) => a - b);
  const middle = seen[10] as number;
  const criteria: DeviceCriteria[] = [
    {},
    { group: 'pumps' as GroupName },
    { status: 'active' },
    { status: 'revoked' },
    { labels: { site: 'south' } },
    { labels: { site: 'south', hall: '1' } },
    { labels: { 'a"].b': 'x' } },
    { isOnline: true },
    { isOnline: false },
    { lastSeenBefore: middle },
    { lastSeenAfter: middle },
    { lastSeenBefore: middle + 60, lastSeenAfter: middle },
    { lastSeenAfter: middle, isOnline: false },
    { address: parseAddressRange('10.0.1.0/24') },
    { address: parseAddressRange('2001:db8::/32') },
    { token: tokens[1]?.record.id },
    { sdkVersion: 'sdk/1' },
    { certificateEndsBefore: fleet.now + 90 * DAY - 5 * MINUTE },
    { text: 'dev-1' },
    { text: 'south' },
    { group: 'pumps' as GroupName, isOnline: true, text: '2' },
  ];
  return { registry: fleet.registry, all, criteria };
}

async function pages(
  registry: Registry,
  criteria: DeviceCriteria,
  order: { readonly sort: DeviceSort; readonly isReversed: boolean; readonly limit: number },
): Promise<readonly DeviceId[]> {
  const found: DeviceId[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await registry.listDevices({ ...criteria, ...order, cursor });
    found.push(...page.map(({ id }) => id));
    const last = page.at(-1);
    if (last === undefined || page.length < order.limit) return found;
    cursor = deviceCursor(last, order.sort, order.isReversed);
  }
}

function matches(found: DeviceRecord, wanted: DeviceCriteria): boolean {
  const { presence, labels } = found;
  const isOffline = presence?.isOnline !== true;
  const range = presence && parseAddressRange(presence.address);
  const words = [found.id, ...Object.values(labels)].flatMap((text) => [text, ...text.split(/[-]/)]);
  return [
    wanted.group === undefined || found.group === wanted.group,
    wanted.status === undefined || found.status === wanted.status,
    Object.entries(wanted.labels ?? {}).every(([name, value]) => labels[name] === value),
    wanted.isOnline === undefined || isOffline !== wanted.isOnline,
    wanted.lastSeenBefore === undefined || (isOffline && (presence?.lastSeenAt ?? Infinity) < wanted.lastSeenBefore),
    wanted.lastSeenAfter === undefined || !isOffline || (presence?.lastSeenAt ?? 0) >= wanted.lastSeenAfter,
    wanted.address === undefined ||
      (range !== undefined && range.least >= wanted.address.least && range.most <= wanted.address.most),
    wanted.token === undefined || found.enrolledBy === `token/${wanted.token}`,
    wanted.sdkVersion === undefined || presence?.sdkVersion === wanted.sdkVersion,
    wanted.certificateEndsBefore === undefined || (found.certificateEndsAt ?? Infinity) < wanted.certificateEndsBefore,
    wanted.text === undefined || words.some((word) => word.startsWith(wanted.text as string)),
  ].every(Boolean);
}

/** By value and id; then those that are online when sorted by last-seen, those without a value last. */
function sorted(all: readonly DeviceRecord[], sort: DeviceSort, isReversed: boolean): readonly DeviceRecord[] {
  const keyOf = (found: DeviceRecord): string | number | undefined =>
    ({
      id: found.id,
      group: found.group,
      status: found.status,
      enrolled: found.enrolledAt,
      token: found.enrolledBy,
      'last-seen': found.presence?.isOnline === true ? Infinity : found.presence?.lastSeenAt,
      address: found.presence && parseAddressRange(found.presence.address)?.least,
      'sdk-version': found.presence?.sdkVersion,
      expires: found.certificateEndsAt,
    })[sort];
  const byValue = (one: DeviceRecord, other: DeviceRecord) => {
    const [a, b] = [keyOf(one), keyOf(other)] as [string, string];
    const order = a < b ? -1 : a > b ? 1 : one.id < other.id ? -1 : 1;
    return isReversed ? -order : order;
  };
  const byId = (one: DeviceRecord, other: DeviceRecord) => (one.id < other.id === isReversed ? 1 : -1);
  const withValue = all.filter((found) => keyOf(found) !== undefined);
  const without = all.filter((found) => keyOf(found) === undefined);
  return [...[...withValue].sort(byValue), ...[...without].sort(byId)];
}
