/** A Mosquitto whose bridge connects as a device, with the settings of docs/bridge.md. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients, type LiveClient, startClient, succeed } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const PAGE = readFileSync(new URL('../../docs/bridge.md', import.meta.url), 'utf8');
const DOCUMENTED = /^```conf\n(.*?)^```$/ms.exec(PAGE)?.[1] ?? '';

describeWithClients('the bridge of a Mosquitto broker', ['mosquitto', 'mosquitto_pub', 'mosquitto_sub'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  /** Starts Mosquitto with the page's settings, as changed, for a device of its own. */
  async function startBridge(id: string, changed: (settings: string) => string = (settings) => settings) {
    const directory = temporaryDirectory();
    const files = writeCredentials(directory, await fleet.enroll(id));
    const bridge = changed(DOCUMENTED)
      .replaceAll('gw-1', id)
      .replace('fleet.example.com:8883', `localhost:${new URL(fleet.mqttUrl).port}`)
      .replace(/^(bridge_cafile) .*$/m, `$1 ${files.ca}`)
      .replace(/^(bridge_certfile) .*$/m, `$1 ${files.certificate}`)
      .replace(/^(bridge_keyfile) .*$/m, `$1 ${files.key}`)
      .replace('restart_timeout 5 60', 'restart_timeout 1');
    const port = String(await freePort());
    const own = [`listener ${port} 127.0.0.1`, 'allow_anonymous true', 'log_type all', 'connection_messages true'];
    const user = process.getuid?.() === 0 ? ['user root'] : []; // otherwise Mosquitto drops its privileges and cannot read these files
    writeFileSync(join(directory, 'mosquitto.conf'), [...own, ...user, bridge].join('\n'));
    const broker: LiveClient = startClient('mosquitto', ['-c', 'mosquitto.conf'], { directory });
    await broker.line(/mosquitto version .* running/);
    const client = ['-h', '127.0.0.1', '-p', port];
    return {
      broker,
      publish: (topic: string, payload: string) =>
        succeed('mosquitto_pub', [...client, '-q', '1', '-t', topic, '-m', payload], { directory }),
      subscribe: (topic: string) =>
        startClient('mosquitto_sub', [...client, '-q', '1', '-d', '-v', '-t', topic], { directory }),
    };
  }

  it('carries telemetry of local clients, and commands to them, with the settings of the page', async () => {
    const bridge = await startBridge('bridge-1');
    await bridge.broker.line(/Received SUBACK from local.*|Received SUBACK/);
    await bridge.publish('sensors/temperature', '{"celsius":21.5}');
    await expect
      .poll(async () => (await fleet.operator.queryTelemetry({ device: 'bridge-1' })).map((m) => [m.stream, m.payload]))
      .toEqual([['temperature', { celsius: 21.5 }]]);

    const local = bridge.subscribe('commands/#');
    await local.line(/Subscribed/);
    const service = await connectMqtt(await issueService(fleet, 'orders'));
    const answered = new Promise<string>((resolve) => {
      service.on('message', (topic, payload) => resolve(`${topic} ${payload}`));
    });
    await service.subscribeAsync('devices/+/responses/+', { qos: 1 });
    await service.publishAsync('devices/bridge-1/commands/restart/r-1', 'now', { qos: 1 });
    await local.line(/^commands\/restart\/r-1 now$/);
    await bridge.publish('responses/r-1', 'done');
    expect(await answered).toBe('devices/bridge-1/responses/r-1 done');
  });

  it('connects with notifications switched off as well', async () => {
    const bridge = await startBridge('bridge-2', (settings) =>
      settings.replace('notifications_local_only true', 'notifications false'),
    );
    await bridge.publish('sensors/humidity', '40');
    await expect.poll(async () => (await fleet.operator.queryTelemetry({ device: 'bridge-2' })).length).toBe(1);
  });

  it.each([
    ['the default notifications, whose will is on $SYS', 'notifications_local_only true', ''],
    [
      'a notification topic of its own, whose will is retained',
      'notifications_local_only true',
      'notification_topic devices/gw-1/events/bridge',
    ],
    ["a client id that is not the device's", 'remote_clientid gw-1', ''],
  ])('is refused with %s', async (_, documented, instead) => {
    const id = `bridge-${instead.length}${documented.length}`;
    expect(DOCUMENTED).toContain(documented);
    const bridge = await startBridge(id, (settings) => settings.replace(documented, instead));
    await bridge.broker.line(/Connection Refused|Socket error on client local|not authori[sz]ed/i);
    expect((await fleet.operator.showDevice({ id })).session).toBeUndefined();
  });
});
