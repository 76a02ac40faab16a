/** One device publishes as fast as it can on a small disk, with default settings. Other devices are still acknowledged. */

import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { lastingPorts, type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { smallDisk } from '../fixtures/small-disk.ts';

const MIB = 1_048_576;

it('a device over its share of the disk is paused, also after kill -9, while other devices are acknowledged', async (context) => {
  const disk = smallDisk(64 * MIB);
  if (disk === undefined) return context.skip('mounting needs more rights than this user has');
  const data = join(disk, 'data');
  // About 2.5 MiB, the share of half of the disk: three seconds at the rate limit of a client.
  const settings = { environment: { ROLLCALL_TELEMETRY_SHARES_DEVICE: '8%', ROLLCALL_EVENTS_RETENTION_BYTES: '4MiB' } };
  let server: RunningServer | undefined;
  onTestFinished(async () => {
    await server?.end('SIGKILL');
  });
  const ports = await lastingPorts();
  server = await serve(data, ports, settings);
  let operator = openConsoleClient({ socketPath: server.ready.socket });
  const enroll = async (deviceId: string) => {
    const { text: token } = await operator.createToken({});
    return enrollOnce(memoryIdentityStore(), { token, deviceId });
  };
  const [loud, quiet] = [await enroll('loud'), await enroll('quiet')];
  const metrics = async () => `${await operator.metrics()}`;

  const flood = await connectMqtt(loud);
  let acknowledged = 0;
  const sent = 60;
  for (let i = 0; i < sent; i += 1) {
    flood.publish('devices/loud/telemetry/flood', Buffer.alloc(200_000, i), { qos: 1 }, (error) => {
      if (!error) acknowledged += 1;
    });
  }
  const honest = await connectMqtt(quiet);
  const report = () => honest.publishAsync('devices/quiet/telemetry/climate', '{"celsius":21}', { qos: 1 });
  while (!(await metrics()).includes('rollcall_telemetry_held_devices 1\n')) await report();
  const held = acknowledged;
  for (let i = 0; i < 50; i += 1) await report();
  expect(acknowledged).toBeLessThan(sent);
  expect(flood.connected).toBe(true);
  // Messages read before the share was used up are still stored and acknowledged: at most a burst of two seconds.
  expect(acknowledged - held).toBeLessThan(12);
  const text = await metrics();
  expect(text).toContain('rollcall_sessions_over_share 1\n');
  expect(text).toMatch(/rollcall_telemetry_heaviest_device_bytes\{device="loud"\} \d{7}/);
  const { stdout } = await rollcall([
    'events',
    'list',
    '--type',
    'device.over_share',
    '--socket',
    server.ready.socket,
    '--json',
  ]);
  expect(stdout).toContain('devices/loud');
  expect(stdout).not.toContain('devices/quiet');
  await Promise.all([flood.endAsync(true), honest.endAsync(true), operator.close()]);

  await server.end('SIGKILL');
  server = await serve(data, ports, settings);
  operator = openConsoleClient({ socketPath: server.ready.socket });
  onTestFinished(() => operator.close());
  const again = await connectMqtt(loud);
  let isStored = false;
  again.publish('devices/loud/telemetry/flood', 'once more', { qos: 1 }, () => {
    isStored = true;
  });
  const other = await connectMqtt(quiet);
  for (let i = 0; i < 50; i += 1) await other.publishAsync('devices/quiet/telemetry/climate', '{}', { qos: 1 });
  expect(isStored).toBe(false);
});
