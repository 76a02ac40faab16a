import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { pino } from 'pino';
import { afterAll, afterEach, expect, vi } from 'vitest';
import { testsWithClients } from '../../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../../test/fixtures/scripted-authority.ts';
import { type BrokerScript, startScriptedBroker } from '../../test/fixtures/scripted-broker.ts';
import { type EstScript, problem, startScriptedEstServer } from '../../test/fixtures/scripted-est-server.ts';
import type { DeviceReport } from '../devices/device-report.ts';
import { SdkFleet, type SdkFleetOptions } from './sdk-fleet.ts';

const { describe, it } = testsWithClients('simulator/run/sdk-fleet.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const log = pino({ level: 'silent' });

async function startServers(scripts: { readonly broker?: BrokerScript; readonly est?: EstScript } = {}) {
  const broker = await startScriptedBroker(authority, scripts.broker);
  const est = await startScriptedEstServer(authority, { mqttUrl: () => broker.mqttUrl, ...scripts.est });
  cleanups.push(
    () => broker.close(),
    () => est.close(),
  );
  return { broker, est };
}

/** A fleet whose changes can be waited for. */
async function startFleet(
  options: Omit<SdkFleetOptions, 'log' | 'onDevice'>,
  ...observers: ((device: DeviceReport) => void)[]
) {
  const watchers = new Set<(device: DeviceReport) => void>(observers);
  const run = await SdkFleet.start({
    ...options,
    log,
    onDevice: (device) => {
      for (const watcher of [...watchers]) watcher(device);
    },
  });
  cleanups.push(() => run.stop());
  const until = (matches: (device: DeviceReport) => boolean) =>
    new Promise<DeviceReport>((resolve) => {
      const check = (device: DeviceReport) => {
        if (!matches(device)) return;
        watchers.delete(check);
        resolve(device);
      };
      watchers.add(check);
      for (const device of run.devices()) check(device);
    });
  return { run, until };
}

describe('a simulated fleet', () => {
  it('enrolls every device with a key of its own, connects them, and publishes', async () => {
    const { broker, est } = await startServers();
    const { run, until } = await startFleet({ devices: 6, token: est.token(), rate: 20 });
    await Promise.all(Array.from({ length: 6 }, (_, index) => until((d) => d.index === index && d.acknowledged >= 2)));
    const report = await run.stop();
    expect(new Set(broker.serials).size).toBe(6);
    expect(report).toMatchObject({ devices: 6, enrolled: 6, failed: 0, errors: {}, ended: 'stopped' });
    expect(report.byState.stopped).toBe(6);
    expect(report.acknowledged).toBe(report.sent);
    expect(broker.messages).toHaveLength(report.sent);
    expect(report.latency?.p50).toBeGreaterThan(0);
    const first = JSON.parse(broker.messages[0]?.payload as string);
    expect(first).toMatchObject({ seq: 1, time: expect.stringMatching(/^\d{4}-.*Z$/), value: expect.any(Number) });
  });

  it('gives its devices numbered names when asked to', async () => {
    const { est } = await startServers();
    const { run } = await startFleet({ devices: 2, token: est.token(), rate: 0, idPrefix: 'demo' });
    await run.enrolled;
    expect(run.devices().map((device) => device.id)).toEqual(['demo-0001', 'demo-0002']);
  });

  it('lets at most eight devices enroll or wait for their first connection at one time', async () => {
    const { est } = await startServers();
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const { port } = silent.address() as AddressInfo;
    const connecting = new Set<number>();
    const full = Promise.withResolvers<void>();
    const { run } = await startFleet(
      { devices: 12, token: est.token(), rate: 0, mqttUrl: `mqtts://127.0.0.1:${port}` },
      ({ index, state }) => {
        if (state === 'connecting') connecting.add(index);
        if (connecting.size === 8) full.resolve();
      },
    );
    await full.promise;
    // The turn of a device ends when its first try has failed.
    const hasTurn = ({ state, error }: DeviceReport) =>
      error === undefined && (state === 'enrolling' || state === 'connecting');
    expect(run.devices().filter(hasTurn).length).toBeLessThanOrEqual(8);
  });

  it('ends by itself when its time is up', async () => {
    const { est } = await startServers();
    const { run } = await startFleet({ devices: 1, token: est.token(), rate: 0, seconds: 0.05 });
    expect((await run.done).ended).toBe('time is up');
  });
});

describe('a device that is revoked', () => {
  it('is disconnected and does not reconnect, and the others continue', async () => {
    const revoked = new Set<string>();
    const { broker, est } = await startServers({ broker: { connack: (id) => (revoked.has(id) ? 5 : 0) } });
    // The scripted broker speaks MQTT 3.1.1 only, and an attempt with MQTT 5 would be one more connection.
    const options = { devices: 3, token: est.token(), rate: 10, idPrefix: 'sim', mqtt: 0 };
    const { run, until } = await startFleet(options);
    await Promise.all([0, 1, 2].map((index) => until((d) => d.index === index && d.acknowledged >= 1)));
    revoked.add('sim-0002');
    broker.cut('sim-0002');
    const rejected = await until((device) => device.state === 'connection refused');
    expect(rejected).toMatchObject({ id: 'sim-0002', error: 'connection_refused', lostAt: expect.any(Number) });
    const before = run.devices().map((device) => device.acknowledged) as [number, number, number];
    await until((device) => device.index === 0 && device.acknowledged >= before[0] + 2);
    await until((device) => device.index === 2 && device.acknowledged >= before[2] + 2);
    expect(broker.serials).toHaveLength(4); // one reconnect, and no more
    const report = await run.stop();
    expect(report.byState).toMatchObject({ 'connection refused': 1, stopped: 2 });
  });
});

describe('a token', () => {
  it('that is used up leaves the rest of the fleet refused, without asking for each of them', async () => {
    let enrolled = 0;
    const { est } = await startServers({
      est: {
        answer: (request) => {
          if (!request.path.endsWith('/simpleenroll')) return undefined;
          enrolled += 1;
          return enrolled > 2 ? problem(401, 'token_rejected') : undefined;
        },
      },
    });
    const { run } = await startFleet({ devices: 30, token: est.token(), rate: 0 });
    await run.enrolled;
    expect(run.snapshot()).toMatchObject({ enrolled: 2, errors: { token_rejected: enrolled - 2 } });
    expect(run.snapshot().byState.refused).toBe(28);
    expect(enrolled).toBeLessThanOrEqual(10); // eight ask at one time
  });

  it('that is refused at once ends the run', async () => {
    const { est } = await startServers({
      est: { answer: (r) => (r.path.endsWith('/simpleenroll') ? problem(401, 'token_rejected') : undefined) },
    });
    const { run } = await startFleet({ devices: 3, token: est.token(), rate: 1 });
    expect(await run.done).toMatchObject({ ended: 'nobody left', enrolled: 0 });
  });
});

describe('a server that asks to wait', () => {
  it('is asked again, with the same key', async () => {
    const { est } = await startServers({
      est: {
        answer: (request, sofar) =>
          request.path.endsWith('/simpleenroll') && sofar < 2
            ? problem(429, 'rate_limited', { 'retry-after': '0' })
            : undefined,
      },
    });
    const { run } = await startFleet({ devices: 1, token: est.token(), rate: 0 });
    await run.enrolled;
    expect(run.snapshot()).toMatchObject({ enrolled: 1, errors: { rate_limited: 1 } });
    const sent = est.requests.filter((request) => request.path.endsWith('/simpleenroll'));
    expect(sent[1]?.csr.equals(sent[0]?.csr as Buffer)).toBe(true);
  });

  it('gets the time it asked for, and does not hold up the end of the run', async () => {
    const { est } = await startServers({
      est: {
        answer: (r) =>
          r.path.endsWith('/simpleenroll') ? problem(503, 'unavailable', { 'retry-after': '3600' }) : undefined,
      },
    });
    const postponed = new Promise<{ readonly wait: number }>((resolve) => {
      vi.spyOn(log, 'info').mockImplementation((fields) => resolve(fields as { readonly wait: number }));
    });
    const { run } = await startFleet({ devices: 2, token: est.token(), rate: 1 });
    expect(await postponed).toMatchObject({ code: 'unavailable', wait: expect.toSatisfy((ms) => ms >= 3_600_000) });
    expect(await run.stop()).toMatchObject({ ended: 'stopped', enrolled: 0 });
  });
});

describe('options that describe no fleet', () => {
  it.each([
    [{ devices: 0 }, 'one device'],
    [{ devices: 1.5 }, 'one device'],
    [{ rate: -1 }, 'rate'],
    [{ rate: Number.NaN }, 'rate'],
    [{ seconds: 0 }, 'seconds'],
    [{ haste: 0 }, 'haste'],
  ])('%j', async (wrong, words) => {
    await expect(SdkFleet.start({ devices: 1, token: 'x', rate: 1, log, ...wrong })).rejects.toThrow(words);
  });
});
