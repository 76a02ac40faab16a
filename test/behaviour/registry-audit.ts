/** The audit beyond single entries: the hash chain, and actions that other modules record. */

import { describe, expect, it } from 'vitest';
import { CHAIN_START, canonicalDetails, hashEntry } from '../../registry/audit/audit-chain.ts';
import { type Actor, AuditChainVerifier, type AuditFilter } from '../../registry/index.ts';
import { MINUTE, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const ACT = {
  actor: OPERATOR,
  action: 'telemetry.pruned',
  subject: 'telemetry/2030-01-01',
  outcome: 'done',
  details: { messages: 12, bytes: 400 },
} as const;

export function auditBehaviour(openFresh: OpenFreshRegistry): void {
  describe('the chain of the audit', () => {
    it('includes in each hash the one before it, from 64 zeros on, also after a restart', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.enroll('pump-1');
      await fleet.reopen();
      await fleet.enroll('pump-2');
      const entries = await fleet.registry.exportAudit({ limit: 100 });
      expect(entries.map((entry) => entry.id)).toEqual([1, 2, 3, 4]);
      let previous = CHAIN_START;
      for (const entry of entries) {
        expect(entry.previous).toBe(previous);
        expect(entry.hash).toBe(hashEntry(previous, { ...entry, details: canonicalDetails(entry.details) }));
        previous = entry.hash;
      }
      const head = { id: 4, hash: previous };
      expect(await fleet.registry.verifyAudit()).toEqual({ entries: 4, head, fault: undefined });
    });

    it('is exported page by page; each page can be verified alone and continues the last', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      for (let n = 0; n < 5; n += 1) await fleet.mint();
      const first = await fleet.registry.exportAudit({ limit: 3 });
      const second = await fleet.registry.exportAudit({ after: 3, limit: 3 });
      expect([...first, ...second].map((entry) => entry.id)).toEqual([1, 2, 3, 4, 5]);
      expect(second[0]?.previous).toBe(first[2]?.hash);
      const check = new AuditChainVerifier();
      for (const entry of second) check.add({ ...entry, details: canonicalDetails(entry.details) });
      expect(check.fault).toBeUndefined();
    });

    it('is verified against a head that was stored elsewhere', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.mint();
      const { head } = await fleet.registry.verifyAudit();
      await fleet.mint();
      expect(await fleet.registry.verifyAudit(head)).toMatchObject({ entries: 2, fault: undefined });
      const other = { id: head.id, hash: head.hash.replace(/^./, (first) => (first === '0' ? '1' : '0')) };
      expect((await fleet.registry.verifyAudit(other)).fault).toMatch(/^entry 1 is not the one whose head was kept/);
      expect((await fleet.registry.verifyAudit({ id: 3, hash: head.hash })).fault).toMatch(/the end is missing$/);
    });

    it('is whole when it is empty', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const head = { id: 0, hash: CHAIN_START };
      expect(await fleet.registry.verifyAudit()).toEqual({ entries: 0, head, fault: undefined });
    });
  });

  describe('an action of another module', () => {
    it('is recorded with actor, action, subject and details', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.registry.recordAction(ACT);
      expect(await fleet.registry.listAudit({ limit: 1 })).toMatchObject([{ id: 1, at: fleet.now, ...ACT }]);
      expect(await fleet.registry.verifyAudit()).toMatchObject({ entries: 1, fault: undefined });
    });

    it('cannot fill the audit with refusals: 32 an hour per subject are recorded', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      for (let n = 0; n < 40; n += 1) await fleet.registry.recordAction({ ...ACT, outcome: 'refused' });
      expect(await fleet.audit()).toHaveLength(32);
    });

    it.each([
      ['another action', { action: 'Telemetry Pruned' }],
      ['a subject without a kind', { subject: '2030' }],
      ['a control character', { subject: 'telemetry/a\nb' }],
      ['a detail that is no number', { details: { bytes: Number.NaN } }],
      ['a detail of another kind', { details: { list: [] as never } }],
      ['a detail that is too long', { details: { text: 'x'.repeat(70_000) } }],
      ['33 details', { details: Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`n${n}`, n])) }],
    ])('is refused with %s', async (_, fault) => {
      const fleet = await RegistryFixture.open(openFresh);
      await expect(fleet.registry.recordAction({ ...ACT, ...fault })).rejects.toMatchObject({ code: 'internal' });
      expect(await fleet.audit()).toEqual([]);
    });
  });

  describe('the audit', () => {
    /** Entries 1 to 6, a minute apart. */
    async function openWithEntries(): Promise<RegistryFixture> {
      const fleet = await RegistryFixture.open(openFresh);
      const record = async (actor: Actor, action: string, subject: string, outcome: 'done' | 'refused' = 'done') => {
        await fleet.registry.recordAction({ actor, action, subject, outcome });
        fleet.pass(MINUTE);
      };
      await record('operator/ada', 'device.revoked', 'device/pump-1');
      await record('operator/ada', 'device.command.sent', 'device/pump-2');
      await record('operator/bo', 'device.revoked', 'device/pump-2');
      await record('device/pump-1', 'certificate.renewed', 'device/pump-1', 'refused');
      await record('operator/bo', 'devices.counted', 'devices/all');
      await record('server/retention', 'telemetry.pruned', 'telemetry/2030-01-01');
      return fleet;
    }

    it.each<[string, Omit<AuditFilter, 'limit'>, readonly number[]]>([
      ['an actor', { actor: 'operator/ada' }, [2, 1]],
      ['a kind of actors', { actor: 'operator' }, [5, 3, 2, 1]],
      ['an action', { action: 'device.revoked' }, [3, 1]],
      ['a kind of actions, which is no beginning of another kind', { action: 'device' }, [3, 2, 1]],
      ['a subject', { subject: 'device/pump-2' }, [3, 2]],
      ['a kind of subjects, which is no beginning of another kind', { subject: 'device' }, [4, 3, 2, 1]],
      ['an outcome', { outcome: 'refused' }, [4]],
      ['actor, action and subject', { actor: 'operator/bo', action: 'device.revoked', subject: 'device/pump-2' }, [3]],
      ['an actor and another actor of the same subject', { actor: 'operator/ada', subject: 'device/pump-2' }, [2]],
      ['what nobody did', { actor: 'operator/cy' }, []],
      ['a text that is a pattern elsewhere', { actor: '%' }, []],
    ])('is listed by %s, newest first', async (_, filter, expected) => {
      const { registry } = await openWithEntries();
      expect((await registry.listAudit({ ...filter, limit: 100 })).map(({ id }) => id)).toEqual(expected);
    });

    it('is listed from a time on, and before a time', async () => {
      const { registry, now } = await openWithEntries();
      const at = (id: number) => now - (7 - id) * MINUTE;
      const ids = async (filter: Omit<AuditFilter, 'limit'>) =>
        (await registry.listAudit({ ...filter, limit: 100 })).map(({ id }) => id);
      expect(await ids({ since: at(5) })).toEqual([6, 5]);
      expect(await ids({ until: at(3) })).toEqual([2, 1]);
      expect(await ids({ since: at(2), until: at(5), actor: 'operator' })).toEqual([3, 2]);
      expect(await ids({ since: now })).toEqual([]);
    });

    it('is listed completely by time where the clock was set back', async () => {
      const fleet = await openWithEntries();
      fleet.pass(-4 * MINUTE);
      await fleet.registry.recordAction(ACT);
      const entries = await fleet.registry.listAudit({ since: fleet.now, until: fleet.now + 2 * MINUTE, limit: 100 });
      expect(entries.map(({ id }) => id)).toEqual([7, 4, 3]);
    });

    it('is listed page by page: the entries before one that match', async () => {
      const { registry } = await openWithEntries();
      const first = await registry.listAudit({ action: 'device', limit: 2 });
      const second = await registry.listAudit({ action: 'device', before: 2, limit: 2 });
      expect([first, second].map((page) => page.map(({ id }) => id))).toEqual([[3, 2], [1]]);
    });

    it('is searched beyond the entries that one turn of the event loop tests', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.registry.recordAction({ ...ACT, actor: 'operator/ada' });
      for (let n = 0; n < 300; n += 1) await fleet.registry.recordAction({ ...ACT, actor: 'operator/bo' });
      const found = await fleet.registry.listAudit({ actor: 'operator/ada', action: ACT.action, limit: 1 });
      expect(found.map(({ id }) => id)).toEqual([1]);
      expect(await fleet.registry.listAudit({ action: 'telemetry', outcome: 'done', limit: 10_000 })).toHaveLength(301);
    });
  });
}
