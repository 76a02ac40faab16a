/** One certificate of a device is revoked while the device is connected, with that certificate or with another. */

import { X509Certificate } from 'node:crypto';
import { memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { describe, expect, it, onTestFinished } from 'vitest';
import { requestRenewal } from '../../device-sdk/enrollment.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';

const REASON = { reason: 'keyCompromise' } as const;

async function overlapping(): Promise<{
  readonly fleet: TestFleet;
  readonly old: StoredIdentity;
  readonly next: StoredIdentity;
}> {
  const fleet = await startFleet();
  onTestFinished(() => fleet.stop());
  const old = await fleet.enroll('press-1');
  return { fleet, old, next: await requestRenewal(memoryIdentityStore(), old) };
}

function serialOf({ certificatePem }: StoredIdentity): string {
  return new X509Certificate(certificatePem).serialNumber.toLowerCase().replace(/^0+/, '');
}

describe('the revocation of one certificate', () => {
  it('ends the connection that uses it; the device resumes its session with the other certificate', async () => {
    const { fleet, old, next } = await overlapping();
    const will = { topic: 'devices/press-1/events/gone', payload: Buffer.from('x'), qos: 0, retain: false } as const;
    const client = await connectMqtt(old, { clean: false, will });
    await client.subscribeAsync('devices/press-1/commands/+/+', { qos: 1 });
    const gone = closed(client);
    expect(await fleet.operator.revokeCertificate({ serial: serialOf(old), ...REASON })).toMatchObject({
      holder: 'device/press-1',
      others: [{ serial: serialOf(next), proven: false, descendant: true }],
      sessionsClosed: 1,
      brokersConfirmed: 1,
    });
    await gone;
    expect((await fleet.operator.listSessions()).sessions).toEqual([]);
    await expect(connectMqtt(old)).rejects.toThrow();
    await expect(requestRenewal(memoryIdentityStore(), old)).rejects.toMatchObject({ code: 'device_revoked' });

    const again = await connectMqtt(next, { clean: false });
    await again.publishAsync('devices/press-1/telemetry/t', '1', { qos: 1 });
    expect(await fleet.operator.showDevice({ id: 'press-1' as never })).toMatchObject({ status: 'active' });
    expect((await fleet.operator.listSessions()).sessions.map(({ serial }) => serial)).toEqual([serialOf(next)]);
    // No will was published, and the persistent session still exists.
    const told = await fleet.operator.queryTelemetry({ device: 'press-1' as never });
    expect(told.map(({ stream }) => stream)).toEqual(['t']);
  });

  it('does not affect a connection that uses another certificate', async () => {
    const { fleet, old, next } = await overlapping();
    const client = await connectMqtt(next);
    let ended = 0;
    client.on('close', () => {
      ended += 1;
    });
    const proof = await fleet.operator.revokeCertificate({ serial: serialOf(old), ...REASON });
    expect(proof).toMatchObject({ sessionsClosed: 0, others: [{ serial: serialOf(next), proven: true }] });
    await client.publishAsync('devices/press-1/telemetry/t', '1', { qos: 1 });
    expect(ended).toBe(0);
    await expect(connectMqtt(old)).rejects.toThrow();
    await expect(fleet.operator.revokeCertificate({ serial: serialOf(next), ...REASON })).rejects.toMatchObject({
      code: 'certificate_last',
    });
    await client.publishAsync('devices/press-1/telemetry/t', '2', { qos: 1 });
    expect(ended).toBe(0);
  });

  it('that was renewed and never used does not affect the connection of its parent', async () => {
    const { fleet, old, next } = await overlapping();
    const client = await connectMqtt(old);
    await fleet.operator.revokeCertificate({ serial: serialOf(next), ...REASON });
    await client.publishAsync('devices/press-1/telemetry/t', '1', { qos: 1 });
    await expect(connectMqtt(next)).rejects.toThrow();
    await client.publishAsync('devices/press-1/telemetry/t', '2', { qos: 1 });
  });
});
