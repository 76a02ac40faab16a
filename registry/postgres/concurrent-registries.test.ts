/** Two nodes that change one registry at once: each race has one winner, and the audit stays one chain. */

import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { device, OPERATOR, RegistryFixture, service } from '../../test/behaviour/registry-fixture.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { PostgresRegistries } from '../../test/fixtures/postgres-registry.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import type { NewIssuer } from '../certificates/issuers.ts';
import type { Registry } from '../registry.ts';

describeWithClients('two nodes with one registry on PostgreSQL', ['postgres'], () => {
  const registries = new PostgresRegistries(suitePostgres());

  async function twoNodes(): Promise<{ fleet: RegistryFixture; nodes: readonly [Registry, Registry] }> {
    const fleet = await RegistryFixture.open(async (now) => {
      return { registry: await registries.openEmpty({ now }), reopen: () => registries.open({ now }) };
    });
    return { fleet, nodes: [fleet.registry, await registries.open({ now: () => fleet.now })] };
  }

  /** Outcomes with their number, and the audit is a chain. */
  async function expectAudit(registry: Registry, actions: Readonly<Record<string, number>>): Promise<void> {
    const entries = await registry.listAudit({ limit: 10_000 });
    expect(await registry.verifyAudit()).toMatchObject({ entries: entries.length, fault: undefined });
    const found = entries.map(({ action, outcome }) => `${action} ${outcome}`);
    for (const [action, count] of Object.entries(actions)) {
      expect([action, found.filter((one) => one === action).length]).toEqual([action, count]);
    }
  }

  it('fifty enrollments at once with a token of ten uses enroll ten devices', async () => {
    const { fleet, nodes } = await twoNodes();
    const token = await fleet.mint({ maxUses: 10 });
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, number) =>
        (nodes[number % 2] as Registry).commitEnrollment(
          fleet.claim({ token, id: `pump-${number}`, key: `${number}` }),
        ),
      ),
    );
    expect(outcomes.filter(({ outcome }) => outcome === 'enrolled')).toHaveLength(10);
    expect(outcomes.filter((one) => one.outcome === 'refused' && one.refusal === 'spent')).toHaveLength(40);
    expect(await nodes[1].findToken(token.record.id)).toMatchObject({ uses: 10, state: 'spent' });
    expect(await nodes[0].listDevices({ limit: 100 })).toHaveLength(10);
    // Of the refusals of one token, the first 32 of an hour are recorded.
    await expectAudit(nodes[0], { 'device.enrolled done': 10, 'device.enrolled refused': 32 });
  });

  it('the first root of a fleet is that of one node, however often two create one at once', async () => {
    const { nodes } = await twoNodes();
    const ca = (digit: string, role: NewIssuer['role'], rootId?: string): NewIssuer => ({
      ...{ id: digit.repeat(40), role, rootId, der: Buffer.from(digit), chain: '' },
      ...{ notBefore: 0, notAfter: Date.UTC(2050, 0, 1) },
    });
    for (let round = 0; round < 10; round += 1) {
      await registries.ask((schema) => `DELETE FROM ${schema}.issuers`);
      const first = await Promise.all(
        nodes.map((node, index) => {
          const root = ca(`${index}`, 'root');
          return node.addFirstIssuers([root, ca(`${index + 2}`, 'issuing', root.id)], OPERATOR);
        }),
      );
      expect(new Set(first).size).toBe(1);
      expect(await nodes[0].listIssuers()).toMatchObject([{ id: first[0], state: 'active' }, { rootId: first[0] }]);
    }
  });

  it('one device id is enrolled once, whatever tokens and nodes ask for it', async () => {
    const { fleet, nodes } = await twoNodes();
    const tokens = await Promise.all(Array.from({ length: 8 }, () => fleet.mint()));
    const outcomes = await Promise.all(
      tokens.map((token, number) =>
        (nodes[number % 2] as Registry).commitEnrollment(fleet.claim({ token, id: 'pump-1', key: `${number}` })),
      ),
    );
    expect(outcomes.filter(({ outcome }) => outcome === 'enrolled')).toHaveLength(1);
    expect(outcomes.filter((one) => one.outcome === 'refused' && one.refusal === 'device_exists')).toHaveLength(7);
    expect(await nodes[0].listCertificates({ kind: 'device', id: device('pump-1') })).toHaveLength(1);
  });

  it('one key gets one certificate, whatever device asks with it', async () => {
    const { fleet, nodes } = await twoNodes();
    const tokens = await Promise.all(Array.from({ length: 8 }, () => fleet.mint()));
    const outcomes = await Promise.all(
      tokens.map((token, number) =>
        (nodes[number % 2] as Registry).commitEnrollment(fleet.claim({ token, id: `pump-${number}`, key: 'k' })),
      ),
    );
    expect(outcomes.filter(({ outcome }) => outcome === 'enrolled')).toHaveLength(1);
    expect(outcomes.filter((one) => one.outcome === 'refused' && one.refusal === 'key_reused')).toHaveLength(7);
  });

  it('a device and a service never get one client id', async () => {
    const { fleet, nodes } = await twoNodes();
    for (let round = 0; round < 5; round += 1) {
      const [id, name] = [`panel${round}-1`, `panel${round}`];
      const token = await fleet.mint();
      const [enrolled, issued] = await Promise.allSettled([
        nodes[0].commitEnrollment(fleet.claim({ token, id, key: id })),
        nodes[1].commitService(service(name), fleet.issue(name), { actor: OPERATOR }),
      ]);
      const isEnrolled = enrolled.status === 'fulfilled' && enrolled.value.outcome === 'enrolled';
      expect([isEnrolled, issued.status]).toEqual(isEnrolled ? [true, 'rejected'] : [false, 'fulfilled']);
    }
  });

  it('the devices of a group never exceed its limit', async () => {
    const { fleet, nodes } = await twoNodes();
    await nodes[0].setProfile('default' as never, { maxDevices: 5 }, OPERATOR);
    const token = await fleet.mint({ maxUses: 30 });
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, (_, number) =>
        (nodes[number % 2] as Registry).commitEnrollment(
          fleet.claim({ token, id: `pump-${number}`, key: `${number}` }),
        ),
      ),
    );
    expect(outcomes.filter(({ outcome }) => outcome === 'enrolled')).toHaveLength(5);
    expect(await nodes[1].listDevices({ limit: 100 })).toHaveLength(5);
  });

  it('two revocations of a device at once revoke it once, and both report it', async () => {
    const { fleet, nodes } = await twoNodes();
    const serial = await fleet.enroll('pump-1');
    const revoke = (node: Registry) => node.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR);
    const [one, two] = await Promise.all(nodes.map(revoke));
    expect(one).toEqual([
      { holder: { kind: 'device', id: 'pump-1' }, serials: [serial], reason: 'keyCompromise', revokedAt: fleet.now },
    ]);
    expect(two).toEqual(one);
    await expectAudit(nodes[1], { 'device.revoked done': 1, 'certificate.revoked done': 1 });
  });

  it('operations on many devices in other orders end, and each device is changed once by each', async () => {
    const { fleet, nodes } = await twoNodes();
    const ids = Array.from({ length: 30 }, (_, number) => device(`pump-${number}`));
    const token = await fleet.mint({ maxUses: 30 });
    for (const id of ids) await fleet.enroll(id, { token });
    await Promise.all([
      nodes[0].applyDeviceOperation(ids, { kind: 'suspend' }, OPERATOR),
      nodes[1].applyDeviceOperation([...ids].reverse(), { kind: 'revoke', reason: 'unspecified' }, OPERATOR),
    ]).catch((error: unknown) => expect(error).toMatchObject({ code: 'device_revoked' }));
    expect(await nodes[0].countDevices(100)).toMatchObject({ revoked: 30 });
    await expectAudit(nodes[0], { 'device.revoked done': 30 });
  });

  it('a second factor and a one-time link count once', async () => {
    const { nodes } = await twoNodes();
    const link = await nodes[0].createSignInLink(undefined, OPERATOR);
    const session = {
      method: 'password',
      address: '192.0.2.7',
      userAgent: 'test',
      idleMs: 60_000,
      lifetimeMs: 600_000,
    };
    const used = await Promise.allSettled(
      nodes.map((node, number) =>
        node.useSignInLink({
          secret: link.secret,
          passwordHash: 'hash',
          session: { ...session, operator: `admin${number}` },
        }),
      ),
    );
    expect(used.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const [{ name: operator } = { name: '' }, ...others] = await nodes[0].listOperators();
    expect(others).toEqual([]);
    await nodes[0].beginTotp(operator, randomBytes(20));
    expect(await nodes[0].confirmTotp(operator, 1, OPERATOR)).toBe(true);
    const secondFactor = { kind: 'totp', step: 2 } as const;
    const begun = await Promise.all(
      nodes.map((node) => node.beginOperatorSession({ ...session, operator, secondFactor })),
    );
    expect(begun.filter((one) => one !== undefined)).toHaveLength(1);
  });

  it('an act under an idempotency key begins once', async () => {
    const { nodes } = await twoNodes();
    const act = { operator: OPERATOR, keyHash: randomBytes(32), fingerprint: randomBytes(32) } as const;
    const found = await Promise.all([...nodes, ...nodes].map((node) => node.beginAct(act)));
    expect(found.filter((recorded) => recorded === undefined)).toHaveLength(1);
  });

  it('revocation lists never get one number twice', async () => {
    const { nodes } = await twoNodes();
    const numbers = await Promise.all(Array.from({ length: 20 }, (_, n) => (nodes[n % 2] as Registry).nextCrlNumber()));
    expect(new Set(numbers).size).toBe(20);
  });

  it('the audit is one chain after both have written at once, and shows what was taken out', async () => {
    const { nodes } = await twoNodes();
    await Promise.all(
      Array.from({ length: 60 }, (_, number) =>
        (nodes[number % 2] as Registry).recordAction({
          actor: OPERATOR,
          action: 'telemetry.pruned',
          subject: `telemetry/${number}`,
          outcome: 'done',
        }),
      ),
    );
    await expectAudit(nodes[0], { 'telemetry.pruned done': 60 });
    await registries.ask((schema) => `DELETE FROM ${schema}.audit WHERE id = 60`);
    expect((await nodes[1].verifyAudit()).fault).toMatch('expected entries up to 60, found 59');
    await registries.ask((schema) => `DELETE FROM ${schema}.audit WHERE id = 30`);
    expect((await nodes[1].verifyAudit()).fault).toMatch('expected entry 30, found 31');
  });

  it('the role of the server may neither change nor remove an audit entry, nor remove a certificate', async () => {
    const { fleet } = await twoNodes();
    await fleet.enroll('pump-1');
    for (const change of ['UPDATE audit SET at = 0', 'DELETE FROM audit', 'DELETE FROM certificates']) {
      await expect(registries.askAsServer(change)).rejects.toMatchObject({ code: 'database_access_refused' });
    }
  });
});
