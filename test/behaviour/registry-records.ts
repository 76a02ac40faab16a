/** Records of a registry: certificate status, device list, policies, audit. */

import { DEFAULT_DEVICE_POLICY, DEFAULT_SERVICE_POLICY, type GroupName, type PolicyScope } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { device, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const HOUR = 3_600_000;

export function recordBehaviour(openFresh: OpenFreshRegistry): void {
  describe('certificate status', () => {
    it('is unknown for a serial that was not issued, and for those of the server', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const own = fleet.issue('of the server');
      await fleet.registry.recordServerCertificate('broker', own);
      for (const serial of [own.serial, 'abcdef', '']) {
        expect(await fleet.registry.certificateStatus(serial)).toEqual({ state: 'unknown' });
      }
    });

    it('is good for a service, in the default group and without labels', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const serial = await fleet.issueService('panel');
      expect(await fleet.registry.certificateStatus(serial)).toMatchObject({
        state: 'good',
        holder: { kind: 'service', name: 'panel' },
        group: 'default',
        labels: {},
      });
    });

    it('has only the labels that were set, no property that every object has', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const serial = await fleet.enroll('pump-1');
      const status = await fleet.registry.certificateStatus(serial);
      if (status.state !== 'good') expect.unreachable();
      expect(status.labels.constructor).toBeUndefined();
    });
  });

  describe('the device list', () => {
    it('comes in id order, page by page, by group and status', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const pumps = await fleet.mint({ maxUses: 9, group: 'pumps' as GroupName });
      for (const id of ['b', 'a', 'B', 'c']) await fleet.enroll(id, { token: pumps });
      await fleet.enroll('d');
      await fleet.registry.revokeDevices([device('c')], 'unspecified', OPERATOR);
      const list = async (filter: object) =>
        (await fleet.registry.listDevices({ limit: 10, ...filter })).map((found) => found.id).join(' ');
      expect(await list({})).toBe('B a b c d');
      expect(await list({ limit: 2 })).toBe('B a');
      expect(await list({ limit: 2, after: 'a' })).toBe('b c');
      expect(await list({ group: 'pumps' })).toBe('B a b c');
      expect(await list({ group: 'pumps', status: 'active', after: 'B' })).toBe('a b');
      expect(await list({ status: 'revoked' })).toBe('c');
      expect(await list({ after: 'd' })).toBe('');
    });

    it.each([0, 10_001, 1.5, Number.NaN])('refuses a page of %d', async (limit) => {
      const fleet = await RegistryFixture.open(openFresh);
      await expect(fleet.registry.listDevices({ limit })).rejects.toMatchObject({ code: 'request_invalid' });
      await expect(fleet.registry.listAudit({ limit })).rejects.toMatchObject({ code: 'request_invalid' });
    });
  });

  describe('policies', () => {
    it('are found under their scope as they were set last, also after a restart', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const changed: PolicyScope[] = [];
      fleet.registry.onPolicyChange((scope) => changed.push(scope));
      expect(await fleet.registry.findPolicy('group/pumps')).toBeUndefined();
      await fleet.registry.setPolicy('group/pumps', DEFAULT_SERVICE_POLICY, OPERATOR);
      await fleet.registry.setPolicy('group/pumps', DEFAULT_DEVICE_POLICY, OPERATOR);
      await fleet.registry.setPolicy('service/*', DEFAULT_SERVICE_POLICY, OPERATOR);
      expect(changed).toEqual(['group/pumps', 'group/pumps', 'service/*']);
      await fleet.reopen();
      expect(await fleet.registry.findPolicy('group/pumps')).toEqual(DEFAULT_DEVICE_POLICY);
      expect(await fleet.registry.findPolicy('service/*')).toEqual(DEFAULT_SERVICE_POLICY);
      expect(await fleet.registry.findPolicy('group/default')).toBeUndefined();
      expect(await fleet.audit()).toEqual([
        'policy.set group/pumps done',
        'policy.set group/pumps done',
        'policy.set service/* done',
      ]);
    });

    it.each(['group/*', 'group/', 'group/a/b', 'team/a', 'service/+', 'service'])(
      'refuse the scope %s',
      async (scope) => {
        const fleet = await RegistryFixture.open(openFresh);
        const setting = fleet.registry.setPolicy(scope as PolicyScope, DEFAULT_DEVICE_POLICY, OPERATOR);
        await expect(setting).rejects.toMatchObject({ code: 'policy_invalid' });
        expect(await fleet.audit()).toEqual([]);
      },
    );

    it.each([
      ['no list', { ...DEFAULT_DEVICE_POLICY, publish: 'devices/#' }],
      ['a list that is missing', { ...DEFAULT_DEVICE_POLICY, retain: undefined }],
      ['an entry that is no text', { ...DEFAULT_DEVICE_POLICY, publish: [1] }],
      ['more than 64 KiB', { ...DEFAULT_DEVICE_POLICY, publish: ['x'.repeat(65_536)] }],
    ])('refuse a document with %s', async (_, document) => {
      const fleet = await RegistryFixture.open(openFresh);
      const setting = fleet.registry.setPolicy('group/pumps', document as never, OPERATOR);
      await expect(setting).rejects.toMatchObject({ code: 'policy_invalid' });
      expect(await fleet.registry.findPolicy('group/pumps')).toBeUndefined();
    });
  });

  describe('the audit', () => {
    it('lists actor, action and subject, newest first, page by page', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ device: device('pump-1') });
      fleet.pass(5);
      const serial = await fleet.enroll('pump-1', { token });
      const [newest, ...older] = await fleet.registry.listAudit({ limit: 10 });
      expect(newest).toMatchObject({
        at: fleet.now,
        actor: `token/${token.record.id}`,
        action: 'device.enrolled',
        subject: 'device/pump-1',
        outcome: 'done',
        details: { serial, group: 'default', address: '192.0.2.7' },
      });
      expect(older).toMatchObject([
        { at: fleet.now - 5, actor: OPERATOR, action: 'token.minted', details: { device: 'pump-1', maxUses: 1 } },
      ]);
      expect(await fleet.registry.listAudit({ limit: 1 })).toEqual([newest]);
      expect(await fleet.registry.listAudit({ limit: 9, before: newest?.id ?? 0 })).toEqual(older);
    });

    it('contains refusals with their reason, but none of an unknown token', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ device: device('pump-1') });
      const claim = fleet.claim({ token, id: 'pump-2', key: 'k' });
      await fleet.registry.admitEnrollment(claim);
      await fleet.registry.commitEnrollment({ ...claim, secret: 'x'.repeat(27) });
      await fleet.registry.admitEnrollment({ ...claim, tokenId: '00000000deadbeef' });
      await fleet.registry.commitEnrollment({ ...claim, tokenId: '00000000deadbeef' });
      const refusals = (await fleet.registry.listAudit({ limit: 10 })).filter((entry) => entry.outcome === 'refused');
      const subject = `token/${token.record.id}`;
      expect(refusals).toMatchObject([
        { subject, action: 'device.enrolled', details: { refusal: 'wrong_secret', device: 'pump-2' } },
        { subject, action: 'device.enrolled', details: { refusal: 'device_id_not_allowed', device: 'pump-2' } },
      ]);
    });

    it('contains refused renewals of known holders', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const parentSerial = await fleet.enroll('pump-1', { key: 'first' });
      const renewal = { parentSerial, certificate: fleet.issue('first'), address: '192.0.2.7' };
      await fleet.registry.admitRenewal(parentSerial, renewal.certificate.publicKeySha256);
      await fleet.registry.commitRenewal(renewal);
      await fleet.registry.commitRenewal({ ...renewal, parentSerial: 'abcdef' });
      const refused = 'certificate.renewed device/pump-1 refused';
      expect((await fleet.audit()).slice(-2)).toEqual([refused, refused]);
    });

    it('cannot be flooded with the refusals of one token: 32 an hour are recorded', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const [token, other] = [await fleet.mint(), await fleet.mint()];
      const refusals = async () => (await fleet.audit()).filter((line) => line.endsWith('refused')).length;
      const flood = async () => {
        const claim = { ...fleet.claim({ token, id: 'pump-1', key: 'k' }), secret: other.secret };
        for (let i = 0; i < 20; i += 1) {
          await fleet.registry.admitEnrollment(claim);
          await fleet.registry.commitEnrollment(claim);
        }
      };
      await flood();
      expect(await refusals()).toBe(32);
      await fleet.registry.admitEnrollment({ ...fleet.claim({ token: other, id: 'pump-1', key: 'k' }), secret: '' });
      expect(await refusals()).toBe(33);
      fleet.pass(HOUR);
      await flood();
      expect(await refusals()).toBe(65);
    });

    it('never contains a secret or a key', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint();
      await fleet.enroll('pump-1', { token });
      await fleet.tryEnroll({ token, id: 'pump-2', key: 'other' });
      const text = JSON.stringify(await fleet.registry.listAudit({ limit: 100 }));
      expect(text).not.toContain(token.secret);
      expect(text).toContain(token.record.id);
    });
  });

  describe('a registry that is closed', () => {
    it('answers with unavailable, and may be closed again', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.registry.close();
      await fleet.registry.close();
      await expect(fleet.mint()).rejects.toMatchObject({ code: 'unavailable' });
      await expect(fleet.registry.certificateStatus('abcdef')).rejects.toMatchObject({ code: 'unavailable' });
    });
  });
}
