import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect } from 'vitest';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { startScriptedBroker } from '../test/fixtures/scripted-broker.ts';
import { type EstScript, startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { Device } from './device.ts';
import { type ClockStore, DeviceClock, fileClockStore, memoryClockStore } from './device-clock.ts';
import { SILENT_LOG } from './device-state.ts';
import { enrollOnce } from './enrollment.ts';
import { memoryIdentityStore } from './identity-store.ts';

const { describe, it } = testsWithClients('device-sdk/device-clock.test.ts', ['openssl']);

const HOUR = 3_600_000;
const TODAY = Date.parse('2026-11-22T12:00:00Z');

/** A machine whose clock can be set while its uptime only grows. */
function machine(clock: number) {
  const state = { clock, uptime: 0 };
  return {
    now: () => state.clock,
    uptime: () => state.uptime,
    pass: (milliseconds: number) => {
      state.clock += milliseconds;
      state.uptime += milliseconds;
    },
    set: (time: number) => {
      state.clock = time;
    },
  };
}

const open = (store: ClockStore, { now, uptime }: ReturnType<typeof machine>) =>
  DeviceClock.open({ store, now, uptime });

describe("a device's clock", () => {
  it("is the system's, as long as nobody knows better", async () => {
    const system = machine(TODAY);
    const clock = await open(memoryClockStore(), system);
    system.pass(HOUR);
    expect(clock.status).toEqual({ now: TODAY + HOUR, skew: undefined });
  });

  it('that wakes up in 1970 begins at the last known good time, and goes on from there', async () => {
    const store = memoryClockStore();
    const yesterday = machine(TODAY - HOUR);
    const before = await open(store, yesterday);
    before.learn(TODAY);
    yesterday.pass(2 * HOUR);
    await before.persist();
    const system = machine(0);
    const clock = await open(store, system);
    expect(clock.now()).toBe(TODAY + 2 * HOUR);
    system.pass(HOUR);
    expect(clock.now()).toBe(TODAY + 3 * HOUR);
    system.set(TODAY + 10 * HOUR);
    expect(clock.now()).toBe(TODAY + 10 * HOUR);
  });

  it('is not set back when the system is', async () => {
    const system = machine(TODAY);
    const clock = await open(memoryClockStore(), system);
    clock.learn(TODAY);
    system.pass(HOUR);
    system.set(0);
    expect(clock.now()).toBe(TODAY + HOUR);
  });

  it('knows how wrong the system is, in either direction', async () => {
    const system = machine(TODAY);
    const clock = await open(memoryClockStore(), system);
    clock.learn(TODAY + HOUR);
    expect(clock.status).toEqual({ now: TODAY + HOUR, skew: -HOUR });
    clock.learn(TODAY - HOUR);
    expect(clock.status).toEqual({ now: TODAY - HOUR, skew: HOUR });
  });

  it('starts no earlier than its certificate', async () => {
    const clock = await open(memoryClockStore(), machine(0));
    clock.advanceTo(TODAY);
    clock.advanceTo(TODAY - HOUR);
    expect(clock.now()).toBe(TODAY);
  });

  it('keeps no time that no server told', async () => {
    const store = memoryClockStore();
    await (await open(store, machine(TODAY + 100 * HOUR))).persist();
    expect(await store.load()).toBeUndefined();
  });

  it.each(['', '{', '{"time":"later"}', '{"time":1e300}', 'null'])(
    'does without a file that holds %j',
    async (text) => {
      const path = join(temporaryDirectory(), 'clock.json');
      writeFileSync(path, text);
      expect((await open(fileClockStore(path), machine(TODAY))).now()).toBe(TODAY);
    },
  );

  it('does without a disk', async () => {
    const clock = await open(fileClockStore('/nowhere/at/all.json'), machine(TODAY));
    clock.learn(TODAY + HOUR);
    await clock.persist();
    expect(clock.now()).toBe(TODAY + HOUR);
  });
});

const authority = makeScriptedAuthority();
const stranger = makeScriptedAuthority();
afterAll(() => {
  authority.dispose();
  stranger.dispose();
});
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(script: EstScript = {}) {
  const broker = await startScriptedBroker(authority);
  const est = await startScriptedEstServer(authority, { mqttUrl: () => broker.mqttUrl, ...script });
  cleanups.push(
    () => broker.close(),
    () => est.close(),
  );
  return est;
}

describe("a server's time", () => {
  it('is learnt from a refusal, kept over a restart, and the skew is told', async () => {
    const said = TODAY + 1_000 * HOUR;
    const est = await start({
      answer: ({ path }) =>
        path.endsWith('/simplereenroll')
          ? {
              status: 503,
              headers: { 'content-type': 'application/problem+json' },
              body: JSON.stringify({ code: 'unavailable', time: new Date(said).toISOString() }),
            }
          : undefined,
    });
    const dataDir = temporaryDirectory();
    const warnings: object[] = [];
    const log = { ...SILENT_LOG, warn: (fields: object, phrase: string) => warnings.push({ ...fields, phrase }) };
    const device = await Device.open({ dataDir, token: est.token(), now: () => TODAY, log });
    cleanups.push(() => device.close());
    await expect(device.renew()).rejects.toMatchObject({ code: 'unavailable' });
    expect(device.clock.skew).toBe(-1_000 * HOUR);
    expect(warnings).toContainEqual({ skew: -1_000 * HOUR, phrase: 'the clock of this device is wrong' });
    await device.close();
    expect(JSON.parse(readFileSync(join(dataDir, 'clock.json'), 'utf8')).time).toBeGreaterThanOrEqual(said);
    const later = await Device.open({ dataDir, now: () => 0 });
    cleanups.push(() => later.close());
    expect(later.clock.now).toBeGreaterThanOrEqual(said);
    expect(later.clock.skew).toBeUndefined();
  });

  it('is learnt from the Date of any other answer', async () => {
    const est = await start();
    const device = await Device.open({ store: memoryIdentityStore(), token: est.token() });
    cleanups.push(() => device.close());
    expect(Math.abs(device.clock.skew as number)).toBeLessThan(60_000);
  });

  it('is not believed before the server has proved itself', async () => {
    const est = await start();
    const times: number[] = [];
    const learn = (time: number) => void times.push(time);
    const clock = { dates: () => 'system' as const, learn, lastGood: 0 };
    const order = { clock };
    const wrong = enrollOnce(memoryIdentityStore(), { ...order, token: est.token(stranger.rootSha256) });
    await expect(wrong).rejects.toMatchObject({ code: 'server_untrusted' });
    expect(times).toEqual([]);
    await enrollOnce(memoryIdentityStore(), { ...order, token: est.token() });
    expect(times).toHaveLength(1);
  });
});
