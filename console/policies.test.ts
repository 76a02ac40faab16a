/** Policies over HTTP: which there are and for whom they decide, tried out, removed, and restored from an earlier version. */

import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
  await fixture.enroll('dev-1');
  await fixture.enroll('dev-2');
  await fixture.client.issueService({ name: 'panel' as never, csrPem: 'CERTIFICATE REQUEST' });
});
afterAll(() => fixture.close());
const pumps = { kind: 'group', name: 'pumps' } as const;
beforeEach(async () => {
  await fixture.client.setPolicy({ ...pumps, publish: ['a'] });
});

it('the list has the defaults, what is set, and groups and services that use a default, with whom each decides for', async () => {
  const { client } = fixture;
  expect(await client.listPolicies({})).toMatchObject([
    { scope: 'group/default', isDefault: true, decidedBy: 'built-in', members: 2 },
    { scope: 'group/pumps', isDefault: false, decidedBy: 'group/pumps', members: 0, setBy: 'operator/unix' },
    { scope: 'quarantine/*', isDefault: true, members: 0 },
    { scope: 'service/*', isDefault: true, members: 1 },
    { scope: 'service/panel', isDefault: true, decidedBy: 'built-in', members: 1 },
  ]);
  await client.setPolicy({ kind: 'service', name: 'panel' });
  expect(await client.listPolicies({ after: 'quarantine/*' })).toMatchObject([
    { scope: 'service/*', members: 0 },
    { scope: 'service/panel', isDefault: false, rules: { publish: 0 } },
  ]);
  expect((await client.listPolicies({ limit: 1 })).map(({ scope }) => scope)).toEqual(['group/default']);
  await client.removePolicy({ kind: 'service', name: 'panel' });
});

it('a check names the rules that cannot be applied, and sets nothing', async () => {
  const { client } = fixture;
  expect(await client.checkPolicy({ publish: ['good', 'bad/#/filter'] })).toEqual({
    faults: [{ verb: 'publish', index: 1, fault: 'expected # at the end' }],
  });
  expect(await client.checkPolicy({ publish: ['good'] })).toEqual({ faults: [] });
});

it('a preview says whom a policy or its removal would affect, and refuses one that cannot be applied', async () => {
  const { client } = fixture;
  const scope = { kind: 'group', name: 'default' } as const;
  expect(await client.previewPolicy({ ...scope, policy: { subscribe: ['a', 'b'] } })).toMatchObject({
    members: 2,
    sessions: 1,
    subscriptionsLost: 2,
    unanswered: ['w2'],
  });
  expect((await client.previewPolicy(scope)).subscriptionsLost).toBeGreaterThan(2);
  const refused = client.previewPolicy({ ...scope, policy: { publish: ['bad/#/filter'] } });
  await expect(refused).rejects.toMatchObject({ code: 'policy_invalid' });
  expect(await client.showPolicy(scope)).toMatchObject({ isDefault: true });
});

it('an earlier version is restored as a new one, in the audit with the number of the one that it restores', async () => {
  const { client } = fixture;
  await client.setPolicy({ ...pumps, publish: ['b'] });
  const [second, first] = await client.listPolicyVersions({ ...pumps, limit: 2 });
  expect([second?.policy?.publish, first?.policy?.publish]).toEqual([['b'], ['a']]);
  const version = first?.version as number;
  expect(await client.restorePolicy({ ...pumps, version })).toMatchObject({ policy: { publish: ['a'] } });
  const [newest] = await client.listPolicyVersions({ ...pumps, limit: 1 });
  expect(newest).toMatchObject({ actor: 'operator/unix', restores: version, policy: { publish: ['a'] } });
  const [entry] = await client.listAudit({ subject: 'group/pumps', limit: 1 });
  expect(entry).toMatchObject({ action: 'policy.set', details: { restores: version } });
  await expect(client.restorePolicy({ ...pumps, version: 1 })).rejects.toMatchObject({ code: 'version_unknown' });
});

it('a policy is removed once, and its group has the default again', async () => {
  const { client } = fixture;
  expect(await client.removePolicy(pumps)).toMatchObject({ isDefault: true, decidedBy: 'built-in' });
  expect((await client.listPolicyVersions({ ...pumps, limit: 1 }))[0]).not.toHaveProperty('policy');
  await expect(client.removePolicy(pumps)).rejects.toMatchObject({ code: 'policy_unknown' });
});

it('a certificate profile has versions too', async () => {
  const { client } = fixture;
  await client.setGroupProfile({ group: 'pumps' as never, maxDevices: 3 });
  await client.setGroupProfile({ group: 'pumps' as never });
  const versions = await client.listProfileVersions({ group: 'pumps' as never });
  expect(versions.map(({ profile }) => profile)).toEqual([undefined, { maxDevices: 3 }]);
});
