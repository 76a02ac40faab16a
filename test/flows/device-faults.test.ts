/** Faults of devices in the field against the whole server: network, clock, message size, files and addresses. */

import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Device, type DeviceOptions } from '@rollcall/device-sdk';
import { type BootstrapToken, type DeviceId, formatBootstrapToken, parseBootstrapToken } from '@rollcall/protocol';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { startInterruptingProxy } from '../fixtures/interrupting-proxy.ts';
import { deviceTime } from '../fixtures/manual-time.ts';

let fleet: TestFleet;
const dataDir = mkdtempSync(join(tmpdir(), 'rollcall-conditions-'));
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(async () => {
  await fleet.stop();
  rmSync(dataDir, { recursive: true });
});

const devices: Device[] = [];
afterEach(async () => {
  for (const device of devices.splice(0)) await device.close();
});

const directory = (id: string) => join(dataDir, id);

async function open(id: string, options: Partial<DeviceOptions> = {}): Promise<Device> {
  const order = { dataDir: directory(id), deviceId: id, random: () => 0, ...options } as DeviceOptions;
  const device = await Device.open({ token: await fleet.mint(), ...order });
  devices.push(device);
  return device;
}

/** The stored messages of a device's stream, in order and without repetitions. */
async function stored(id: string, from = fleet): Promise<readonly unknown[]> {
  const messages = await from.operator.queryTelemetry({ device: id as DeviceId, stream: 'readings' });
  const inOrder = [...messages].sort((a, b) => a.position - b.position);
  return [...new Set(inOrder.map(({ payload, text }) => payload ?? text))];
}

const portOf = (url: string) => Number(new URL(url).port);
const UNREACHABLE = 'mqtts://localhost:9';

describe('a network connection', () => {
  it('that breaks anywhere in the handshake is retried until it succeeds', async () => {
    const proxy = await startInterruptingProxy(portOf(fleet.mqttUrl));
    proxy.closeAfter(1, 5, 90, 400, 900, 1_300, 1_900);
    const device = await open('cut-1', { mqttUrl: `mqtts://localhost:${proxy.port}` });
    await device.publish('readings', 1);
    await device.drained();
    expect(await stored('cut-1')).toEqual([1]);
    expect(proxy.opened).toBeGreaterThan(7);
  });

  it('that stalls for good is detected, and no published message is lost', async () => {
    const proxy = await startInterruptingProxy(portOf(fleet.mqttUrl));
    const device = await open('silent-1', { mqttUrl: `mqtts://localhost:${proxy.port}`, keepalive: 15 });
    await device.connected();
    proxy.stall();
    for (const reading of [1, 2, 3]) await device.publish('readings', reading);
    await device.drained();
    expect(await stored('silent-1')).toEqual([1, 2, 3]);
    expect(proxy.opened).toBe(2);
    expect(
      (await fleet.operator.listSessions()).sessions.filter(({ identity }) => identity === 'device/silent-1'),
    ).toHaveLength(1);
  });
});

describe('a captive portal that answers every request with HTML', () => {
  async function portal(): Promise<number> {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end('HTTP/1.1 302 Found\r\nlocation: http://portal.example/\r\n\r\n<html>sign in here</html>');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    return (server.address() as AddressInfo).port;
  }

  it('consumes no use of a token', async () => {
    const token = await fleet.mint();
    const enrollUrl = `https://localhost:${await portal()}`;
    const caught = formatBootstrapToken({ ...(parseBootstrapToken(token) as BootstrapToken), enrollUrl });
    await expect(open('portal-1', { token: caught })).rejects.toMatchObject({ code: 'server_untrusted' });
    await (await open('portal-1', { token })).connected();
  });

  it('is not taken for a broker: the device tries the next address', async () => {
    const waits: number[] = [];
    const device = await open('portal-2', {
      mqttUrl: [`mqtts://localhost:${await portal()}`, fleet.mqttUrl],
      renewal: 'manual',
      schedule: (milliseconds, action) => {
        waits.push(milliseconds);
        const timer = setImmediate(action);
        return () => clearImmediate(timer);
      },
    });
    await expect(device.connected()).rejects.toMatchObject({ code: 'server_untrusted' });
    await device.publish('readings', 1);
    await device.drained();
    expect(await stored('portal-2')).toEqual([1]);
    expect(waits).toEqual([30_000]);
  });
});

describe('a clock', () => {
  it('that jumps to 2100, to 1970 and back while the device runs neither stops the device nor triggers a renewal', async () => {
    const time = deviceTime();
    const device = await open('clock-1', { now: time.now, schedule: time.schedule });
    await device.connected();
    const right = time.now();
    for (const leap of [Date.parse('2100-06-01'), 0, right + 1_000]) {
      time.set(leap);
      time.advance(3_600_000);
      await expect.poll(() => time.pending).toBeGreaterThan(0);
      await (await device.publish('readings', leap)).acknowledged;
      expect(device.state).toBe('connected');
    }
    expect(await stored('clock-1')).toHaveLength(3);
    const { certificates } = await fleet.operator.showDevice({ id: 'clock-1' });
    expect(certificates).toHaveLength(1);
  });

  it.each([0, Date.parse('2100-06-01')])(
    'that says %i at the first start enrolls, and is found wrong',
    async (start) => {
      const id = `clock-${start === 0 ? 'behind' : 'ahead'}`;
      const device = await open(id, { now: () => start });
      await device.connected();
      await (await device.publish('readings', 1)).acknowledged;
      expect(Math.abs(device.clock.now - Date.now())).toBeLessThan(60_000);
      expect(Math.sign(device.clock.skew as number)).toBe(start === 0 ? -1 : 1);
    },
  );
});

