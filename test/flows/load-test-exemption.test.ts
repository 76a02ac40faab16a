/** A token that exempts addresses from the limits per address: what it opens, and what stays closed. */

import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';

const DEVICES = 12;
/** Each would stop the test's devices by itself. */
const LIMITS = [
  [['enroll', 'limits', 'enrollmentsPerSecondPerAddress'], 0.1],
  [['enroll', 'limits', 'connectionsPerSecondPerAddress'], 2],
  [['enroll', 'limits', 'openConnectionsPerAddress'], 2],
  [['enroll', 'limits', 'halfOpenConnectionsPerAddress'], 2],
  [['requests', 'perSecondPerAddress'], 2],
  [['mqtt', 'limits', 'connectionsPerSecondPerAddress'], 1],
  [['mqtt', 'limits', 'handshakesPerAddress'], 1],
] as const;

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet({ settings: LIMITS });
});
afterAll(() => fleet.stop());

const exemptions = async () => /^rollcall_load_test_exemptions (\d+)$/m.exec(await fleet.operator.metrics())?.[1];

const enroll = (token: string, deviceId: string) => enrollOnce(memoryIdentityStore(), { token, deviceId });

it('an exempt address enrolls and connects many devices in a row, and its other tokens keep the limits', async () => {
  const loadTest = { from: ['127.0.0.1', '::1'], perSecond: 500 };
  const { token, text } = await fleet.operator.createToken({ uses: DEVICES, ttlSeconds: 600, loadTest });
  expect(token.loadTest).toEqual(loadTest);
  await expect.poll(exemptions).toBe('1');
  const names = Array.from({ length: DEVICES }, (_, at) => `load-${at}`);
  const clients: Awaited<ReturnType<typeof connectMqtt>>[] = [];
  for (const name of names) clients.push(await connectMqtt(await enroll(text, name)));
  expect(clients).toHaveLength(DEVICES);
  await Promise.all(clients.map((client) => client.endAsync(true)));

  const other = await fleet.mint({ uses: 10 });
  const outcomes = await Promise.allSettled(['a', 'b', 'c', 'd', 'e'].map((name) => enroll(other, `other-${name}`)));
  const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []));
  expect(refused).toContain('rate_limited');

  const audit = await fleet.operator.listAudit({ subject: `token/${token.id}` });
  expect(audit[0]?.details).toMatchObject({ loadTestFrom: '127.0.0.1 ::1', loadTestPerSecond: 500 });
  await fleet.operator.revokeToken({ id: token.id });
  await expect.poll(exemptions).toBe('0');
});
