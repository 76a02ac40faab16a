/** paho-mqtt, the Python client, as a device and as a service (`paho_round_trip.py`). */

import { fileURLToPath } from 'node:url';
import type { DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type CredentialFiles, writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { type ClientOutcome, describeWithClients, type LiveClient, startClient } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const SCRIPT = fileURLToPath(new URL('paho_round_trip.py', import.meta.url));

interface Party {
  readonly role: 'device' | 'service' | 'visitor';
  readonly id: string;
  readonly files: Partial<CredentialFiles>;
  readonly version?: '3.1.1' | '5';
}

describeWithClients('paho-mqtt', ['paho'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  function start({ files, ...party }: Party): LiveClient {
    const place = { host: 'localhost', port: Number(new URL(fleet.mqttUrl).port), ca: fleet.trustBundle };
    const input = JSON.stringify({ ...place, ...files, ...party });
    return startClient('paho', [SCRIPT], { directory: temporaryDirectory(), input });
  }

  const events = ({ stdout }: ClientOutcome) =>
    stdout
      .trim()
      .split('\n')
      .map((line): unknown => JSON.parse(line));

  const told = async (client: LiveClient) => events(await client.ended);

  it('carries telemetry, a command and its answer between a device and a service', async () => {
    const deviceFiles = writeCredentials(temporaryDirectory(), await fleet.enroll('paho-1'));
    const serviceFiles = writeCredentials(temporaryDirectory(), await issueService(fleet, 'paho-backend'));
    const service = start({ role: 'service', id: 'paho-backend', files: serviceFiles });
    await service.line(/"subscribed"/);
    const device = start({ role: 'device', id: 'paho-1', files: deviceFiles });

    expect(await told(device)).toEqual([
      { what: 'connected', code: 0 },
      { what: 'subscribed', granted: [1] },
      { what: 'received', topic: 'devices/paho-1/commands/reboot/r1', payload: 'now', qos: 1 },
      { what: 'disconnected', code: 0 },
    ]);
    expect(await told(service)).toEqual([
      { what: 'connected', code: 0 },
      { what: 'subscribed', granted: [2, 1] },
      { what: 'received', topic: 'devices/paho-1/telemetry/level', payload: '0', qos: 0 },
      { what: 'received', topic: 'devices/paho-1/telemetry/level', payload: '1', qos: 1 },
      { what: 'received', topic: 'devices/paho-1/telemetry/level', payload: '2', qos: 2 },
      { what: 'received', topic: 'devices/paho-1/responses/r1', payload: 'done', qos: 1 },
      { what: 'disconnected', code: 0 },
    ]);
    const stored = await fleet.operator.queryTelemetry({ device: 'paho-1' as DeviceId });
    expect(stored.map(({ payload }) => payload)).toEqual([0, 1, 2]);
  });

  it('is disconnected when its device is revoked', async () => {
    const files = writeCredentials(temporaryDirectory(), await fleet.enroll('paho-lost'));
    const device = start({ role: 'device', id: 'paho-lost', files });
    await device.line(/"subscribed"/);
    await fleet.operator.revokeDevices({ ids: ['paho-lost' as DeviceId], reason: 'cessationOfOperation' });
    expect((await told(device)).at(-1)).toEqual({ what: 'disconnected', code: 7 });
  });

  it.each<[string, Partial<Party>, number]>([
    ['another client id', { id: 'paho-liar' }, 2],
    ['another client id in MQTT 5', { id: 'paho-liar', version: '5' }, 133],
    ['no certificate', { files: {} }, 5],
  ])('is refused with %s', async (_case, attempt, code) => {
    const id = `paho-${code}`;
    const files = writeCredentials(temporaryDirectory(), await fleet.enroll(id));
    const visitor = start({ role: 'visitor', id, files, ...attempt });
    expect((await told(visitor))[0]).toEqual({ what: 'connected', code });
  });
});
