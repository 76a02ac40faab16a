/** States of CAs, the certificates that they issued, and renewal windows that are pulled forward. */

import type { GroupName } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import type { NewIssuer } from '../../registry/index.ts';
import { DAY, device, OPERATOR, type OpenFreshRegistry, RegistryFixture, service } from './registry-fixture.ts';

const ca = (digit: string, role: NewIssuer['role'], rootId?: string): NewIssuer => ({
  id: digit.repeat(40),
  role,
  rootId,
  der: Buffer.from(digit),
  chain: '',
  notBefore: 0,
  notAfter: Date.UTC(2050, 0, 1),
});
const ROOT = ca('1', 'root');
const FIRST = ca('2', 'issuing', ROOT.id);
const SECOND = ca('3', 'issuing', ROOT.id);

/** A fleet whose two devices hold certificates of the first CA, and a second CA that is prepared. */
async function twoCas(
  openFresh: OpenFreshRegistry,
): Promise<RegistryFixture & { readonly serials: readonly string[] }> {
  const fleet = await RegistryFixture.open(openFresh);
  await fleet.registry.addIssuers([ROOT, FIRST], OPERATOR);
  fleet.issuerId = FIRST.id;
  const serials = [await fleet.enroll('pump-1'), await fleet.enroll('pump-2')];
  fleet.pass(1);
  await fleet.registry.addIssuers([SECOND], OPERATOR);
  return Object.assign(fleet, { serials });
}

const states = async (fleet: RegistryFixture) => (await fleet.registry.listIssuers()).map(({ state }) => state);

async function renew(fleet: RegistryFixture, parentSerial: string, key: string): Promise<string> {
  const certificate = fleet.issue(key);
  await fleet.registry.commitRenewal({ parentSerial, certificate, address: '192.0.2.7' });
  return certificate.serial;
}

