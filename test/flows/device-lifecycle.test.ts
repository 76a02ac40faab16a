/** A device through every module: enroll, connect, publish, be delivered, receive a command, be revoked. Also services. */

import { X509Certificate } from 'node:crypto';
import { Device, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt, nextMessage } from '../fixtures/mqtt.ts';
import { issueService } from '../fixtures/service.ts';

describe('a device', () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  it('enrolls, publishes, answers a command and is revoked, with the device SDK', async () => {
    const token = await fleet.mint({ group: 'press', labels: { site: 'plant-1' } });
    const dashboard = await connectMqtt(await issueService(fleet, 'dashboard'));
    await dashboard.subscribeAsync('devices/+/telemetry/+', { qos: 1 });
    await dashboard.subscribeAsync('devices/+/responses/+', { qos: 1 });

    const device = await Device.open({
      store: memoryIdentityStore(),
      token,
      deviceId: 'press-1',
      commands: { greet: (command) => `hello ${command.payload.toString()}` },
    });
    await device.connected();

    const heard = nextMessage(dashboard);
    await device.publish('temperature', { celsius: 21.5 });
    expect(await heard).toEqual({ topic: 'devices/press-1/telemetry/temperature', payload: '{"celsius":21.5}' });
    expect(await fleet.operator.queryTelemetry({ device: 'press-1' })).toMatchObject([
      { device: 'press-1', stream: 'temperature', qos: 1, payload: { celsius: 21.5 } },
    ]);

    const answered = nextMessage(dashboard);
    await dashboard.publishAsync('devices/press-1/commands/greet/r1', 'you', { qos: 1 });
    expect(await answered).toEqual({ topic: 'devices/press-1/responses/r1', payload: 'hello you' });

    expect(await fleet.operator.showDevice({ id: 'press-1' })).toMatchObject({
      group: 'press',
      labels: { site: 'plant-1' },
      status: 'active',
      session: { clientId: 'press-1', address: '127.0.0.1' },
    });

    const refused = new Promise<string>((resolve) => {
      device.onState((_state, error, reason) => reason === 'connection refused' && resolve(error?.code ?? ''));
    });
    const answer = await fleet.operator.revokeDevices({ ids: ['press-1'], reason: 'keyCompromise' });
    expect(answer.sessionsClosed).toBe(1);
    expect(await refused).toBe('connection_refused');
    expect((await fleet.operator.listSessions()).sessions).toHaveLength(1); // the dashboard
    await device.close();
  });

  it('renews with a new key under the same name', async () => {
    const store = memoryIdentityStore();
    const device = await Device.open({ store, token: await fleet.mint(), deviceId: 'press-2' });
    await device.connected();
    const before = await store.load();
    await device.renew();
    const after = await store.load();
    expect(after?.keyPem).not.toBe(before?.keyPem);
    await device.publish('temperature', 1);
    const { certificates, session } = await fleet.operator.showDevice({ id: 'press-2' });
    expect(certificates).toHaveLength(2);
    expect(session?.serial).toBe(serialOf(after?.certificatePem ?? ''));
    await device.close();
  });

  it('gets a name from the server when it requests none', async () => {
    const { deviceId } = await fleet.enroll();
    expect(deviceId).toMatch(/^dev-[a-z2-7]{12}$/);
    expect(await fleet.operator.showDevice({ id: deviceId })).toMatchObject({ status: 'active', group: 'default' });
  });

  it('that lost the response requests again with its key and gets the same certificate', async () => {
    const token = await fleet.mint();
    const store = memoryIdentityStore();
    let pending: Awaited<ReturnType<typeof store.loadPending>>;
    const forgetful = {
      ...store,
      savePending: async (request: NonNullable<typeof pending>) => {
        pending = request;
      },
      loadPending: async () => pending,
      commit: async () => {},
    };
    const { enrollOnce } = await import('../../device-sdk/enrollment.ts');
    const first = await enrollOnce(forgetful, { token, deviceId: 'press-3' });
    const second = await enrollOnce(forgetful, { token, deviceId: 'press-3' });
    expect(second.certificatePem).toBe(first.certificatePem);
    const [{ uses } = { uses: -1 }] = (await fleet.operator.listTokens()).filter((t) => token.includes(t.id));
    expect(uses).toBe(1);
  });

  it('enrolls again after a revocation only with a token created for it, and with a new key', async () => {
    const lost = await fleet.enroll('press-4');
    await fleet.operator.revokeDevices({ ids: ['press-4'], reason: 'cessationOfOperation' });
    await expect(connectMqtt(lost)).rejects.toThrow();
    await expect(fleet.enroll('press-4')).rejects.toMatchObject({ code: 'device_exists' });
    const back = await fleet.enroll('press-4', { device: 'press-4' });
    await connectMqtt(back);
    await expect(connectMqtt(lost)).rejects.toThrow();
  });

  it('that is re-enrolled loses the session of its old certificate', async () => {
    const old = await connectMqtt(await fleet.enroll('press-5'));
    const gone = closed(old);
    await fleet.enroll('press-5', { device: 'press-5' });
    await gone;
  });
});

