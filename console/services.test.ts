/** A service over HTTP: shown with its certificates, its sessions and where its rights come from. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { liveSession, openTestConsole, START, type TestConsole } from '../test/fixtures/console/test-console.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
  await fixture.client.issueService({ name: 'panel' as never, csrPem: 'CERTIFICATE REQUEST' });
});
afterAll(() => fixture.close());

it('is shown with its certificates, its live sessions and the scope whose policy applies', async () => {
  const { client, sessions } = fixture;
  const identity = { kind: 'service', name: 'panel' } as never;
  sessions.push({ ...liveSession('panel-2'), identity }, { ...liveSession('panel-1'), identity }, liveSession('dev-1'));
  expect(await client.showService({ name: 'panel' })).toMatchObject({
    name: 'panel',
    status: 'active',
    decidedBy: 'built-in',
    certificates: [{ status: 'good', operator: 'operator/unix', notAfter: new Date(START + 86_400_000).toISOString() }],
    sessions: [{ clientId: 'panel-1' }, { clientId: 'panel-2' }],
    sessionCount: 2,
  });
  await client.setPolicy({ kind: 'service', name: 'panel' });
  expect(await client.showService({ name: 'panel' })).toMatchObject({ decidedBy: 'service/panel' });
  await expect(client.showService({ name: 'other' })).rejects.toMatchObject({ code: 'service_unknown' });
});
