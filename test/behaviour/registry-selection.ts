/** Selection of devices for an operation. */

import type { GroupName } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import type { DeviceOperation, DeviceSelector } from '../../registry/index.ts';
import { device, MINUTE, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const REVOKE: DeviceOperation = { kind: 'revoke', reason: 'keyCompromise' };

export function selectionBehaviour(openFresh: OpenFreshRegistry): void {
  /** a and b enrolled with one token in pumps, north; c with another in pumps, south; d with its own token. */
  const openFour = async () => {
    const fleet = await RegistryFixture.open(openFresh);
    const group = 'pumps' as GroupName;
    const north = await fleet.mint({ maxUses: 2, group, labels: { site: 'north', line: '1' } });
    const south = await fleet.mint({ group, labels: { site: 'south', line: '1' } });
    const serials = [await fleet.enroll('a', { token: north }), await fleet.enroll('b', { token: north })];
    fleet.pass(30 * MINUTE);
    serials.push(await fleet.enroll('c', { token: south }), await fleet.enroll('d'));
    const select = async (selector: DeviceSelector, operation: DeviceOperation = REVOKE) =>
      (await fleet.registry.selectDevices(selector, operation)).ids.join(' ');
    return { fleet, select, north, serials };
  };

  describe('a selection of devices', () => {
    it('contains the devices that match every criterion', async () => {
      const { fleet, select, north, serials } = await openFour();
      const group = 'pumps' as GroupName;
      expect(await select({ group })).toBe('a b c');
      expect(await select({ labels: { site: 'north' } })).toBe('a b');
      expect(await select({ labels: { line: '1', site: 'south' } })).toBe('c');
      expect(await select({ token: north.record.id })).toBe('a b');
      expect(await select({ serial: serials[2] as string })).toBe('c');
      expect(await select({ issuedBefore: fleet.now })).toBe('a b');
      expect(await select({ ids: ['d', 'a', 'c', 'a'].map(device) })).toBe('a c d');
      expect(await select({ ids: ['d', 'a', 'c'].map(device), group })).toBe('a c');
      expect(await select({ group, issuedBefore: fleet.now, labels: { site: 'south' } })).toBe('');
      expect(await select({ labels: { 'a"].b': 'x' } })).toBe('');
      await expect(select({})).rejects.toMatchObject({ code: 'request_invalid' });
      await expect(select({ labels: {} })).rejects.toMatchObject({ code: 'request_invalid' });
      await expect(select({ ids: [device('a'), device('x')] })).rejects.toMatchObject({ code: 'device_unknown' });
    });

    it('omits devices that the operation would not change, and deleted ones', async () => {
      const { fleet, select } = await openFour();
      const group = 'pumps' as GroupName;
      await fleet.registry.applyDeviceOperation([device('a')], { kind: 'suspend' }, OPERATOR);
      await fleet.registry.applyDeviceOperation([device('b')], REVOKE, OPERATOR);
      expect(await select({ group })).toBe('a c');
      expect(await select({ group }, { kind: 'suspend' })).toBe('c');
      expect(await select({ group }, { kind: 'resume' })).toBe('a');
      expect(await select({ group }, { kind: 'delete' })).toBe('a b c');
      await fleet.registry.applyDeviceOperation([device('c')], { kind: 'delete' }, OPERATOR);
      expect(await select({ group }, { kind: 'delete' })).toBe('a b');
    });

    it('contains a suspended device for quarantine, which would let it connect again, only by its id', async () => {
      const { fleet, select } = await openFour();
      await fleet.registry.applyDeviceOperation([device('a')], { kind: 'suspend' }, OPERATOR);
      expect(await select({ group: 'pumps' as GroupName }, { kind: 'quarantine' })).not.toContain('a');
      expect(await select({ ids: [device('a')] }, { kind: 'quarantine' })).toBe('a');
    });

    it('applies "issued before" to the newest certificate of a device', async () => {
      const { fleet, select, serials } = await openFour();
      const certificate = fleet.issue('second');
      await fleet.registry.commitRenewal({ parentSerial: serials[0] as string, certificate, address: '192.0.2.7' });
      expect(await select({ issuedBefore: fleet.now })).toBe('b');
    });

    it('follows a token through renewals, and no further than a device that enrolled again with another', async () => {
      const { fleet, select, north, serials } = await openFour();
      const certificate = fleet.issue('second');
      await fleet.registry.commitRenewal({ parentSerial: serials[0] as string, certificate, address: '192.0.2.7' });
      const own = await fleet.mint({ device: device('b') });
      await fleet.enroll('b', { token: own, key: 'anew' });
      expect(await select({ token: north.record.id })).toBe('a');
      expect((await fleet.registry.listIssuedFrom(north.record.id)).map(({ serial }) => serial)).toEqual([
        serials[0],
        serials[1],
        certificate.serial,
      ]);
    });

    it('has a confirmation code that is equal for equal operations and devices only', async () => {
      const { fleet } = await openFour();
      const confirm = async (selector: DeviceSelector, operation: DeviceOperation = REVOKE) =>
        (await fleet.registry.selectDevices(selector, operation)).confirmation;
      const group = 'pumps' as GroupName;
      const first = await confirm({ group });
      expect(first).toMatch(/^revoke-3-[0-9a-f]{5}(-[0-9a-f]{5}){3}$/);
      expect(await confirm({ ids: ['c', 'b', 'a'].map(device) })).toBe(first);
      expect(await confirm({ group }, { kind: 'revoke', reason: 'superseded' })).not.toBe(first);
      expect(await confirm({ group }, { kind: 'suspend' })).not.toBe(first);
      await fleet.registry.setDevice(device('d'), { group }, OPERATOR);
      expect(await confirm({ group })).not.toBe(first);
    });
  });
}
