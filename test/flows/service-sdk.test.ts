/** The service SDK against the whole server, with devices of the device SDK. */

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Device, memoryIdentityStore } from '@rollcall/device-sdk';
import {
  type FleetEvent,
  type ReportedTwin,
  Service,
  type ServiceError,
  type ServiceOptions,
} from '@rollcall/service-sdk';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { manualTime } from '../fixtures/manual-time.ts';
import { rollcall } from '../fixtures/program.ts';
import { issueServiceDirectory } from '../fixtures/service.ts';

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet.stop());

async function open(directory: string, options: Partial<ServiceOptions> = {}): Promise<Service> {
  const service = await Service.open({ directory, ...options });
  onTestFinished(() => service.close());
  return service;
}

async function openNamed(name: string, options: Partial<ServiceOptions> = {}): Promise<Service> {
  return open(await issueServiceDirectory(fleet, name), options);
}

async function connectDevice(id: string): Promise<Device> {
  const device = await Device.open({ store: memoryIdentityStore(), deviceId: id, token: await fleet.mint() });
  onTestFinished(() => device.close());
  await device.connected();
  return device;
}

const serialIn = (directory: string) => new X509Certificate(readFileSync(join(directory, 'cert.pem'))).serialNumber;

/** Whether an event is about a connection with this certificate. */
const isOf = ({ data }: FleetEvent, serial: string) => BigInt(`0x${data.certSerial}`) === BigInt(`0x${serial}`);

/** A list that can be waited for. */
function collected<T>() {
  const items: T[] = [];
  const waiting = new Set<() => void>();
  return {
    items,
    add: (item: T) => {
      items.push(item);
      for (const check of [...waiting]) check();
    },
    until: (isComplete: (items: readonly T[]) => boolean) =>
      new Promise<readonly T[]>((resolve) => {
        const check = () => {
          if (!isComplete(items)) return;
          waiting.delete(check);
          resolve(items);
        };
        waiting.add(check);
        check();
      }),
  };
}

describe('telemetry', () => {
  it('reaches the handlers whose device and stream it fits', async () => {
    const service = await openNamed('reader');
    const [all, one] = [collected<string>(), collected<string>()];
    const text = ({ device, stream, text: payload }: { device: string; stream: string; text: string }) =>
      `${device} ${stream} ${payload}`;
    const subscriptions = [
      service.onTelemetry((message) => all.add(text(message))),
      service.onTelemetry((message) => one.add(text(message)), { device: 'tele-1', stream: 'level' }),
    ];
    await Promise.all(subscriptions.map(({ ready }) => ready));
    const device = await connectDevice('tele-1');
    await device.publish('heat', { celsius: 3 });
    await device.publish('level', '4');
    await all.until(({ length }) => length === 2);
    expect(all.items).toEqual(['tele-1 heat {"celsius":3}', 'tele-1 level 4']);
    expect(one.items).toEqual(['tele-1 level 4']);
  });

  it('is acknowledged after its handler has ended, and delivered again when the process ended before', async () => {
    const directory = await issueServiceDirectory(fleet, 'careful');
    const first = await open(directory);
    const began = collected<string>();
    const subscription = first.onTelemetry(
      (message) => {
        began.add(message.text);
        return new Promise<void>(() => {});
      },
      { device: 'tele-2' },
    );
    await subscription.ready;
    const device = await connectDevice('tele-2');
    await device.publish('level', '1');
    await device.publish('level', '2');
    await began.until(({ length }) => length === 1);
    await first.close();

    const second = await open(directory);
    const heard = collected<string>();
    second.onTelemetry((message) => heard.add(message.text), { device: 'tele-2' });
    expect(await heard.until(({ length }) => length === 2)).toEqual(['1', '2']);
  });

  it('is divided among the processes of a shared subscription', async () => {
    const directory = await issueServiceDirectory(fleet, 'workers');
    const heard = collected<string>();
    for (const clientId of ['workers-1', 'workers-2']) {
      const worker = await open(directory, { clientId, renewal: 'external' });
      const { ready } = worker.onTelemetry((message) => heard.add(`${clientId} ${message.text}`), {
        device: 'tele-3',
        share: 'workers',
      });
      await ready;
      expect(() => worker.onTelemetry(() => {})).toThrow('overlaps');
    }
    const device = await connectDevice('tele-3');
    for (let n = 0; n < 10; n += 1) await device.publish('level', String(n));
    const all = await heard.until(({ length }) => length === 10);
    expect(all.map((text) => text.split(' ')[1]).sort()).toEqual([...'0123456789']);
    expect(new Set(all.map((text) => text.split(' ')[0])).size).toBe(2);
  });

  it('goes on after a handler has failed, which is reported', async () => {
    const errors = collected<ServiceError>();
    const service = await openNamed('failing', { onError: errors.add });
    const heard = collected<string>();
    const { ready } = service.onTelemetry(
      (message) => {
        heard.add(message.text);
        if (message.text === '1') throw new Error('no space');
      },
      { device: 'tele-4' },
    );
    await ready;
    const device = await connectDevice('tele-4');
    for (const text of ['1', '2']) await device.publish('level', text);
    expect(await heard.until(({ length }) => length === 2)).toEqual(['1', '2']);
    expect(errors.items).toMatchObject([{ code: 'handler_failed' }]);
    expect(errors.items[0]?.message).toContain('no space');
  });
});

