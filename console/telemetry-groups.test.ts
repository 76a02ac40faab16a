/** Telemetry by group: of the devices that are in it now, and nobody else's. What was forgotten stands in the audit. */

import { expect, it, onTestFinished } from 'vitest';
import { openTestConsole, START } from '../test/fixtures/console/test-console.ts';

const DAY = 86_400_000;

async function bedWithMessages() {
  const fixture = await openTestConsole();
  onTestFinished(() => fixture.close());
  for (const id of ['dev-1', 'dev-2']) await fixture.enroll(id);
  for (const [i, device] of ['dev-1', 'stranger', 'dev-2', 'dev-1'].entries()) await fixture.say(device, 's', `${i}`);
  return fixture;
}

const payloads = (messages: readonly { readonly payload?: unknown }[]) => messages.map(({ payload }) => payload);

it('is queried, exported and reduced to the newest by group', async () => {
  const { client } = await bedWithMessages();
  const group = 'default' as never;
  expect(payloads(await client.queryTelemetry({ group }))).toEqual([0, 2, 3]);
  expect(payloads(await client.lastTelemetry({ group }))).toEqual([3, 2]);
  expect(await client.queryTelemetry({ group: 'empty' as never })).toEqual([]);
  expect(await client.lastTelemetry({ group: 'empty' as never })).toEqual([]);
  const chunks: Buffer[] = [];
  for await (const chunk of client.exportTelemetry({ group })) chunks.push(chunk);
  const lines = Buffer.concat(chunks).toString().trim().split('\n');
  expect(payloads(lines.map((line) => JSON.parse(line) as { payload: number }))).toEqual([0, 2, 3]);
});

it('is queried for a device or for a group, not for both or neither', async () => {
  const { client } = await bedWithMessages();
  const refused = { code: 'request_invalid' };
  await expect(client.queryTelemetry({})).rejects.toMatchObject(refused);
  const both = { device: 'dev-1', group: 'default' } as never;
  await expect(client.queryTelemetry(both)).rejects.toMatchObject(refused);
  await expect(client.lastTelemetry(both)).rejects.toMatchObject(refused);
});

it('that was pruned by an operator is in the audit, file by file', async () => {
  const fixture = await bedWithMessages();
  await fixture.say('dev-1', 's', 'later', START + 3 * DAY);
  fixture.clock.now = START + 3 * DAY;
  const { removed } = await fixture.client.pruneTelemetry({ olderThanSeconds: 86_400 });
  expect(removed).toMatchObject([{ messages: 4 }]);
  const actor = 'operator/unix';
  const whole = { actor, subject: 'telemetry/*' };
  expect(await fixture.client.listAudit({ limit: 3 })).toMatchObject([
    { ...whole, action: 'telemetry.prune.ended', details: { files: 1 } },
    { actor, action: 'telemetry.pruned', subject: `telemetry/${removed[0]?.name}`, details: { messages: 4 } },
    { ...whole, action: 'telemetry.prune.begun', details: { olderThanSeconds: 86_400 } },
  ]);
});
