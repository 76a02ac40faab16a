/** A session store that one device has filled to its share: the server refuses that device and reports it. */

import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

it('a device that exceeds its share of the session store is disconnected alone; health, a metric and an event report it', async () => {
  const data = temporaryDirectory();
  const server = await serve(data, [], { environment: { ROLLCALL_SESSIONS_KEPT_BYTES: '256KiB' } });
  onTestFinished(async () => void (await server.end('SIGKILL')));
  const { stdout: token } = await rollcall(['token', 'create', '--data', data, '--uses', '2']);
  const connect = async (deviceId: string) =>
    connectMqtt(await enrollOnce(memoryIdentityStore(), { token: token.trim(), deviceId }));
  const [greedy, other] = [await connect('greedy'), await connect('other')];
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  onTestFinished(() => operator.close());
  expect(await operator.health()).toMatchObject({ status: 'ok', sessions: 'ok' });

  const gone = closed(greedy);
  greedy.publish('devices/greedy/twin/reported', Buffer.alloc(100 * 1024), { qos: 1, retain: true });
  await gone;
  await other.publishAsync('devices/other/twin/reported', 'fourteen bytes', { qos: 1, retain: true });

  expect(await operator.health()).toMatchObject({ status: 'degraded', sessions: 'short' });
  const metrics = await operator.metrics();
  expect(metrics).toContain('rollcall_session_store_short 1\n');
  expect(metrics).toContain('rollcall_session_store_refused_total{kind="retained"} 1\n');
  const { stdout } = await rollcall(['events', 'list', '--type', 'capacity', '--data', data, '--json']);
  const told = stdout.trim().split('\n');
  expect(told).toHaveLength(1);
  expect(JSON.parse(told[0] as string)).toMatchObject({
    type: 'fleet.capacity.share_exceeded',
    subject: 'devices/greedy',
    data: { kept: 'retained', bound: 'shared', heldBytes: 0 },
  });
  expect(server.log()).toContain('share exceeded');
});