export function issuerBehaviour(openFresh: OpenFreshRegistry): void {
  describe('a CA', () => {
    it('goes from prepared to active to outgoing to tainted to retired, each with its audit entry, and stays so', async () => {
      const fleet = await twoCas(openFresh);
      expect(await states(fleet)).toEqual(['active', 'active', 'prepared']);
      await fleet.registry.activateIssuer(SECOND.id, OPERATOR);
      await fleet.registry.taintIssuer(FIRST.id, OPERATOR);
      await fleet.reopen();
      expect(await states(fleet)).toEqual(['active', 'tainted', 'active']);
      await fleet.registry.retireIssuer(FIRST.id, 2, OPERATOR);
      await fleet.reopen();
      expect(await states(fleet)).toEqual(['active', 'retired', 'active']);
      expect((await fleet.audit()).filter((line) => line.startsWith('ca.'))).toEqual([
        `ca.added ca/${ROOT.id} done`,
        `ca.added ca/${FIRST.id} done`,
        `ca.added ca/${SECOND.id} done`,
        `ca.activated ca/${SECOND.id} done`,
        `ca.tainted ca/${FIRST.id} done`,
        `ca.retired ca/${FIRST.id} done`,
      ]);
    });

    it('refuses every step that its state does not allow', async () => {
      const fleet = await twoCas(openFresh);
      const { registry } = fleet;
      const conflict = { code: 'ca_state_conflict' };
      await expect(registry.activateIssuer(FIRST.id, OPERATOR)).rejects.toMatchObject(conflict);
      await expect(registry.taintIssuer(FIRST.id, OPERATOR)).rejects.toMatchObject(conflict);
      await expect(registry.retireIssuer(FIRST.id, 9, OPERATOR)).rejects.toMatchObject(conflict);
      await expect(registry.retireIssuer(ROOT.id, 9, OPERATOR)).rejects.toMatchObject(conflict);
      await expect(registry.addIssuers([ca('4', 'issuing', ROOT.id)], OPERATOR)).rejects.toMatchObject(conflict);
      await expect(registry.activateIssuer('9'.repeat(40), OPERATOR)).rejects.toMatchObject({ code: 'ca_unknown' });
      await registry.addIssuers([FIRST], OPERATOR); // already recorded: unchanged
      expect(await states(fleet)).toEqual(['active', 'active', 'prepared']);
    });

    it('is not retired while devices have no other valid certificate, and the refusal says how many', async () => {
      const fleet = await twoCas(openFresh);
      const { registry, serials } = fleet;
      await registry.activateIssuer(SECOND.id, OPERATOR);
      expect(await registry.countStranded(FIRST.id)).toBe(2);
      expect(await registry.listStranded(FIRST.id, 1)).toEqual([{ kind: 'device', id: 'pump-1' }]);
      fleet.issuerId = SECOND.id;
      await renew(fleet, serials[0] as string, 'new key 1');
      await expect(registry.retireIssuer(FIRST.id, 0, OPERATOR)).rejects.toMatchObject({
        code: 'ca_would_strand',
        detail: expect.stringContaining('1 devices'),
      });
      expect(await registry.listStranded(FIRST.id, 9)).toEqual([{ kind: 'device', id: 'pump-2' }]);
      expect(await states(fleet)).toEqual(['active', 'outgoing', 'active']);
      await registry.revokeDevices([device('pump-2')], 'keyCompromise', OPERATOR);
      await registry.retireIssuer(FIRST.id, 0, OPERATOR);
      expect(await registry.countIssued(SECOND.id)).toBe(1);
    });

    it('that is a root is not retired before its issuing CAs, and before every holder got a certificate since its successor', async () => {
      const fleet = await twoCas(openFresh);
      const { registry, serials } = fleet;
      await registry.retireIssuer(SECOND.id, 0, OPERATOR); // prepared and never activated
      const newRoot = ca('5', 'root');
      await registry.addIssuers([newRoot], OPERATOR);
      await registry.activateIssuer(newRoot.id, OPERATOR);
      const below = ca('6', 'issuing', newRoot.id);
      await registry.addIssuers([below], OPERATOR);
      await registry.activateIssuer(below.id, OPERATOR);
      await expect(registry.retireIssuer(ROOT.id, 9, OPERATOR)).rejects.toMatchObject({ code: 'ca_state_conflict' });
      await registry.retireIssuer(FIRST.id, 2, OPERATOR);
      expect(await registry.countNotSeenSince(fleet.now)).toBe(2);
      expect(await registry.listNotSeenSince(fleet.now, 9)).toHaveLength(2);
      expect(await registry.listStranded(ROOT.id, 9)).toEqual(await registry.listNotSeenSince(fleet.now, 9));
      await expect(registry.retireIssuer(ROOT.id, 1, OPERATOR)).rejects.toMatchObject({ code: 'ca_would_strand' });
      fleet.issuerId = below.id;
      await renew(fleet, serials[0] as string, 'new key 1');
      await registry.retireIssuer(ROOT.id, 1, OPERATOR);
    });

    it('is recorded as issuer of every certificate from before CAs were recorded', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const serial = await fleet.enroll('pump-1');
      await fleet.registry.addIssuers([ROOT, FIRST], OPERATOR);
      expect(await fleet.registry.publishedStatus(FIRST.id, serial)).toEqual({ state: 'good' });
      expect(await fleet.registry.countIssued(FIRST.id)).toBe(1);
    });

    it('has the status of its own certificates only', async () => {
      const fleet = await twoCas(openFresh);
      const { registry, serials } = fleet;
      const [first, second] = serials as [string, string];
      expect(await registry.publishedStatus(FIRST.id, first)).toEqual({ state: 'good' });
      expect(await registry.publishedStatus(SECOND.id, first)).toEqual({ state: 'unknown' });
      expect(await registry.publishedStatus(FIRST.id, 'abc')).toEqual({ state: 'unknown' });
      await registry.revokeDevices([device('pump-2')], 'keyCompromise', OPERATOR);
      expect(await registry.publishedStatus(FIRST.id, second)).toEqual({
        state: 'revoked',
        revokedAt: fleet.now,
        reason: 'keyCompromise',
      });
    });

    it('lists certificates of suspended devices as on hold, page by page, until they are resumed or quarantined', async () => {
      const fleet = await twoCas(openFresh);
      const { registry, serials } = fleet;
      const [first, second] = serials as [string, string];
      const both = [device('pump-1'), device('pump-2')];
      await registry.applyDeviceOperation(both, { kind: 'suspend' }, OPERATOR);
      const heldAt = fleet.now;
      fleet.pass(1000);
      expect(await registry.publishedStatus(FIRST.id, first)).toEqual({
        state: 'revoked',
        revokedAt: heldAt,
        reason: 'certificateHold',
      });
      const page = { issuerId: FIRST.id, limit: 1 };
      const [one] = await registry.listHeldBy(page);
      expect(one).toEqual({ serial: first, device: 'pump-1', heldAt });
      const [two] = await registry.listHeldBy({ ...page, after: one });
      expect(two).toEqual({ serial: second, device: 'pump-2', heldAt });
      expect(await registry.listHeldBy({ ...page, after: two })).toEqual([]);
      expect(await registry.listHeldBy({ issuerId: SECOND.id, limit: 9 })).toEqual([]);
      expect(await registry.listRevokedBy({ issuerId: FIRST.id, limit: 9 })).toEqual([]);

      await registry.applyDeviceOperation([device('pump-1')], { kind: 'resume' }, OPERATOR);
      await registry.applyDeviceOperation([device('pump-2')], { kind: 'quarantine' }, OPERATOR);
      for (const serial of [first, second]) {
        expect(await registry.publishedStatus(FIRST.id, serial)).toEqual({ state: 'good' });
      }
      expect(await registry.listHeldBy({ issuerId: FIRST.id, limit: 9 })).toEqual([]);

      // A final revocation replaces certificateHold and is never undone.
      await registry.applyDeviceOperation(both, { kind: 'suspend' }, OPERATOR);
      await registry.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR);
      expect(await registry.publishedStatus(FIRST.id, first)).toMatchObject({ reason: 'keyCompromise' });
      expect(await registry.listHeldBy({ issuerId: FIRST.id, limit: 9 })).toMatchObject([{ serial: second }]);
      fleet.pass(98 * DAY);
      expect(await registry.listHeldBy({ issuerId: FIRST.id, limit: 9 })).toEqual([]);
    });

    it('lists its revoked certificates page by page, since a time, and until a week after their expiry', async () => {
      const fleet = await twoCas(openFresh);
      const { registry, serials } = fleet;
      await registry.revokeDevices([device('pump-2')], 'keyCompromise', OPERATOR);
      fleet.pass(1000);
      await registry.revokeDevices([device('pump-1')], 'unspecified', OPERATOR);
      const page = { issuerId: FIRST.id, limit: 1 };
      const [one] = await registry.listRevokedBy(page);
      expect(one).toEqual({ serial: serials[1], revokedAt: fleet.now - 1000, reason: 'keyCompromise' });
      const [two] = await registry.listRevokedBy({ ...page, after: one });
      expect(two).toEqual({ serial: serials[0], revokedAt: fleet.now, reason: 'unspecified' });
      expect(await registry.listRevokedBy({ ...page, after: two })).toEqual([]);
      expect(await registry.listRevokedBy({ issuerId: FIRST.id, since: fleet.now, limit: 9 })).toEqual([two]);
      expect(await registry.listRevokedBy({ issuerId: SECOND.id, limit: 9 })).toEqual([]);
      fleet.pass(98 * DAY);
      expect(await registry.listRevokedBy({ issuerId: FIRST.id, limit: 9 })).toEqual([]);
    });
  });
}