describe('a command', () => {
  it('resolves to the response of the device, also from inside a handler', async () => {
    const service = await openNamed('commander');
    const device = await connectDevice('cmd-1');
    device.onCommand('add', (command) => {
      const { a, b } = command.json() as { a: number; b: number };
      return { sum: a + b };
    });
    const answers = collected<unknown>();
    const { ready } = service.onTelemetry(
      async (message) => {
        const response = await service.command(message.device, 'add', { a: 1, b: 2 });
        answers.add(response.json());
      },
      { device: 'cmd-1' },
    );
    await ready;
    await device.publish('level', '1');
    expect(await answers.until(({ length }) => length === 1)).toEqual([{ sum: 3 }]);
  });

  it('rejects with the error of the device, with its time, and at once for a device that nobody knows', async () => {
    const service = await openNamed('hopeful');
    const device = await connectDevice('cmd-2');
    device.onCommand('break', () => {
      throw new Error('stuck');
    });
    device.onCommand('wait', () => new Promise(() => {}));
    await expect(service.command('cmd-2', 'break')).rejects.toMatchObject({ code: 'command_failed', reason: 'stuck' });
    await expect(service.command('cmd-2', 'wait', '', { timeout: 500 })).rejects.toMatchObject({ code: 'timeout' });
    await expect(service.command('nobody', 'wait')).rejects.toMatchObject({ code: 'no_receiver' });
    await expect(service.command('a/b', 'wait')).rejects.toMatchObject({ code: 'request_invalid' });
    await expect(service.command('cmd-2', 'a/b')).rejects.toMatchObject({ code: 'request_invalid' });
  });
});

describe('a twin', () => {
  it('is read and written, with a version that grows, and its reports arrive', async () => {
    const service = await openNamed('owner');
    const reports = collected<ReportedTwin>();
    await service.onReported(reports.add, { device: 'twin-9' }).ready;
    const twin = service.twin('twin-9');
    expect(await twin.desired()).toBeUndefined();
    expect(await twin.reported()).toBeUndefined();
    const written = [twin.setDesired({ interval: 10 }), twin.patchDesired({ mode: 'eco' })];
    expect(await Promise.all(written)).toEqual([1, 2]);
    expect(await twin.desired()).toEqual({ version: 2, state: { interval: 10, mode: 'eco' } });

    const device = await connectDevice('twin-9');
    const applied = new Promise<void>((resolve) => {
      device.twin.onDesired((delta) => {
        void device.twin.report(delta).then(() => resolve());
      });
    });
    await applied;
    const [last] = (await reports.until((all) => all.some(({ desiredVersion }) => desiredVersion === 2))).slice(-1);
    expect(last).toMatchObject({ device: 'twin-9', state: { interval: 10, mode: 'eco' } });
    expect((await twin.reported())?.state).toEqual({ interval: 10, mode: 'eco' });
  });
});

describe('events', () => {
  it('of the fleet and of devices reach their handlers', async () => {
    const service = await openNamed('watcher');
    const events = collected<FleetEvent>();
    const own = collected<string>();
    const subscriptions = [
      service.onFleetEvent(events.add, { type: 'presence.connected', name: 'evt-1' }),
      service.onDeviceEvent((event) => own.add(`${event.device} ${event.type} ${event.text}`)),
    ];
    await Promise.all(subscriptions.map(({ ready }) => ready));
    const device = await connectDevice('evt-1');
    await device.publishEvent('door', 'open');
    expect(await own.until(({ length }) => length === 1)).toEqual(['evt-1 door open']);
    const [event] = await events.until(({ length }) => length === 1);
    expect(event).toMatchObject({ type: 'fleet.presence.connected', subject: 'devices/evt-1' });
  });
});