describe('a service', () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  it('connects with its name as client id, with any suffix, and with no other client id', async () => {
    const service = await issueService(fleet, 'billing');
    await connectMqtt(service, { clientId: 'billing' });
    await connectMqtt(service, { clientId: 'billing-7' });
    for (const clientId of ['billing7', 'billin', 'dashboard', '']) {
      await expect(connectMqtt(service, { clientId }), clientId).rejects.toThrow();
    }
  });

  it('never shares a client id with a device', async () => {
    await issueService(fleet, 'pump');
    await expect(fleet.enroll('pump')).rejects.toMatchObject({ code: 'device_exists' });
    await expect(fleet.enroll('pump-1')).rejects.toMatchObject({ code: 'device_exists' });
    await fleet.enroll('motor-1');
    await expect(issueService(fleet, 'motor')).rejects.toMatchObject({ code: 'service_exists' });
  });

  it('is disconnected when it is revoked', async () => {
    const service = await issueService(fleet, 'reports');
    const client = await connectMqtt(service);
    const gone = closed(client);
    expect((await fleet.operator.revokeService({ name: 'reports' })).sessionsClosed).toBe(1);
    await gone;
    await expect(connectMqtt(service)).rejects.toThrow();
  });

  it("receives a retained message with the lower of its QoS and the subscription's [MQTT-3.8.4-6]", async () => {
    const device = await connectMqtt(await fleet.enroll('twin-1'));
    const topic = 'devices/twin-1/twin/reported';
    await device.publishAsync(topic, 'on', { qos: 1, retain: true });
    const heardAt = async (name: string, qos: 0 | 1) => {
      const client = await connectMqtt(await issueService(fleet, name));
      const heard = new Promise<object>((resolve) => {
        client.once('message', (_topic, payload, packet) =>
          resolve({ payload: payload.toString(), qos: packet.qos, retain: packet.retain }),
        );
      });
      await client.subscribeAsync('devices/+/twin/reported', { qos });
      return heard;
    };
    expect(await heardAt('twins0', 0)).toEqual({ payload: 'on', qos: 0, retain: true });
    expect(await heardAt('twins1', 1)).toEqual({ payload: 'on', qos: 1, retain: true });
  });

  it('may publish commands, and nothing to the topics of a device itself', async () => {
    const client = await connectMqtt(await issueService(fleet, 'ops'));
    const gone = closed(client);
    client.publish('devices/dev-1/telemetry/t', 'forged', { qos: 0 });
    await gone;
  });
});

function serialOf(certificatePem: string): string {
  return new X509Certificate(certificatePem).serialNumber.toLowerCase().replace(/^0+/, '');
}