export function renewalWindowBehaviour(openFresh: OpenFreshRegistry): void {
  describe('a renewal window', () => {
    it('is pulled forward for a serial, never moved back, and survives a restart', async () => {
      const fleet = await twoCas(openFresh);
      const serial = fleet.serials[0] as string;
      const window = { serial, start: 100, end: 200, reason: 'pulled_forward' } as const;
      expect(await fleet.registry.pullWindows([window])).toBe(1);
      expect(await fleet.registry.pullWindows([{ ...window, end: 300 }])).toBe(0);
      expect(await fleet.registry.pullWindows([{ ...window, end: 150, reason: 'ca_rotation' }])).toBe(1);
      await fleet.reopen();
      expect(await fleet.registry.findPulledWindow(serial)).toEqual({ start: 100, end: 150, reason: 'ca_rotation' });
      expect(await fleet.registry.findPulledWindow('abc')).toBeUndefined();
    });

    it('belongs to each valid certificate of a service, because a service may run on several machines', async () => {
      const fleet = await twoCas(openFresh);
      const { registry } = fleet;
      const first = await fleet.issueService('dashboard');
      const again = fleet.issue('key of a second machine');
      await registry.commitService(service('dashboard'), again, { actor: OPERATOR, again: true });
      await fleet.issueService('archive');
      await registry.revokeService(service('archive'), 'unspecified', OPERATOR);
      await registry.pullWindows([{ serial: first, start: 1, end: 2, reason: 'ca_rotation' }]);
      const expected = [first, again.serial].sort();
      const listed = await registry.listServiceCertificates({ limit: 10 });
      expect(listed.map(({ serial }) => serial)).toEqual(expected);
      expect(listed.find(({ serial }) => serial === first)).toMatchObject({ device: undefined, pulled: { end: 2 } });
      expect(await registry.listServiceCertificates({ limit: 10, after: expected[0] })).toHaveLength(1);
      expect(await registry.listServiceCertificates({ limit: 10, issuerId: SECOND.id })).toEqual([]);
    });

    it('belongs to the newest certificate of each device that is not revoked', async () => {
      const fleet = await twoCas(openFresh);
      const { registry, serials } = fleet;
      fleet.pass(1000);
      const renewed = await renew(fleet, serials[0] as string, 'new key 1');
      await registry.pullWindows([{ serial: renewed, start: 1, end: 2, reason: 'ca_rotation' }]);
      const all = await registry.listCurrentCertificates({ limit: 10 });
      expect(all.map(({ device: id, serial, pulled }) => [id, serial, pulled?.end])).toEqual([
        ['pump-1', renewed, 2],
        ['pump-2', serials[1], undefined],
      ]);
      expect(await registry.listCurrentCertificates({ limit: 10, after: device('pump-1') })).toMatchObject([
        { device: 'pump-2', issuerId: FIRST.id },
      ]);
      expect(await registry.listCurrentCertificates({ limit: 1, group: 'other' as GroupName })).toEqual([]);
      expect(await registry.listCurrentCertificates({ limit: 9, issuerId: SECOND.id })).toEqual([]);
      await registry.revokeDevices([device('pump-1')], 'unspecified', OPERATOR);
      expect(await registry.listCurrentCertificates({ limit: 10 })).toHaveLength(1);
      expect(await registry.countLiveCertificates()).toBe(1);
    });
  });
}
