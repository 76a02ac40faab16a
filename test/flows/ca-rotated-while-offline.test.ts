/** The CAs are replaced while a device is switched off. The device adopts the new root, or reports that it cannot. */

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Device, type DeviceOptions } from '@rollcall/device-sdk';
import type { DeviceId } from '@rollcall/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseCertificates } from '../../device-sdk/certificate-chain.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const ID = 'press-1' as DeviceId;
/** No server listens there. */
const UNREACHABLE = 'mqtts://localhost:9';

let fleet: TestFleet;
let dataDir: string;
let data: string;
const devices: Device[] = [];
beforeEach(async () => {
  data = temporaryDirectory();
  fleet = await startFleet({ data });
  dataDir = join(temporaryDirectory(), 'device');
});
afterEach(async () => {
  for (const device of devices.splice(0)) await device.close();
  await fleet.stop();
});

/** Starts the same fleet again, as a new process would, at other addresses. */
async function move(): Promise<Pick<DeviceOptions, 'enrollUrl' | 'mqttUrl'>> {
  await fleet.stop();
  fleet = await startFleet({ data });
  const { enrollUrl, mqttUrl } = fleet;
  return { enrollUrl, mqttUrl };
}

async function open(options: Partial<DeviceOptions> = {}): Promise<Device> {
  const device = await Device.open({ dataDir, random: () => 0, ...options } as DeviceOptions);
  devices.push(device);
  return device;
}

/** A device that enrolled, published one message, and was switched off with two messages in its queue. */
async function leave(): Promise<void> {
  const device = await open({ token: await fleet.mint(), deviceId: ID });
  await (await device.publish('count', 1)).acknowledged;
  await device.close();
  const away = await open({ mqttUrl: UNREACHABLE });
  for (const count of [2, 3]) await away.publish('count', count);
  await away.close();
}

const cas = async (role: string) => (await fleet.operator.listCas()).filter((ca) => ca.role === role);
const fingerprints = () =>
  parseCertificates(readFileSync(join(dataDir, 'ca.pem'), 'utf8')).map(({ fingerprint256 }) => fingerprint256);
const bundle = () => new X509Certificate(readFileSync(join(data, 'trust-bundle.pem'))).fingerprint256;
/** Removes repetitions: a message is sent again when the connection closes before its acknowledgement. */
const counts = async () => {
  const messages = await fleet.operator.queryTelemetry({ device: ID, stream: 'count' });
  return [...new Set([...messages].sort((a, b) => a.position - b.position).map(({ payload }) => payload))];
};

/** As in docs/ca.md: a new root, an issuing CA under it, and a renewal notice to every device. */
async function replaceRoot(): Promise<{ readonly oldRoot: string; readonly oldIssuing: string }> {
  const [[oldRoot], [oldIssuing]] = [await cas('root'), await cas('issuing')];
  await fleet.operator.prepareCa({ role: 'root' });
  const { id } = await fleet.operator.prepareCa({});
  await fleet.operator.activateCa({ id });
  await fleet.operator.taintCa({ id: oldIssuing?.id as string, withinSeconds: 60 });
  return { oldRoot: oldRoot?.id as string, oldIssuing: oldIssuing?.id as string };
}

function reached(device: Device, reason: string): Promise<void> {
  return new Promise((resolve) => {
    device.onState((_state, _error, why) => why === reason && resolve());
  });
}

describe('a device that was offline while root and issuing CA were replaced', () => {
  it('reconnects by itself: it adopts the new root, renews, and sends its queue', async () => {
    await leave();
    const before = fingerprints();
    const { oldRoot, oldIssuing } = await replaceRoot();

    const device = await open();
    const renewed = reached(device, 'renewed');
    await device.drained();
    await renewed;
    expect(await counts()).toEqual([1, 2, 3]);
    await expect.poll(fingerprints).toEqual([...before, bundle()]);
    const { certificates } = await fleet.operator.showDevice({ id: ID });
    expect(certificates.map(({ status }) => status).sort()).toEqual(['good', 'superseded']);

    // No device depends on the old CAs any more, so they can be retired, and the device stays connected.
    await fleet.operator.retireCa({ id: oldIssuing });
    await fleet.operator.retireCa({ id: oldRoot });
    await expect.poll(fingerprints).toEqual([bundle()]);
    await device.close();
    const again = await open();
    await again.connected();
    await (await again.publish('count', 4)).acknowledged;
    expect(await counts()).toEqual([1, 2, 3, 4]);
  });

  it('reports that the old CAs were retired, and enrolls again with a token created for it', async () => {
    await leave();
    const { oldRoot, oldIssuing } = await replaceRoot();
    await expect(fleet.operator.retireCa({ id: oldIssuing })).rejects.toMatchObject({ code: 'ca_would_strand' });
    await fleet.operator.retireCa({ id: oldIssuing, strand: 1 });
    await fleet.operator.retireCa({ id: oldRoot, strand: 1 });
    const moved = await move();

    // The server can still authenticate itself to a device that trusts only the old root. It refuses the device's certificate.
    const device = await open(moved);
    const revoked = reached(device, 'refused for good');
    await expect(device.connected()).rejects.toMatchObject({ code: 'connection_refused' });
    await revoked;
    expect(device.lastError).toMatchObject({ code: 'certificate_rejected', status: 403 });
    await expect(device.publish('count', 4)).rejects.toMatchObject({ code: 'certificate_rejected' });
    await expect(device.enroll(await fleet.mint())).rejects.toMatchObject({ code: 'device_exists' });
    const token = await fleet.mint({ device: ID });
    await device.enroll(token);
    await device.drained();
    expect(await counts()).toEqual([1, 2, 3]);
    expect(fingerprints()).toEqual([bundle()]);
  });
});
