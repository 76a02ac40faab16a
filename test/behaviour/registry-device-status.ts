/** Device operations and their effects: the registry's half of the table in docs/device-status.md. */

import type { GroupName } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import type { DeviceChange, DeviceOperation, DeviceOperationKind, Revocation } from '../../registry/index.ts';
import { DAY, device, keyHash, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const PUMP = device('pump-1');

function operationOf(kind: DeviceOperationKind): DeviceOperation {
  return kind === 'revoke' ? { kind, reason: 'keyCompromise' } : { kind };
}

export function deviceStatusBehaviour(openFresh: OpenFreshRegistry): void {
  const fleetWithPump = async () => {
    const fleet = await RegistryFixture.open(openFresh);
    const serial = await fleet.enroll('pump-1');
    const apply = (...operations: DeviceOperationKind[]) =>
      operations.reduce<Promise<unknown>>(
        (before, one) => before.then(() => fleet.registry.applyDeviceOperation([PUMP], operationOf(one), OPERATOR)),
        Promise.resolve(),
      );
    return { fleet, serial, apply };
  };

  describe('the status of a device', () => {
    it.each<readonly [DeviceOperationKind[], string, string | undefined]>([
      [[], 'good', 'active'],
      [['suspend'], 'suspended', 'suspended'],
      [['quarantine'], 'quarantined', 'quarantined'],
      [['suspend', 'resume'], 'good', 'active'],
      [['quarantine', 'resume'], 'good', 'active'],
      [['suspend', 'quarantine'], 'quarantined', 'quarantined'],
      [['quarantine', 'suspend'], 'suspended', 'suspended'],
      [['disconnect'], 'good', 'active'],
      [['suspend', 'disconnect'], 'suspended', 'suspended'],
      [['revoke'], 'revoked', 'revoked'],
      [['suspend', 'revoke'], 'revoked', 'revoked'],
      [['quarantine', 'revoke'], 'revoked', 'revoked'],
      [['delete'], 'revoked', undefined],
      [['suspend', 'delete'], 'revoked', undefined],
      [['revoke', 'delete'], 'revoked', undefined],
    ])('after %j its certificate is %s and it is %s, also after a restart', async (operations, state, status) => {
      const { fleet, serial, apply } = await fleetWithPump();
      await apply(...operations);
      for (const reopened of [false, true]) {
        if (reopened) await fleet.reopen();
        expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state, holder: { id: 'pump-1' } });
        expect((await fleet.registry.findDevice(PUMP))?.status).toBe(status);
        const listed = await fleet.registry.listDevices({ limit: 10 });
        expect(listed.map((found) => found.status)).toEqual(status === undefined ? [] : [status]);
      }
    });

    it.each<readonly [DeviceOperationKind, string]>([
      ['suspend', 'device_suspended'],
      ['quarantine', 'device_quarantined'],
      ['revoke', 'parent_not_good'],
      ['delete', 'parent_not_good'],
    ])('after %s its certificate cannot be renewed: %s', async (kind, refusal) => {
      const pump = await fleetWithPump();
      const { registry } = pump.fleet;
      const certificate = pump.fleet.issue('second');
      await pump.apply(kind);
      const refused = { outcome: 'refused', refusal };
      expect(await registry.admitRenewal(pump.serial, certificate.publicKeySha256)).toEqual(refused);
      const renewal = { parentSerial: pump.serial, certificate, address: '192.0.2.7' };
      expect(await registry.commitRenewal(renewal)).toEqual(refused);
      expect(await registry.certificateStatus(certificate.serial)).toEqual({ state: 'unknown' });
    });

    it('decides at the commit of a renewal, not at its admission', async () => {
      const { fleet, serial, apply } = await fleetWithPump();
      const certificate = fleet.issue('second');
      expect(await fleet.registry.admitRenewal(serial, certificate.publicKeySha256)).toMatchObject({
        outcome: 'admitted',
      });
      await apply('suspend');
      const renewal = { parentSerial: serial, certificate, address: '192.0.2.7' };
      expect(await fleet.registry.commitRenewal(renewal)).toEqual({ outcome: 'refused', refusal: 'device_suspended' });
      await apply('resume');
      expect(await fleet.registry.commitRenewal(renewal)).toMatchObject({ outcome: 'renewed' });
    });

    it.each<readonly [DeviceOperationKind, string]>([
      ['suspend', 'device_suspended'],
      ['quarantine', 'device_quarantined'],
    ])('after %s no token enrolls it again, not even one that names it or that it used', async (kind, refusal) => {
      const { fleet } = await fleetWithPump();
      const used = await fleet.mint({ device: device('pump-2') });
      await fleet.enroll('pump-2', { token: used, key: 'second' });
      const fresh = await fleet.mint({ device: device('pump-2') });
      await fleet.registry.applyDeviceOperation([device('pump-2')], operationOf(kind), OPERATOR);
      const refused = { outcome: 'refused', refusal };
      const again = fleet.claim({ token: used, id: 'pump-2', key: 'second' });
      expect(await fleet.registry.admitEnrollment(again)).toEqual(refused);
      expect(await fleet.tryEnroll({ token: fresh, id: 'pump-2', key: 'third' })).toEqual(refused);
      await fleet.registry.applyDeviceOperation([device('pump-2')], operationOf('resume'), OPERATOR);
      expect(await fleet.registry.admitEnrollment(again)).toMatchObject({ outcome: 'replayed' });
      expect(await fleet.tryEnroll({ token: fresh, id: 'pump-2', key: 'third' })).toMatchObject({
        outcome: 'enrolled',
      });
    });

    it.each<DeviceOperationKind>(['suspend', 'resume', 'quarantine'])(
      'is final once it is revoked: %s refuses the whole operation',
      async (kind) => {
        const { fleet, serial } = await fleetWithPump();
        await fleet.enroll('pump-2');
        await fleet.registry.applyDeviceOperation([device('pump-2')], operationOf('revoke'), OPERATOR);
        const before = await fleet.audit();
        const acting = fleet.registry.applyDeviceOperation([PUMP, device('pump-2')], operationOf(kind), OPERATOR);
        await expect(acting).rejects.toMatchObject({
          code: 'device_revoked',
          detail: expect.stringContaining('pump-2'),
        });
        expect(await fleet.audit()).toEqual(before);
        expect(await fleet.registry.certificateStatus(serial)).toMatchObject({ state: 'good' });
      },
    );
  });

  describe('a deleted device', () => {
    it('leaves its id free for any token, with none of its group, labels or certificates', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const pumps = await fleet.mint({ maxUses: 2, group: 'pumps' as GroupName, labels: { site: 'north' } });
      const serial = await fleet.enroll('pump-1', { token: pumps });
      await fleet.registry.applyDeviceOperation([PUMP], { kind: 'delete' }, OPERATOR);
      await expect(fleet.registry.applyDeviceOperation([PUMP], { kind: 'suspend' }, OPERATOR)).rejects.toMatchObject({
        code: 'device_unknown',
      });
      const second = await fleet.enroll('pump-1', { key: 'second' });
      expect(await fleet.registry.findDevice(PUMP)).toMatchObject({ status: 'active', group: 'default', labels: {} });
      expect(await fleet.registry.certificateStatus(second)).toMatchObject({
        state: 'good',
        group: 'default',
        labels: {},
      });
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({
        state: 'revoked',
        reason: 'cessationOfOperation',
      });
      expect(await fleet.registry.listRevoked()).toMatchObject([{ serial }]);
    });

    it('has the tokens that name it revoked', async () => {
      const { fleet, apply } = await fleetWithPump();
      const token = await fleet.mint({ device: PUMP });
      await apply('delete');
      const outcome = await fleet.tryEnroll({ token, id: 'pump-1', key: 'second' });
      expect(outcome).toEqual({ outcome: 'refused', refusal: 'void' });
    });

    it('cannot enroll with its old key', async () => {
      const { fleet, apply } = await fleetWithPump();
      await apply('delete');
      const outcome = await fleet.tryEnroll({ token: await fleet.mint(), id: 'pump-1', key: 'key of pump-1' });
      expect(outcome).toEqual({ outcome: 'refused', refusal: 'key_reused' });
    });
  });

  describe('an operation on devices', () => {
    it('notifies listeners after its commit, of revocations as such, and resolves with their reports', async () => {
      const { fleet, serial, apply } = await fleetWithPump();
      const told: string[] = [];
      fleet.registry.onDeviceChange(async (change: DeviceChange) => {
        told.push(`${change.operation} ${change.status} ${(await fleet.registry.certificateStatus(serial)).state}`);
        return { sessionsClosed: 1, lastMessageAt: fleet.now - 7 };
      });
      fleet.registry.onDeviceChange(() => ({ sessionsClosed: 2, lastMessageAt: undefined }));
      fleet.registry.onRevocation((revocation: Revocation) => void told.push(`revocation ${revocation.reason}`));
      const [result] = await fleet.registry.applyDeviceOperation([PUMP, PUMP], { kind: 'suspend' }, OPERATOR);
      expect(result).toEqual({
        device: 'pump-1',
        operation: 'suspend',
        status: 'suspended',
        at: fleet.now,
        serials: [],
        reason: undefined,
        sessionsClosed: 3,
        lastMessageAt: fleet.now - 7,
        // With names where several nodes share the registry, without them where one process has it.
        brokersConfirmed: expect.any(Number),
        nodes: expect.any(Array),
        propagationMs: expect.any(Number),
      });
      await apply('quarantine', 'resume', 'disconnect', 'delete');
      expect(told).toEqual([
        'suspend suspended suspended',
        'quarantine quarantined quarantined',
        'resume active good',
        'disconnect active good',
        'revocation cessationOfOperation',
      ]);
    });

    it('that changes nothing keeps the recorded time and notifies again, without an audit entry', async () => {
      const { fleet, apply } = await fleetWithPump();
      await apply('suspend');
      const [at, audit] = [fleet.now, await fleet.audit()];
      fleet.pass(DAY);
      const told: DeviceChange[] = [];
      fleet.registry.onDeviceChange((change) => void told.push(change));
      await apply('suspend');
      expect(told).toEqual([{ device: 'pump-1', operation: 'suspend', status: 'suspended', at }]);
      expect(await fleet.audit()).toEqual(audit);
    });

    it('has one audit entry for each device, named after its new status', async () => {
      const { fleet, apply } = await fleetWithPump();
      await apply('suspend', 'resume', 'quarantine', 'resume', 'disconnect', 'delete');
      expect((await fleet.audit()).slice(2)).toEqual(
        ['suspended', 'resumed', 'quarantined', 'released', 'disconnected', 'revoked']
          .map((verb) => `device.${verb} device/pump-1 done`)
          .concat('certificate.revoked device/pump-1 done', 'device.deleted device/pump-1 done'),
      );
    });

    it('on hundreds of devices is applied to all, notifies for each, and lets other work run between', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ maxUses: 250 });
      const ids = Array.from({ length: 250 }, (_, n) => device(`d${String(n).padStart(3, '0')}`));
      for (const id of ids) await fleet.enroll(id, { token });
      let turns = 0;
      let isDone = false;
      const countTurns = () => {
        turns += 1;
        if (!isDone) setImmediate(countTurns);
      };
      setImmediate(countTurns);
      const results = await fleet.registry.applyDeviceOperation(
        ids,
        { kind: 'revoke', reason: 'keyCompromise' },
        OPERATOR,
      );
      isDone = true;
      expect(turns).toBeGreaterThanOrEqual(2);
      expect(results.map((result) => result.device)).toEqual(ids);
      expect(await fleet.registry.listDevices({ status: 'revoked', limit: 1000 })).toHaveLength(250);
      expect(results.every(({ propagationMs }) => propagationMs > 0)).toBe(true);
      expect(await fleet.registry.verifyAudit()).toMatchObject({ fault: undefined });
    });
  });

  describe('the group and labels of a device', () => {
    it('are changed one by one, notified, and part of its certificate status', async () => {
      const { fleet, serial } = await fleetWithPump();
      const told: string[] = [];
      fleet.registry.onDeviceChange((change) => void told.push(change.operation));
      const set = (change: object) => fleet.registry.setDevice(PUMP, change, OPERATOR);
      await set({ group: 'spares', labels: { site: 'north', line: '4' } });
      expect(await set({ labels: { line: null } })).toMatchObject({ group: 'spares', labels: { site: 'north' } });
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({
        group: 'spares',
        labels: { site: 'north' },
      });
      await set({ labels: { site: 'north', line: null } });
      expect(told).toEqual(['set', 'set']);
      expect((await fleet.audit()).slice(2)).toEqual([
        'device.set device/pump-1 done',
        'device.set device/pump-1 done',
      ]);
    });

    it.each([
      ['a label that cannot stand in a topic', { labels: { site: 'a/b' } }, 'request_invalid'],
      [
        '33 labels',
        { labels: Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`l${n}`, 'x'])) },
        'request_invalid',
      ],
    ])('refuse %s', async (_, change, code) => {
      const { fleet } = await fleetWithPump();
      await expect(fleet.registry.setDevice(PUMP, change, OPERATOR)).rejects.toMatchObject({ code });
      expect((await fleet.registry.findDevice(PUMP))?.labels).toEqual({});
    });

    it('cannot be changed of an unknown or revoked device', async () => {
      const { fleet, apply } = await fleetWithPump();
      const set = (id: string) => fleet.registry.setDevice(device(id), { labels: { a: 'b' } }, OPERATOR);
      await expect(set('nobody')).rejects.toMatchObject({ code: 'device_unknown' });
      await apply('revoke');
      await expect(set('pump-1')).rejects.toMatchObject({ code: 'device_revoked' });
    });
  });

  describe('the origin of a certificate', () => {
    it('is its token and operator through all renewals, and a repeated enrollment never gets a renewed certificate', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint();
      const first = await fleet.enroll('pump-1', { token });
      const second = fleet.issue('second');
      const third = fleet.issue('third');
      const address = '192.0.2.9';
      await fleet.registry.commitRenewal({ parentSerial: first, certificate: second, address });
      await fleet.registry.commitRenewal({ parentSerial: second.serial, certificate: third, address });
      const line = await fleet.registry.listIssuedFrom(token.record.id);
      expect(line.map(({ serial, parentSerial }) => [serial, parentSerial])).toEqual([
        [first, undefined],
        [second.serial, first],
        [third.serial, second.serial],
      ]);
      expect(new Set(line.map(({ operator }) => operator))).toEqual(new Set([OPERATOR]));
      const claim = { ...fleet.claim({ token, id: 'pump-1', key: 'third' }), publicKeySha256: keyHash('third') };
      expect(await fleet.registry.admitEnrollment(claim)).toEqual({ outcome: 'refused', refusal: 'spent' });
    });
  });
}