describe('a message', () => {
  it('of 300 kB is refused at once, and the largest accepted one is stored whole', async () => {
    const device = await open('large-1');
    await expect(device.publish('readings', 'x'.repeat(300_000))).rejects.toMatchObject({ code: 'body_too_large' });
    await (await device.publish('readings', 'x'.repeat(255 * 1024))).acknowledged;
    const [text] = await stored('large-1');
    expect(text).toHaveLength(255 * 1024);
  });

  it.each([
    ['3.1.1', 'after its retries', 'not_acknowledged'],
    ['5', 'before it is sent', 'message_refused'],
  ] as const)('that is too large for this broker is dropped with MQTT %s %s', async (mqttVersion, _when, code) => {
    const small = await startFleet({ settings: [[['mqtt', 'limits', 'packet'], '64KiB']] });
    const id = `large-${mqttVersion}`;
    try {
      const device = await open(id, { token: await small.mint(), mqttVersion });
      const large = await device.publish('readings', 'x'.repeat(100_000));
      const behind = await device.publish('readings', 1);
      await expect(large.acknowledged).rejects.toMatchObject({ code });
      await behind.acknowledged;
      expect(await stored(id, small)).toEqual([1]);
    } finally {
      for (const device of devices.splice(0)) await device.close();
      await small.stop();
    }
  });
});

describe('a server', () => {
  it('that moved is found by a device that is given its address, which the device stores at the next renewal', async () => {
    const data = mkdtempSync(join(tmpdir(), 'rollcall-moved-'));
    onTestFinished(() => rmSync(data, { recursive: true, force: true }));
    const before = await startFleet({ data });
    const first = await open('moved-1', { token: await before.mint() });
    await first.connected();
    await first.close();
    await before.stop();
    const after = await startFleet({ data });
    try {
      const { enrollUrl, mqttUrl } = after;
      const told = await open('moved-1', { enrollUrl, mqttUrl });
      await (await told.publish('readings', 1)).acknowledged;
      await told.renew();
      await told.close();
      const again = await open('moved-1');
      await (await again.publish('readings', 2)).acknowledged;
      await again.renew();
      expect(await stored('moved-1', after)).toEqual([1, 2]);
    } finally {
      for (const device of devices.splice(0)) await device.close();
      await after.stop();
    }
  });
});

describe('the files of a device', () => {
  /** Three messages in the queue on disk that the server has not stored. */
  async function withQueue(id: string): Promise<void> {
    await (await open(id)).connected();
    await devices.pop()?.close();
    const away = await open(id, { mqttUrl: UNREACHABLE });
    for (const reading of [1, 2, 3]) await away.publish('readings', reading);
    await devices.pop()?.close();
  }
  const newestSegment = (id: string) => {
    const queue = join(directory(id), 'queue');
    const files = readdirSync(queue).map((name) => join(queue, name));
    return files.sort((a, b) => statSync(b).size - statSync(a).size)[0] as string;
  };

  it.each<[string, (file: string) => void, readonly number[]]>([
    ['cut short', (file) => truncateSync(file, statSync(file).size - 3), [1, 2, 4]],
    ['followed by garbage', (file) => appendFileSync(file, Buffer.alloc(5_000, 0xa5)), [1, 2, 3, 4]],
  ])('of a queue whose tail is %s still provide every complete message', async (what, damage, expected) => {
    const id = `queue-${what.split(' ')[0]}`;
    await withQueue(id);
    damage(newestSegment(id));
    const device = await open(id);
    await device.publish('readings', 4);
    await device.drained();
    expect(await stored(id)).toEqual(expected);
  });

  it.each(['key.pem', 'cert.pem'])(
    'with a damaged %s are refused, and with a new token the queue is sent',
    async (name) => {
      const id = `damaged-${name.slice(0, 4).replace('.', '')}`;
      await withQueue(id);
      writeFileSync(join(directory(id), name), 'XXXX', { mode: 0o600 });
      const token = await fleet.mint({ device: id as DeviceId });
      await expect(open(id, { token })).rejects.toMatchObject({ code: 'identity_unusable' });
      // As `doctor` advises: without its certificate the device is not enrolled, and its queue stays.
      rmSync(join(directory(id), 'cert.pem'));
      const device = await open(id, { token });
      await device.drained();
      expect(await stored(id)).toEqual([1, 2, 3]);
    },
  );
});
