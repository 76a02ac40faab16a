/** A device that connects and disconnects all the time does not displace a revocation from the event journal. */

import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { expect, it, onTestFinished } from 'vitest';
import { openMqtt } from '../fixtures/mqtt.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const CONNECTS = 2_000;

it('a revocation is still listed after thousands of connects of one device, with 1 MiB for events', async () => {
  const data = temporaryDirectory();
  const environment = {
    ROLLCALL_EVENTS_RETENTION_BYTES: '1MiB',
    ROLLCALL_MQTT_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS: '0',
    ROLLCALL_LOG_LEVEL: 'warn',
  };
  const server = await serve(data, [], { environment });
  onTestFinished(async () => void (await server.end('SIGKILL')));
  const { stdout: token } = await rollcall(['token', 'create', '--data', data, '--uses', '2']);
  const enroll = (deviceId: string) => enrollOnce(memoryIdentityStore(), { token: token.trim(), deviceId });
  await enroll('thief');
  const restless = await enroll('restless');
  expect((await rollcall(['device', 'revoke', 'thief', '--reason', 'keyCompromise', '--data', data])).code).toBe(0);

  for (let n = 0; n < CONNECTS; n += 1) {
    const client = await openMqtt(restless);
    await client.endAsync();
  }
  const list = async (...filter: string[]) => {
    const { stdout } = await rollcall(['events', 'list', '--limit', '10000', '--data', data, '--json', ...filter]);
    const lines = stdout.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as { readonly type: string; readonly data: { leftOut?: number } });
  };
  expect(await list('--type', 'cert.revoked')).toHaveLength(1);
  const told = await list('--type', 'presence');
  expect(told.length).toBeLessThan(CONNECTS / 4);
  expect(told.reduce((sum, { data: { leftOut = 0 } }) => sum + leftOut, 0)).toBeGreaterThan(CONNECTS);
}, 300_000);
