/** A device that creates too many streams is refused by the real program, alone, and also after a restart. */

import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { lastingPorts, type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

it('a device is disconnected for one stream too many, also after kill -9, and can publish to its other streams', async () => {
  const data = temporaryDirectory();
  const settings = { environment: { ROLLCALL_TELEMETRY_STREAMS: '3' } };
  let server: RunningServer | undefined;
  onTestFinished(async () => {
    await server?.end('SIGKILL');
  });
  const ports = await lastingPorts();
  server = await serve(data, ports, settings);
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  const enroll = async (deviceId: string) =>
    enrollOnce(memoryIdentityStore(), { token: (await operator.createToken({})).text, deviceId });
  const [loud, quiet] = [await enroll('loud'), await enroll('quiet')];
  const publish = async (identity: typeof loud, stream: string) => {
    const client = await connectMqtt(identity);
    const closed = new Promise<'refused'>((resolve) => client.once('close', () => resolve('refused')));
    const topic = `devices/${identity.deviceId}/telemetry/${stream}`;
    const acknowledged = client.publishAsync(topic, '1', { qos: 1 }).then(
      () => 'acknowledged' as const,
      () => 'refused' as const,
    );
    const outcome = await Promise.race([acknowledged, closed]);
    await client.endAsync(true);
    return outcome;
  };
  for (const stream of ['a', 'b', 'c', 'a']) expect(await publish(loud, stream)).toBe('acknowledged');
  expect(await publish(loud, 'd')).toBe('refused');
  expect(await publish(loud, 'c')).toBe('acknowledged');
  expect(await publish(quiet, 'd')).toBe('acknowledged');
  const listed = await rollcall(['events', 'list', '--type', 'capacity', '--socket', server.ready.socket, '--json']);
  expect(JSON.parse(listed.stdout)).toMatchObject({
    subject: 'devices/loud',
    data: { kept: 'streams', stream: 'd', limit: 3 },
  });
  await operator.close();

  await server.end('SIGKILL');
  server = await serve(data, ports, settings);
  expect(await publish(loud, 'd')).toBe('refused');
  expect(await publish(loud, 'b')).toBe('acknowledged');
});
