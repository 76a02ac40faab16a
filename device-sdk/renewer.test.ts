import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import fc from 'fast-check';
import { afterAll, afterEach, expect } from 'vitest';
import { deviceTime, type ManualTime } from '../test/fixtures/manual-time.ts';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { type BrokerScript, startScriptedBroker } from '../test/fixtures/scripted-broker.ts';
import { type EstScript, problem, startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { Device } from './device.ts';
import type { DeviceOptions } from './device-options.ts';
import { type DeviceLog, SILENT_LOG } from './device-state.ts';
import { enrollOnce } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import type { StoredIdentity } from './identity-store.ts';
import { noticeTime, overdueDelay, renewalRetryDelay, renewalTime } from './renewal-plan.ts';

const { describe, it } = testsWithClients('device-sdk/renewer.test.ts', ['openssl']);

const DAY = 86_400_000;
const validity = fc
  .tuple(fc.integer({ min: 0, max: 2e12 }), fc.integer({ min: 60_000, max: 3_650 * DAY }))
  .map(([notBefore, life]) => ({ notBefore, notAfter: notBefore + life, life }));
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('the plan', () => {
  it('is two thirds of the life, and up to a twentieth more', () => {
    fc.assert(
      fc.property(validity, chance, (certificate, random) => {
        const used = (renewalTime(certificate, () => random) - certificate.notBefore - 1) / certificate.life;
        expect(used).toBeLessThanOrEqual(2 / 3 + 1 / 20);
        expect(used).toBeGreaterThanOrEqual(2 / 3 - 1e-4);
      }),
    );
    expect(renewalTime({ notBefore: 0, notAfter: 90 * DAY }, () => 0)).toBe(60 * DAY);
    expect(renewalTime({ notBefore: 0, notAfter: 90 * DAY }, () => 0.5)).toBe(62.25 * DAY);
  });

  it('tries again within a twenty-fifth of the life, never at once, and never before the server asked for', () => {
    fc.assert(
      fc.property(
        validity,
        chance,
        fc.option(fc.nat(86_400), { nil: undefined }),
        (certificate, random, retryAfter) => {
          const wait = renewalRetryDelay(certificate, retryAfter, () => random);
          expect(wait).toBeGreaterThanOrEqual(
            Math.max(Math.min(30_000, certificate.life / 25), (retryAfter ?? 0) * 1_000),
          );
          expect(wait).toBeLessThanOrEqual(
            Math.max(certificate.life / 25, (retryAfter ?? 0) * 1_500, 1_000 * (retryAfter ?? 0) + 1_000) + 1,
          );
        },
      ),
    );
  });

  it('spreads overdue renewals, and retries sooner the less time is left', () => {
    const certificate = { notBefore: 0, notAfter: 90 * DAY };
    expect(overdueDelay(certificate, 70 * DAY, () => 0.5)).toBe(DAY);
    expect(overdueDelay(certificate, 89 * DAY, () => 0.5)).toBe(DAY / 20);
    expect(overdueDelay(certificate, 91 * DAY, () => 0.5)).toBe(30_000);
  });
});

const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const isRenewal = ({ path }: { readonly path: string }) => path.endsWith('/simplereenroll');

async function start(script: { readonly est?: EstScript; readonly broker?: BrokerScript } = {}) {
  const broker = await startScriptedBroker(authority, script.broker);
  const time = deviceTime();
  const est = await startScriptedEstServer(authority, {
    mqttUrl: () => broker.mqttUrl,
    now: time.servers,
    ...script.est,
  });
  cleanups.push(
    () => broker.close(),
    () => est.close(),
  );
  const dataDir = temporaryDirectory();
  const identity = await enrollOnce(fileIdentityStore(dataDir), { token: est.token(), deviceId: 'dev-7' });
  const log = watchedLog();
  const open = async (options: Partial<DeviceOptions> = {}) => {
    const { now, schedule } = time;
    // The version that the scripted broker knows: each attempt is one connection.
    const own = { dataDir, now, schedule, random: () => 0, log, mqttVersion: '3.1.1' };
    const device = await Device.open({ ...own, ...options } as DeviceOptions);
    cleanups.push(() => device.close());
    return device;
  };
  return { broker, est, dataDir, identity, time, log, open };
}

/** A log that can be waited for. */
function watchedLog(): DeviceLog & { said(phrase: string): Promise<object> } {
  const listeners = new Set<(fields: object, phrase: string) => void>();
  const hear = (fields: object, phrase: string) => {
    for (const listener of [...listeners]) listener(fields, phrase);
  };
  return {
    ...SILENT_LOG,
    info: hear,
    warn: hear,
    said: (wanted) =>
      new Promise((resolve) => {
        const listener = (fields: object, phrase: string) => {
          if (phrase !== wanted) return;
          listeners.delete(listener);
          resolve(fields);
        };
        listeners.add(listener);
      }),
  };
}

const serialOf = (identity: StoredIdentity | undefined) =>
  new X509Certificate(identity?.certificatePem ?? '').serialNumber;
const stored = (dataDir: string) => fileIdentityStore(dataDir).load();

/** Lets an hour pass again and again, as a renewer does, until the renewal is due. */
function passLife(time: ManualTime, { certificatePem }: StoredIdentity): void {
  const { validFrom, validTo } = new X509Certificate(certificatePem);
  const due = renewalTime({ notBefore: Date.parse(validFrom), notAfter: Date.parse(validTo) }, () => 0);
  time.advance(due - time.now());
}

describe('a certificate of which two thirds are over', () => {
  it('is renewed without anybody asking, and no queued message is lost or repeated', async () => {
    const { broker, est, dataDir, identity, time, log, open } = await start();
    const device = await open({ queue: { replayRate: 0 } });
    await device.connected();
    const renewed = log.said('certificate renewed');
    passLife(time, identity);
    let isRenewed = false;
    void renewed.then(() => {
      isRenewed = true;
    });
    const numbers: number[] = [];
    for (let n = 0; !isRenewed || n < 50; n += 1) {
      await device.publish('temperature', n);
      numbers.push(n);
    }
    await device.drained();
    expect(est.requests.filter(isRenewal)).toHaveLength(1);
    expect(broker.serials).toEqual([serialOf(identity), serialOf(await stored(dataDir))]);
    expect(new Set(broker.serials).size).toBe(2);
    const got = broker.messages.map(({ payload }) => Number(payload));
    expect([...new Set(got)]).toEqual(numbers);
    expect(broker.messages.filter(({ dup }) => !dup).map(({ payload }) => Number(payload))).toEqual(numbers);
  });

  it('is left alone a moment earlier', async () => {
    const { est, identity, time, open } = await start();
    const device = await open();
    await device.connected();
    const { validFrom, validTo } = new X509Certificate(identity.certificatePem);
    const due = renewalTime({ notBefore: Date.parse(validFrom), notAfter: Date.parse(validTo) }, () => 0);
    time.advance(due - time.now() - 1);
    expect(time.nextIn()).toBe(1);
    expect(est.requests.filter(isRenewal)).toEqual([]);
  });

  it('is left alone if that is asked for', async () => {
    const { identity, time, open } = await start();
    const device = await open({ renewal: 'manual' });
    await device.connected();
    passLife(time, identity);
    expect(time.pending).toBe(0);
    await device.renew();
    expect(time.pending).toBe(0);
  });

  it('is renewed although the clock was wrong by decades when the device started', async () => {
    const { identity, time, log, open } = await start();
    const today = time.now();
    time.set(0);
    const device = await open();
    await device.connected();
    const renewed = log.said('certificate renewed');
    time.set(today + 25 * DAY);
    time.advance(3_600_000);
    await renewed;
    expect(serialOf(identity)).not.toBe('');
  });

  it('leaves no timer behind when the device closes', async () => {
    const { time, open } = await start();
    const device = await open();
    await device.connected();
    expect(time.pending).toBe(1);
    await device.close();
    expect(time.pending).toBe(0);
  });
});

describe('a renewal that fails', () => {
  it('is tried again when the server asked for it at the earliest, and the device stays connected', async () => {
    let isOpen = false;
    const busy = { 'retry-after': '172800' };
    const { identity, est, time, log, open, dataDir } = await start({
      est: { answer: (r) => (isRenewal(r) && !isOpen ? problem(503, 'unavailable', busy) : undefined) },
    });
    const device = await open();
    await device.connected();
    const failed = log.said('certificate not renewed');
    passLife(time, identity);
    // Answers are believed up to a day.
    expect(await failed).toMatchObject({ code: 'unavailable', wait: 86_400_000 });
    expect(device.state).toBe('connected');
    expect(serialOf(await stored(dataDir))).toBe(serialOf(identity));
    isOpen = true;
    const renewed = log.said('certificate renewed');
    time.advance(DAY - 1);
    expect(est.requests.filter(isRenewal)).toHaveLength(1);
    time.advance(1);
    await renewed;
    const [first, second] = est.requests.filter(isRenewal);
    expect(second?.csr.equals(first?.csr as Buffer), 'the same key').toBe(true);
  });

  it('because the broker refuses the new certificate leaves the old one in place, on disk and at work', async () => {
    let refuses = true;
    const servers: { broker?: { readonly serials: readonly string[] } } = {};
    const isNew = () => servers.broker?.serials.at(-1) !== servers.broker?.serials[0];
    const { broker, est, dataDir, identity, time, log, open } = await start({
      broker: { connack: () => (refuses && isNew() ? 5 : 0) },
    });
    servers.broker = broker;
    const device = await open();
    await device.connected();
    const failed = log.said('certificate not renewed');
    passLife(time, identity);
    expect(await failed).toMatchObject({ code: 'connection_refused' });
    await device.connected();
    expect(serialOf(await stored(dataDir))).toBe(serialOf(identity));
    expect(broker.serials.at(-1)).toBe(serialOf(identity));
    await (await device.publish('temperature', 1)).acknowledged;
    refuses = false;
    const renewed = log.said('certificate renewed');
    time.advance(DAY * 2);
    await renewed;
    const [first, second] = est.requests.filter(isRenewal);
    expect(second?.csr.equals(first?.csr as Buffer), 'a new key: the other one did not work').toBe(false);
  });

  it('because the new certificate never gets an answer is given up after three tries', async () => {
    const servers: { broker?: { readonly serials: readonly string[] } } = {};
    const { broker, dataDir, identity, time, log, open } = await start({
      broker: { admits: () => servers.broker?.serials.at(-1) === servers.broker?.serials[0] },
    });
    servers.broker = broker;
    const device = await open();
    await device.connected();
    const failed = log.said('certificate not renewed');
    const tryAgain = (): Promise<void> =>
      log
        .said('connection lost')
        .then(() => time.advance(0))
        .then(tryAgain);
    void tryAgain(); // without chance in the jitter, the wait is zero
    passLife(time, identity);
    expect(await failed).toMatchObject({ code: 'connection_lost' });
    await device.connected();
    expect(serialOf(await stored(dataDir))).toBe(serialOf(identity));
    expect(broker.serials).toHaveLength(5);
  });

  it('because the device was closed in the middle goes on with the same key in its next run', async () => {
    let isBusy = false;
    const { broker, est, dataDir, identity, time, open } = await start({
      broker: { connack: () => (isBusy ? 3 : 0) },
    });
    const device = await open();
    await device.connected();
    const came = once(broker.events, 'gone'); // the old connection ends for the new one's sake
    isBusy = true;
    passLife(time, identity);
    await came;
    await device.close();
    expect(serialOf(await stored(dataDir))).toBe(serialOf(identity));
    isBusy = false;
    const again = await open({ renewal: 'manual' });
    await again.renew();
    const [first, second] = est.requests.filter(isRenewal);
    expect(second?.csr.equals(first?.csr as Buffer)).toBe(true);
    expect(serialOf(await stored(dataDir))).not.toBe(serialOf(identity));
  });
});

describe('a server that says when', () => {
  const noticeOf = (start: number, end: number, at: number) =>
    JSON.stringify({
      ...{ windowStart: new Date(start).toISOString(), windowEnd: new Date(end).toISOString() },
      ...{ reason: 'pulled_forward', serverTime: new Date(at).toISOString() },
    });
  const notice = 'devices/dev-7/server/renewal';

  it('is followed, once per window, by a device that is connected', async () => {
    const { broker, est, time, log, open } = await start();
    const subscribed = once(broker.events, 'subscribed');
    const device = await open();
    await subscribed;
    const steered = log.said('renewal planned by a notice of the server');
    const window = noticeOf(time.now() + DAY, time.now() + 2 * DAY, time.now());
    await broker.publish(notice, window);
    await steered;
    const renewed = log.said('certificate renewed');
    time.advance(DAY - 1);
    expect(est.requests.filter(isRenewal)).toHaveLength(0);
    time.advance(1);
    await renewed;
    await device.connected();
    await broker.publish(notice, window); // the broker kept it, and tells it again
    await broker.publish(notice, 'nonsense');
    await (await device.publish('temperature', 1)).acknowledged;
    time.advance(3 * DAY);
    expect(est.requests.filter(isRenewal)).toHaveLength(1);
  });

  it('is asked before a renewal by the own plan, and can put it off', async () => {
    const later: { start?: number; servers?: () => number } = {};
    const { identity, est, time, log, open } = await start({
      est: {
        answer: ({ path }) => {
          if (path !== '/v1/renewal-info') return undefined;
          const { start = 0, servers = () => 0 } = later;
          return { status: 200, body: noticeOf(start, start + DAY, servers()) };
        },
      },
    });
    await (await open()).connected();
    const steered = log.said('renewal planned by a notice of the server');
    const { validFrom, validTo } = new X509Certificate(identity.certificatePem);
    const due = renewalTime({ notBefore: Date.parse(validFrom), notAfter: Date.parse(validTo) }, () => 0);
    Object.assign(later, { start: due + 2 * DAY, servers: time.servers });
    passLife(time, identity);
    await steered;
    await expect.poll(() => time.pending).toBe(1);
    expect(est.requests.filter(isRenewal)).toHaveLength(0);
    const renewed = log.said('certificate renewed');
    time.advance(2 * DAY);
    await renewed;
    expect(est.requests.at(-1)).toMatchObject({ peer: 'dev-7' });
  });

  it('can not put it off until there is no time left', () => {
    fc.assert(
      fc.property(validity, chance, fc.nat(), fc.nat(), (certificate, random, from, length) => {
        const { notBefore, notAfter, life } = certificate;
        const now = notBefore + life / 2;
        const window = {
          windowStart: new Date(notBefore + (from % (2 * life))).toISOString(),
          windowEnd: new Date(notBefore + (from % (2 * life)) + 1_000 + (length % life)).toISOString(),
        };
        const due = noticeTime(window, certificate, now, () => random);
        expect(due).toBeGreaterThanOrEqual(now);
        expect(due).toBeLessThanOrEqual(Math.ceil(Math.max(now, notAfter - life / 25)));
      }),
    );
  });
});