describe('a service that renews', () => {
  it('loses no message and no command, and connects with the new certificate', async () => {
    const directory = await issueServiceDirectory(fleet, 'steady');
    const errors = collected<ServiceError>();
    const service = await open(directory, { onError: errors.add });
    const heard = new Set<string>();
    const progress = collected<string>();
    const { ready } = service.onTelemetry(
      (message) => {
        heard.add(message.text);
        progress.add(message.text);
      },
      { device: 'moving-1' },
    );
    await ready;
    const device = await connectDevice('moving-1');
    device.onCommand('echo', (command) => command.payload.toString());
    let isRunning = true;
    const sent: string[] = [];
    const sending = (async () => {
      for (let n = 0; isRunning; n += 1) {
        const { acknowledged } = await device.publish('level', `m${n}`);
        await acknowledged;
        sent.push(`m${n}`);
      }
    })();
    const before = serialIn(directory);
    for (let n = 0; n < 3; n += 1) {
      const command = service.command('moving-1', 'echo', `c${n}`);
      await service.renew();
      expect((await command).text).toBe(`c${n}`);
      const [from] = [progress.items.length];
      await progress.until(({ length }) => length > from + 20);
    }
    isRunning = false;
    await sending;
    await progress.until(() => sent.every((text) => heard.has(text)));
    expect(serialIn(directory)).not.toBe(before);
    const { sessions } = await fleet.operator.listSessions();
    const own = sessions.filter(({ clientId }) => clientId.startsWith('steady'));
    expect(own.map(({ clientId }) => clientId).sort()).toEqual(['steady', 'steady-requests']);
    for (const { serial } of own) expect(BigInt(`0x${serial}`)).toBe(BigInt(`0x${serialIn(directory)}`));
    expect(errors.items).toEqual([]);
  });

  it('does so by itself before the certificate ends', async () => {
    const time = manualTime(Date.now());
    const directory = await issueServiceDirectory(fleet, 'punctual');
    const before = serialIn(directory);
    const { now, schedule } = time;
    const service = await open(directory, { now, schedule, random: () => 0 });
    const end = service.certificateEnd.getTime();
    const connections = collected<FleetEvent>();
    await service.onFleetEvent(connections.add, { type: 'presence.connected', name: 'punctual' }).ready;
    // Past the window of every serial: it ends before 0.8 of the life.
    time.advance((end - now()) * 0.85);
    await connections.until((all) => all.some((event) => isOf(event, serialIn(directory)) && !isOf(event, before)));
    expect(now()).toBeLessThan(end);
    expect(serialIn(directory)).not.toBe(before);
  });

  it('follows another process that renews in its directory', async () => {
    const time = manualTime(Date.now());
    const directory = await issueServiceDirectory(fleet, 'beside');
    const service = await open(directory, { ...time, renewal: 'external' });
    const connected = collected<FleetEvent>();
    await service.onFleetEvent(connected.add, { type: 'presence.connected', name: 'beside' }).ready;
    const before = serialIn(directory);
    expect((await rollcall(['service', 'renew', directory, '--force'])).code).toBe(0);
    expect(serialIn(directory)).not.toBe(before);
    time.advance(3_600_000);
    await connected.until((all) => all.some((event) => isOf(event, serialIn(directory))));
  });
});

describe('a service that is refused', () => {
  it('learns the reason of a subscription, a message and a connection', async () => {
    await fleet.operator.setPolicy({
      kind: 'service',
      name: 'narrow',
      connect: ['${service.name}', '${service.name}-*'],
      subscribe: ['devices/+/responses/+'],
    });
    const errors = collected<ServiceError>();
    const service = await openNamed('narrow', { onError: errors.add });
    await expect(service.onTelemetry(() => {}).ready).rejects.toMatchObject({
      code: 'subscription_refused',
      reason: 'not_authorized',
      reasonCode: 0x87,
    });
    await expect(service.command('x', 'y')).rejects.toMatchObject({
      code: 'message_refused',
      reason: 'not_authorized',
    });
    await fleet.operator.revokeService({ name: 'narrow' as never });
    const refusal = await errors.until((all) => all.some(({ code }) => code === 'connection_refused'));
    expect(refusal.at(-1)).toMatchObject({ reason: 'device_revoked' });
    await expect(service.connected()).rejects.toMatchObject({ code: 'connection_refused', reason: 'device_revoked' });
    await expect(service.renew()).rejects.toMatchObject({ code: 'renewal_failed', reason: 'device_revoked' });
  });

  it('rejects a directory without credentials, and a client id that is not its own', async () => {
    await expect(Service.open({ directory: '/nonexistent' })).rejects.toMatchObject({ code: 'credentials_unusable' });
    const directory = await issueServiceDirectory(fleet, 'named');
    await expect(Service.open({ directory, clientId: 'other' })).rejects.toMatchObject({ code: 'request_invalid' });
    const service = await Service.open({ directory });
    await service.close();
    expect(() => service.onTelemetry(() => {})).toThrow('was closed');
    await expect(service.command('x', 'y')).rejects.toMatchObject({ code: 'closed' });
  });
});
