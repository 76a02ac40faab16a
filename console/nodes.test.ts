/** Requests about nodes, over the API: their list, and a drain with its audit. */

import { afterEach, beforeEach, expect, it } from 'vitest';
import { openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';

let fixture: TestConsole;
beforeEach(async () => {
  fixture = await openTestConsole();
});
afterEach(() => fixture.close());

const audited = async () => {
  const entries = await fixture.client.listAudit();
  return entries.map(({ action, subject, details }) => ({ action, subject, details }));
};

it('nodes are listed with their state, sessions and load', async () => {
  expect(await fixture.client.listNodes()).toEqual([
    {
      ...{ name: 'w1', kind: 'thread', state: 'serving', since: expect.stringMatching(/Z$/) },
      ...{ sessions: 2, eventLoopBusy: 0.25, crashes: 0 },
    },
    { name: 'w2', kind: 'thread', state: 'stopped', since: expect.stringMatching(/Z$/), sessions: 0, crashes: 0 },
  ]);
});

it('a drain is answered when it has begun, and its begin and end are in the audit', async () => {
  const { client } = fixture;
  expect(await client.drainNode({ name: 'w1', withinSeconds: 5 })).toMatchObject({ name: 'w1', state: 'draining' });
  const details = { withinSeconds: 5, sessionsPerSecond: 500, afterwards: 'started' };
  await expect.poll(audited).toContainEqual({
    action: 'node.drained',
    subject: 'node/w1',
    details: expect.objectContaining({ state: 'serving' }),
  });
  expect(await audited()).toContainEqual({ action: 'node.drain.begun', subject: 'node/w1', details });
});

it('a node that is drained serves again when it is told to', async () => {
  expect(await fixture.client.undrainNode({ name: 'w2' })).toMatchObject({ name: 'w2', state: 'serving' });
  expect(await audited()).toContainEqual({
    ...{ action: 'node.undrained', subject: 'node/w2', details: { state: 'serving' } },
  });
});

it('a removal is announced in the audit, and one that would be refused is not', async () => {
  const before = await audited();
  await expect(fixture.client.removeNode({ name: 'w1' })).rejects.toMatchObject({ code: 'node_heard' });
  await expect(fixture.client.removeNode({ name: 'w9' })).rejects.toMatchObject({ code: 'node_unknown' });
  expect(await audited()).toEqual(before);
  expect(await fixture.client.removeNode({ name: 'w1', force: true })).toMatchObject({ state: 'removed' });
  const actions = (await audited()).map(({ action, subject }) => `${action} ${subject}`);
  expect(actions).toEqual(expect.arrayContaining(['node.remove.begun node/w1', 'node.removed node/w1']));
});

it('a drain that would be refused is not in the audit', async () => {
  const before = await audited();
  await expect(fixture.client.drainNode({ name: 'w2' })).rejects.toMatchObject({ code: 'node_busy' });
  await expect(fixture.client.drainNode({ name: 'w9' })).rejects.toMatchObject({ code: 'node_unknown' });
  await expect(fixture.client.drainNode({ name: '../w1' })).rejects.toMatchObject({ code: 'request_invalid' });
  await expect(fixture.client.drainNode({ name: 'w1', withinSeconds: -1 })).rejects.toMatchObject({
    code: 'request_invalid',
  });
  expect(await audited()).toEqual(before);
});
