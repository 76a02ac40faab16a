/** Changes that one node commits and the listeners of all nodes hear of. */

import { pino } from 'pino';
import { expect, it } from 'vitest';
import { PollingWakes } from '../../storage/index.ts';
import { device, OPERATOR, RegistryFixture, service } from '../../test/behaviour/registry-fixture.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { PostgresRegistries } from '../../test/fixtures/postgres-registry.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import type { PostgresRegistryOptions } from '../open.ts';
import type { Registry, Revocation } from '../registry.ts';
import type { OtherNode } from './confirmations.ts';

const REVOKE = { kind: 'revoke', reason: 'unspecified' } as const;
const POLICY = { connect: [], publish: [], subscribe: [], receive: [], retain: [] };

describeWithClients('the nodes of one registry', ['postgres'], () => {
  const registries = new PostgresRegistries(suitePostgres());

  const patient = { confirmWithin: 60_000 };

  /** Node a asks b to confirm, and waits for it unless the options say otherwise. */
  async function nodes(options: Partial<PostgresRegistryOptions> = {}) {
    const fleet = await RegistryFixture.open(async (now) => ({
      registry: await registries.openEmpty({
        now,
        node: 'a',
        ...patient,
        others: async () => [alive('b')],
        ...options,
      }),
      reopen: () => registries.open({ now }),
    }));
    const other = await registries.open({
      now: () => fleet.now,
      node: 'b',
      ...patient,
      ...options,
      others: async () => [alive('a')],
    });
    return { fleet, one: fleet.registry, other };
  }

  const alive = (name: string): OtherNode => ({ name, startedAt: 0, liveness: { state: 'alive' } });
  const confirmedBy = (name: string) => ({ name, state: 'confirmed', confirmedAt: expect.any(Number) });

  /** Everything that the listeners of a node hear, and the next so many of it. */
  function heardBy(registry: Registry) {
    const heard: unknown[] = [];
    const hear = (kind: string) => (event: unknown) => {
      heard.push([kind, event]);
    };
    registry.onRevocation(hear('revocation'));
    registry.onCertificateRevocation(hear('certificate'));
    registry.onDeviceChange(hear('device'));
    registry.onPolicyChange(hear('policy'));
    registry.onOperatorAccessEnded(hear('access'));
    return heard;
  }

  it('hear of every kind of change once, in the order of the commits, on every node', async () => {
    const { fleet, one, other } = await nodes();
    const serial = await fleet.enroll('pump-1');
    await fleet.enroll('pump-2');
    const renewed = fleet.issue('next key of pump-1');
    await one.commitRenewal({ parentSerial: serial, certificate: renewed, address: '192.0.2.7' });
    await fleet.issueService('panel');
    await one.addOperator({ name: 'alice', role: 'viewer' }, OPERATOR);
    const heard = [heardBy(one), heardBy(other)];

    await one.applyDeviceOperation([device('pump-1')], { kind: 'quarantine' }, OPERATOR);
    await other.setDevice(device('pump-1'), { labels: { site: 'hall-3' } }, OPERATOR);
    await one.revokeCertificate(renewed.serial, 'keyCompromise', OPERATOR);
    await other.revokeDevices([device('pump-2')], 'unspecified', OPERATOR);
    await one.revokeService(service('panel'), 'unspecified', OPERATOR);
    // A node hears its own change of a policy or an operator at once, and those of others when it reads them.
    await expect.poll(() => heard[1]).toHaveLength(5);
    await other.setPolicy('group/default', POLICY, OPERATOR);
    await expect.poll(() => heard[0]).toHaveLength(6);
    await one.disableOperator('alice', OPERATOR);
    const again = await fleet.mint({ device: device('pump-2') });
    await fleet.enroll('pump-2', { token: again, key: 'another' });
    await fleet.enroll('pump-2', { token: await fleet.mint({ device: device('pump-2') }), key: 'a third' });

    const kinds = ['device', 'device', 'certificate', 'revocation', 'revocation', 'policy', 'access', 'revocation'];
    for (const events of heard) {
      await expect.poll(() => events).toHaveLength(kinds.length);
      expect(events.map((event) => (event as readonly [string])[0])).toEqual(kinds);
    }
    expect(heard[0]).toEqual(heard[1]);
  });

  it('hear of a change that has the position of one which they saw, and which a new primary does not have', async () => {
    const { fleet, one, other } = await nodes();
    for (const id of ['pump-1', 'pump-2']) await fleet.enroll(id);
    const heard = heardBy(other);
    await one.revokeDevices([device('pump-1')], 'unspecified', OPERATOR);
    await expect.poll(() => heard).toHaveLength(1);
    const changes = (schema: string) => `${schema}.registry_changes`;
    await registries.ask(
      (
        schema,
      ) => `SELECT setval(pg_get_serial_sequence('${changes(schema)}', 'position'), max(position), false) FROM ${changes(schema)};
        DELETE FROM ${changes(schema)}`,
    );
    await one.revokeDevices([device('pump-2')], 'keyCompromise', OPERATOR);
    await expect.poll(() => heard).toHaveLength(2);
    expect(heard[1]).toMatchObject(['revocation', { holder: { kind: 'device', id: 'pump-2' } }]);
  });

  it('confirm a revocation with their reports, and the order that asked for it has all of them', async () => {
    const { fleet, one, other } = await nodes();
    await fleet.enroll('pump-1');
    one.onRevocation(() => ({ sessionsClosed: 1, lastMessageAt: 5 }));
    other.onRevocation(async () => ({ sessionsClosed: 2, lastMessageAt: 7 }));
    const [revoked] = await one.applyDeviceOperation([device('pump-1')], REVOKE, OPERATOR);
    expect(revoked).toMatchObject({ sessionsClosed: 3, lastMessageAt: 7, brokersConfirmed: 2 });
    // Again: nothing changes, and the listeners of both are asked again.
    const [repeated] = await other.applyDeviceOperation([device('pump-1')], REVOKE, OPERATOR);
    expect(repeated).toMatchObject({ sessionsClosed: 3, brokersConfirmed: 2, nodes: ['a', 'b'].map(confirmedBy) });
  });

  it('that do not confirm are named with their state, and their later confirmation is found by the next question', async () => {
    let others: readonly OtherNode[] = [];
    const { fleet, one } = await nodes({ confirmWithin: 1, others: async () => others });
    await fleet.enroll('pump-1');
    const deaf = { state: 'deaf', since: fleet.now - 100, closedBy: fleet.now + 28_900 } as const;
    others = [
      { ...alive('c'), liveness: deaf },
      { ...alive('d'), liveness: { state: 'gone', since: fleet.now - 1 } },
      alive('e'),
    ];
    const [revoked] = await one.applyDeviceOperation([device('pump-1')], REVOKE, OPERATOR);
    const [self, late] = [confirmedBy('a'), { name: 'e', state: 'late' }];
    expect(revoked?.nodes).toEqual([
      self,
      { name: 'c', state: 'deaf', deafSince: deaf.since, closedBy: deaf.closedBy },
      late,
    ]);
    expect(revoked?.brokersConfirmed).toBe(1);
    others = [
      { ...alive('c'), liveness: { state: 'gone', since: fleet.now + 28_900 } },
      { ...alive('e'), startedAt: fleet.now + 5 },
    ];
    const closed = [
      { name: 'c', state: 'closed', closedBy: fleet.now + 28_900 },
      { name: 'e', state: 'closed', closedBy: fleet.now + 5 },
    ];
    const asked = () => one.lastDeviceChange(device('pump-1'));
    await expect.poll(asked).toEqual({ operation: 'revoke', at: fleet.now, nodes: [self, ...closed] });
    const confirmation = `(position, node, report) SELECT position, 'c', '[]' FROM`;
    await registries.ask(
      (schema) => `INSERT INTO ${schema}.change_confirmations ${confirmation} ${schema}.registry_changes`,
    );
    expect((await asked())?.nodes).toEqual([self, { name: 'c', state: 'confirmed' }, closed[1]]);
    expect(await one.lastDeviceChange(device('pump-2'))).toBeUndefined();
  });

  it('confirm many revocations at once', async () => {
    const { fleet, one, other } = await nodes();
    const ids = Array.from({ length: 120 }, (_, number) => device(`pump-${number}`));
    const token = await fleet.mint({ maxUses: ids.length });
    for (const id of ids) await fleet.enroll(id, { token });
    const heard: string[] = [];
    other.onRevocation(({ holder }: Revocation) => {
      heard.push(holder.kind === 'device' ? holder.id : '');
      return { sessionsClosed: 1, lastMessageAt: undefined };
    });
    const results = await one.applyDeviceOperation(ids, REVOKE, OPERATOR);
    expect(results.map(({ brokersConfirmed }) => brokersConfirmed)).toEqual(ids.map(() => 2));
    expect(heard.sort()).toEqual([...ids].sort());
  });

  it('do not hold a change back: one that does not confirm in time is named in the log', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'warn', base: null }, { write: (line) => void lines.push(line) });
    const { fleet, one, other } = await nodes({ confirmWithin: 1, log });
    await fleet.enroll('pump-1');
    one.onRevocation(() => ({ sessionsClosed: 1, lastMessageAt: undefined }));
    other.onRevocation(() => Promise.reject(new Error('out of order')));
    const [revoked] = await one.applyDeviceOperation([device('pump-1')], REVOKE, OPERATOR);
    expect(revoked).toMatchObject({ status: 'revoked', brokersConfirmed: 1 });
    const found = () => lines.map((line) => JSON.parse(line).msg);
    await expect.poll(found).toContain('listener failed');
    expect(found()).toContain('nodes did not confirm a change in time');
    expect(lines.join()).toContain('"nodes":["b"]');
  });

  it('hear of changes without any notification, later', async () => {
    const wakes = new PollingWakes(20);
    const unnotified = { wake: () => {}, onWake: wakes.onWake.bind(wakes), close: () => wakes.close() };
    const { fleet, one, other } = await nodes({ wakes: unnotified });
    await fleet.enroll('pump-1');
    other.onDeviceChange(() => ({ sessionsClosed: 4, lastMessageAt: undefined }));
    const [changed] = await one.applyDeviceOperation([device('pump-1')], { kind: 'suspend' }, OPERATOR);
    expect(changed).toMatchObject({ sessionsClosed: 4, brokersConfirmed: 2 });
    await wakes.close();
  });

  it('are told nothing of a change that was rolled back, and nothing that is older than they are', async () => {
    const { fleet, one, other } = await nodes();
    await fleet.enroll('pump-1');
    await one.applyDeviceOperation([device('pump-1')], { kind: 'suspend' }, OPERATOR);
    const late = await registries.open({ now: () => fleet.now, node: 'c' });
    const [heard, heardLate] = [heardBy(other), heardBy(late)];
    const refuse = () => {
      throw new Error('refused');
    };
    await expect(one.setPolicy('group/default', POLICY, OPERATOR, refuse)).rejects.toThrow('refused');
    await one.applyDeviceOperation([device('pump-1')], { kind: 'resume' }, OPERATOR);
    const resumed = [['device', { device: 'pump-1', operation: 'resume', status: 'active', at: fleet.now }]];
    await expect.poll(() => heardLate).toEqual(resumed);
    await expect.poll(() => heard).toContainEqual(resumed[0]);
  });

  it('keep changes and confirmations for an hour', async () => {
    const { fleet, one, other } = await nodes();
    await fleet.enroll('pump-1');
    const heard = heardBy(other);
    await one.applyDeviceOperation([device('pump-1')], { kind: 'suspend' }, OPERATOR);
    await expect.poll(() => heard).toHaveLength(1);
    expect(await registries.count('registry_changes')).toBe(1);
    fleet.pass(3_600_001);
    await one.applyDeviceOperation([device('pump-1')], { kind: 'resume' }, OPERATOR);
    await expect.poll(() => registries.count('registry_changes')).toBe(1);
    await expect.poll(() => registries.count('change_confirmations')).toBe(2);
  });

  it('that do not know a kind of change confirm neither it nor what follows, and are told to end', async () => {
    const told: unknown[] = [];
    const { fleet, one, other } = await nodes({ confirmWithin: 1, outdated: (problem) => told.push(problem) });
    await fleet.enroll('pump-1');
    const heard = heardBy(other);
    const publish = (kind: string, change: unknown) =>
      registries.askAsServer(
        `INSERT INTO registry_changes (kind, node, change, at, subject)
         VALUES ('${kind}', 'next', '${JSON.stringify(change)}', ${fleet.now}, 'device/pump-1')`,
      );
    // A field more of a change that is known.
    await publish('policy change', 'group/default');
    await publish('device change', { device: 'pump-1', operation: 'disconnect', status: 'active', ofNextRelease: 1 });
    await other.changesHeard();
    expect(heard).toMatchObject([
      ['policy', 'group/default'],
      ['device', { operation: 'disconnect' }],
    ]);

    await publish('of the next release', { device: 'pump-1' });
    const [revoked] = await one.applyDeviceOperation([device('pump-1')], REVOKE, OPERATOR);
    await expect(other.changesHeard()).rejects.toMatchObject({
      code: 'node_outdated',
      reason: expect.stringMatching(/^expected change \d+ of next of a known kind, found "of the next release"$/),
    });
    await expect.poll(() => told).toMatchObject([{ code: 'node_outdated' }, { code: 'node_outdated' }]);
    expect(heard).toHaveLength(2);
    expect(revoked?.nodes).toEqual([confirmedBy('a'), { name: 'b', state: 'late' }]);
    expect(await other.lastDeviceChange(device('pump-1'))).toMatchObject({ operation: 'revoke' });
  });
});
