import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect } from 'vitest';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { nextMessage, startScriptedBroker } from '../test/fixtures/scripted-broker.ts';
import { type EstScript, problem, startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { Device } from './device.ts';
import type { DeviceOptions } from './device-options.ts';
import { memoryIdentityStore } from './identity-store.ts';

const { describe, it } = testsWithClients('device-sdk/device.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startServers(script: EstScript = {}) {
  const broker = await startScriptedBroker(authority);
  const est = await startScriptedEstServer(authority, { mqttUrl: () => broker.mqttUrl, ...script });
  cleanups.push(
    () => broker.close(),
    () => est.close(),
  );
  return { broker, est };
}

function opened(device: Device): Device {
  cleanups.push(() => device.close());
  return device;
}

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-device-'));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

describe('a device that is opened for the first time', () => {
  it('enrolls, connects with its certificate and publishes', async () => {
    const { broker, est } = await startServers();
    const device = opened(await Device.open({ dataDir: temporaryDirectory(), token: est.token(), deviceId: 'dev-7' }));
    await device.publish('temperature', { value: 21.5 });
    await device.publishEvent('started', 'hello');
    await device.drained();
    expect(device.id).toBe('dev-7');
    expect(broker.messages.map(({ from, topic, payload, qos }) => [from, topic, payload, qos])).toEqual([
      ['dev-7', 'devices/dev-7/telemetry/temperature', '{"value":21.5}', 1],
      ['dev-7', 'devices/dev-7/events/started', 'hello', 1],
    ]);
  });

  it('sends telemetry of QoS 1 under the key of its receipt, and nothing else under one', async () => {
    const { broker, est } = await startServers();
    const order = { dataDir: temporaryDirectory(), token: est.token(), deviceId: 'dev-7' };
    const device = opened(await Device.open(order));
    const { key } = await device.publish('temperature', '1');
    await device.publish('temperature', '2', { key: 'mine' });
    await device.publish('temperature', '3', { qos: 0 });
    await device.publishEvent('started', '4');
    await device.drained();
    expect(broker.messages.map(({ payload, key: sent }) => `${payload} ${sent}`)).toEqual([
      `1 ${key}`,
      '2 mine',
      '3 undefined',
      '4 undefined',
    ]);
    await expect(device.publish('temperature', '5', { key: 'a/b' })).rejects.toMatchObject({ code: 'request_invalid' });
  });

  it.each(['disk', 'memory'] as const)('sends no key of its own when told so, with a queue in %s', async (queue) => {
    const { broker, est } = await startServers();
    const order = { dataDir: temporaryDirectory(), token: est.token(), deviceId: 'dev-7' };
    const device = opened(
      await Device.open({ ...order, messageKeys: 'none', ...(queue === 'memory' && { queue: 'memory' }) }),
    );
    await device.publish('temperature', '1');
    await device.publish('temperature', '2', { key: 'mine' });
    await device.drained();
    expect(broker.messages.map(({ payload, key }) => `${payload} ${key}`)).toEqual(['1 undefined', '2 mine']);
  });

  it('takes the name that the server chooses', async () => {
    const { est } = await startServers();
    const device = opened(await Device.open({ store: memoryIdentityStore(), token: est.token() }));
    expect(device.id).toBe('device-1');
  });

  it('leaves key, chain and root in files that any TLS client can use', async () => {
    const { est } = await startServers();
    const dataDir = join(temporaryDirectory(), 'new');
    opened(await Device.open({ dataDir, token: est.token() }));
    expect(statSync(dataDir).mode & 0o777).toBe(0o700);
    expect(statSync(join(dataDir, 'key.pem')).mode & 0o777).toBe(0o600);
    const verified = execFileSync('openssl', ['verify', '-CAfile', 'ca.pem', '-untrusted', 'cert.pem', 'cert.pem'], {
      cwd: dataDir,
    });
    expect(verified.toString()).toBe('cert.pem: OK\n');
    expect(JSON.parse(readFileSync(join(dataDir, 'device.json'), 'utf8'))).toMatchObject({ deviceId: 'device-1' });
  });
});

describe('a device that is opened again', () => {
  it('needs no token and asks the enroll server nothing', async () => {
    const { broker, est } = await startServers();
    const dataDir = temporaryDirectory();
    await (await Device.open({ dataDir, token: est.token() })).close();
    const asked = est.requests.length;
    const device = opened(await Device.open({ dataDir }));
    await device.publish('temperature', '1');
    await device.drained();
    expect(broker.messages).toHaveLength(1);
    expect(est.requests).toHaveLength(asked);
  });
});

describe('the queue on disk', () => {
  it('keeps what was published without a connection for the next run of the device', async () => {
    const { broker, est } = await startServers();
    const dataDir = temporaryDirectory();
    await (await Device.open({ dataDir, token: est.token(), deviceId: 'dev-7' })).close();
    const offline = opened(await Device.open({ dataDir, mqttUrl: 'mqtts://localhost:1' }));
    const receipt = await offline.publish('temperature', 1);
    await offline.publish('temperature', 2);
    const told = expect(receipt.acknowledged).rejects.toMatchObject({ code: 'closed' });
    await offline.close();
    await told;
    expect(statSync(join(dataDir, 'queue')).mode & 0o777).toBe(0o700);
    const device = opened(await Device.open({ dataDir }));
    expect(device.queue).toMatchObject({ messages: 2, damaged: 0 });
    await device.publish('temperature', 3);
    await device.drained();
    expect(broker.messages.map(({ payload }) => payload)).toEqual(['1', '2', '3']);
    expect(device.queue).toEqual({ messages: 0, bytes: 0, dropped: 0, refused: 0, expired: 0, damaged: 0 });
  });

  it('tells when the broker has stored a message, and sends it once', async () => {
    const { broker, est } = await startServers();
    const dataDir = temporaryDirectory();
    const device = opened(await Device.open({ dataDir, token: est.token() }));
    const { acknowledged } = await device.publish('temperature', 1);
    await acknowledged;
    await device.close();
    const again = opened(await Device.open({ dataDir }));
    await (await again.publish('temperature', 2)).acknowledged;
    expect(broker.messages.map(({ payload }) => payload)).toEqual(['1', '2']);
  });

  it('follows the rules of each stream', async () => {
    const { broker, est } = await startServers();
    const dataDir = temporaryDirectory();
    await (await Device.open({ dataDir, token: est.token() })).close();
    const queue = { streams: { level: { drop: 'keep-latest' } } } as const;
    const offline = opened(await Device.open({ dataDir, queue, mqttUrl: 'mqtts://localhost:1' }));
    for (const value of [1, 2, 3]) {
      await offline.publish('level', value);
      await offline.publishEvent('level', value);
    }
    await offline.close();
    const device = opened(await Device.open({ dataDir, queue }));
    await device.drained();
    expect(broker.messages.map(({ topic, payload }) => [topic.split('/').at(2), payload])).toEqual([
      ['events', '1'],
      ['events', '2'],
      ['telemetry', '3'],
      ['events', '3'],
    ]);
  });

  it.each<[string, DeviceOptions]>([
    ['too small', { dataDir: 'x', queue: { bytes: 1_000 } }],
    ['paced below nothing', { dataDir: 'x', queue: { replayRate: -1 } }],
    ['of an unknown rule', { dataDir: 'x', queue: { drop: 'random' as 'oldest' } }],
    ['without a place', { store: memoryIdentityStore(), queue: {} }],
  ])('%s is refused before anything else happens', async (_what, options) => {
    await expect(Device.open(options)).rejects.toMatchObject({ code: 'request_invalid' });
  });

  it('is refused where its directory can not be', async () => {
    const { est } = await startServers();
    const dataDir = temporaryDirectory();
    await (await Device.open({ dataDir, token: est.token(), queue: 'memory' })).close();
    writeFileSync(join(dataDir, 'queue'), 'a file');
    await expect(Device.open({ dataDir })).rejects.toMatchObject({ code: 'queue_unusable' });
    await opened(await Device.open({ dataDir, queue: 'memory' })).connected();
  });
});

describe('a command', () => {
  it('reaches its handler, and the return value goes back', async () => {
    const { broker, est } = await startServers();
    const device = await Device.open({ store: memoryIdentityStore(), token: est.token() });
    opened(device).onCommand('reboot', (command) => ({ done: command.name, asked: command.json() }));
    await once(broker.events, 'subscribed');
    await broker.publish('devices/device-1/commands/reboot/r-1', '{"in":5}');
    const answer = await nextMessage(broker, ({ topic }) => topic === 'devices/device-1/responses/r-1');
    expect(JSON.parse(answer.payload)).toEqual({ done: 'reboot', asked: { in: 5 } });
  });
});

describe('renewal', () => {
  it('changes key and certificate, and the device comes back with them', async () => {
    const { broker, est } = await startServers();
    const dataDir = temporaryDirectory();
    const device = opened(await Device.open({ dataDir, token: est.token(), deviceId: 'dev-7' }));
    await device.connected();
    const before = readFileSync(join(dataDir, 'key.pem'), 'utf8');
    await device.renew();
    await device.connected();
    await device.publish('temperature', '2');
    expect(readFileSync(join(dataDir, 'key.pem'), 'utf8')).not.toBe(before);
    const leaf = new X509Certificate(readFileSync(join(dataDir, 'cert.pem')));
    expect(broker.serials.at(-1)).toBe(leaf.serialNumber);
    expect(broker.sawAuthorities()).toBe(false);
    expect(new Set(broker.serials).size).toBe(2);
    const request = authority.describeRequest(est.requests.at(-1)?.csr as Buffer);
    expect(request).toContain('URI:spiffe://scripted/device/dev-7');
  });

  it('asked for twice at one time is one renewal', async () => {
    const { est } = await startServers();
    const device = opened(await Device.open({ store: memoryIdentityStore(), token: est.token() }));
    await Promise.all([device.renew(), device.renew()]);
    expect(est.requests.filter(({ path }) => path.endsWith('/simplereenroll'))).toHaveLength(1);
  });

  it('that hangs does not hold up closing', async () => {
    let asked: () => void = () => {};
    const isAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const { est } = await startServers({
      answer: ({ path }) => {
        if (!path.endsWith('/simplereenroll')) return undefined;
        asked();
        return 'hold';
      },
    });
    const device = opened(await Device.open({ store: memoryIdentityStore(), token: est.token() }));
    const renewal = expect(device.renew()).rejects.toMatchObject({ code: 'closed' });
    await isAsked;
    await device.close();
    await renewal;
  });

  it('that the server refuses leaves the device connected as it was', async () => {
    const { broker, est } = await startServers({
      answer: ({ path }) => (path.endsWith('/simplereenroll') ? problem(503, 'unavailable') : undefined),
    });
    const device = opened(
      await Device.open({ store: memoryIdentityStore(), token: est.token(), mqttVersion: '3.1.1' }),
    );
    await device.connected();
    await expect(device.renew()).rejects.toMatchObject({ code: 'unavailable' });
    expect(device.state).toBe('connected');
    await device.publish('temperature', 1);
    expect(broker.serials).toHaveLength(1);
  });
});

describe('a listener of the device', () => {
  it('may close it at any change of its state', async () => {
    const { broker, est } = await startServers();
    const store = memoryIdentityStore();
    await (await Device.open({ store, token: est.token() })).close();
    for (const last of ['connected', 'connecting'] as const) {
      const device = await Device.open({ store, random: () => 0 });
      const closed = new Promise<void>((resolve) => {
        device.onState((state) => {
          if (state === last) resolve(device.close());
        });
      });
      if (last === 'connecting') {
        await device.connected();
        broker.cut(device.id);
      }
      await closed;
      expect(device.state).toBe('closed');
    }
  });
});
