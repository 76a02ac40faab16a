import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { type DatedAuthority, type DatedIssuing, makeDatedAuthority } from '../test/fixtures/dated-authority.ts';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority, type ServerCredential } from '../test/fixtures/scripted-authority.ts';
import { startScriptedBroker } from '../test/fixtures/scripted-broker.ts';
import { type EstScript, startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { Device } from './device.ts';
import { DeviceClock, memoryClockStore } from './device-clock.ts';
import { enrollOnce } from './enrollment.ts';
import { exchange } from './https-exchange.ts';
import { memoryIdentityStore } from './identity-store.ts';

const { describe, it } = testsWithClients('device-sdk/server-verification.test.ts', ['openssl']);

const YEAR = 365 * 86_400_000;
/** Ahead of this machine's clock, behind it, and the time that each server believes it is. */
const AHEAD = Date.now() + 10 * YEAR;
const BEHIND = Date.now() - 10 * YEAR;

const authority = makeScriptedAuthority();
let dated: DatedAuthority;
let stranger: DatedAuthority;
beforeAll(async () => {
  dated = await makeDatedAuthority();
  stranger = await makeDatedAuthority('CN=stranger');
});
afterAll(() => authority.dispose());
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const around = (time: number) => [time - 1_000_000, time + 1_000_000] as const;
const timeAnswer = (time: number) => ({
  status: 200,
  body: JSON.stringify({ time: new Date(time).toISOString(), unixMs: time }),
});

async function startServer(identity: ServerCredential, said: number, script: EstScript = {}) {
  const answer: EstScript['answer'] = ({ path }) => (path === '/v1/time' ? timeAnswer(said) : { status: 204 });
  const server = await startScriptedEstServer(authority, { answer, identity, ...script });
  cleanups.push(() => server.close());
  return server;
}

const openClock = () =>
  DeviceClock.open({ store: memoryClockStore(), now: () => Date.now(), uptime: () => performance.now() });
const ask = { method: 'GET', path: '/question', maxBytes: 1_000, timeout: 10_000 } as const;

describe('a server whose certificate is not valid by the clock of this machine', () => {
  it.each([
    ['which is behind', AHEAD],
    ['which is ahead', BEHIND],
  ])('%s, tells the time, and is believed from then on', async (_which, now) => {
    const clock = await openClock();
    const server = await startServer(await dated.server(...around(now)), now);
    const peer = { url: server.url, root: dated.rootPem, clock };
    expect(await exchange(peer, ask)).toMatchObject({ status: 204 });
    expect(Math.abs(clock.now() - now)).toBeLessThan(60_000);
    expect(clock.status.skew).toBeCloseTo(Date.now() - now, -5);
    expect(await exchange(peer, ask)).toMatchObject({ status: 204 });
    expect(server.requests.map(({ path }) => path)).toEqual(['/v1/time', '/question', '/question']);
  });

  it('gets only the request for the time, whatever its certificate', async () => {
    const server = await startServer(await dated.server(...around(BEHIND)), Date.now());
    const peer = { url: server.url, root: dated.rootPem, clock: await openClock() };
    const refused = exchange(peer, { ...ask, headers: { authorization: 'Basic secret' } });
    await expect(refused).rejects.toMatchObject({ code: 'server_untrusted' }); // it isn't valid at the time it tells
    expect(server.requests.map(({ path, password }) => [path, password])).toEqual([['/v1/time', undefined]]);
  });

  it('is not believed a time before the last known good one', async () => {
    const clock = await openClock();
    clock.advanceTo(BEHIND + 1_000);
    const server = await startServer(await dated.server(...around(BEHIND)), BEHIND);
    const refused = exchange({ url: server.url, root: dated.rootPem, clock }, ask);
    await expect(refused).rejects.toMatchObject({ code: 'server_untrusted' });
    expect(clock.status.skew).toBeUndefined();
  });

  it.each<[string, () => Promise<ServerCredential>]>([
    ['leads to another root', () => stranger.server(...around(AHEAD))],
    ['is a device certificate of the fleet', () => dated.device(...around(AHEAD))],
  ])('and %s, is not asked', async (_what, credential) => {
    const clock = await openClock();
    const server = await startServer(await credential(), AHEAD);
    const refused = exchange({ url: server.url, root: dated.rootPem, clock }, ask);
    await expect(refused).rejects.toMatchObject({ code: 'server_untrusted' });
    expect(server.requests).toEqual([]);
    expect(clock.status.skew).toBeUndefined();
  });

  it('and is for another host, is not asked', async () => {
    const clock = await openClock();
    const server = await startServer(await dated.server(...around(AHEAD)), AHEAD);
    const url = server.url.replace('localhost', '127.0.0.1');
    const refused = exchange({ url, root: dated.rootPem, clock }, ask);
    await expect(refused).rejects.toMatchObject({ code: 'server_untrusted' });
    expect(server.requests).toEqual([]);
  });
});

describe('a server below an issuing CA', () => {
  let issuing: DatedIssuing;
  let other: DatedIssuing;
  beforeAll(async () => {
    [issuing, other] = await Promise.all([dated.issuing('CN=issuing'), dated.issuing('CN=other issuing')]);
  });
  /** A clock that is known to be ten years behind, at a server that lives then. */
  const wrongClock = async () => {
    const clock = await openClock();
    clock.learn(AHEAD);
    return clock;
  };
  const rootsAnd = (rootCrl: string) => ({ root: dated.rootPem, rootCrl });

  describe.each<[string, number, () => Promise<DeviceClock | undefined>]>([
    ['that the clock of this machine judges', Date.now(), async () => undefined],
    ['that a known time judges', AHEAD, wrongClock],
  ])('%s', (_by, now, clockOf) => {
    const start = async (by: DatedIssuing) => startServer(await by.server(...around(now)), now);
    const asked = async (url: string, rootCrl: string) =>
      exchange({ url, ...rootsAnd(rootCrl), clock: await clockOf() }, ask);

    it('is refused once its root has revoked or tainted the issuing CA, and another one is not', async () => {
      const [old, fresh] = [await start(issuing), await start(other)];
      expect(await asked(old.url, '')).toMatchObject({ status: 204 });
      for (const says of [{ revoked: [issuing.serial] }, { tainted: [issuing.serial] }]) {
        const list = await dated.list({ number: 1, ...says });
        await expect(asked(old.url, list)).rejects.toMatchObject({
          code: 'server_untrusted',
          message: expect.stringMatching(/revoked/),
        });
        expect(await asked(fresh.url, list)).toMatchObject({ status: 204 });
      }
    });

    it('is believed with a list that names nobody, or that is over for twenty years', async () => {
      const list = await dated.list({ number: 1, nextUpdate: Date.UTC(2002, 0) });
      expect(await asked((await start(issuing)).url, list)).toMatchObject({ status: 204 });
    });

    it('is refused when it sends another certificate of the same name and key along', async () => {
      const { keyPem, certificatePem } = await issuing.server(...around(now));
      const leaf = certificatePem.slice(0, certificatePem.indexOf('-----END') + 26);
      const list = await dated.list({ number: 1, revoked: [issuing.serial] });
      const decoys = issuing.rootPem + certificatePem.slice(leaf.length);
      const server = await startServer({ keyPem, certificatePem: `${leaf}\n${decoys}` }, now);
      await expect(asked(server.url, list)).rejects.toMatchObject({ code: 'server_untrusted' });
    });
  });

  it('is refused when a CA below one that allows none signed it, whichever clock judges', async () => {
    const below = await issuing.issuing('CN=below');
    const { keyPem, certificatePem } = await below.server(...around(AHEAD));
    const server = await startServer({ keyPem, certificatePem: certificatePem + issuing.certificatePem }, AHEAD);
    const refused = exchange({ url: server.url, ...rootsAnd(''), clock: await wrongClock() }, ask);
    await expect(refused).rejects.toMatchObject({
      code: 'server_untrusted',
      message: expect.stringMatching(/path length/),
    });
  });
});

it('a device with a wrong clock connects, and tells how wrong the clock is', async () => {
  const est = await startScriptedEstServer(authority);
  cleanups.push(() => est.close());
  const store = memoryIdentityStore();
  const enrolled = await enrollOnce(store, { token: est.token(), deviceId: 'dev-7' });
  const identity = await dated.server(...around(AHEAD));
  const server = await startServer(identity, AHEAD);
  const broker = await startScriptedBroker({ ...authority, server: identity });
  cleanups.push(() => broker.close());
  await store.commit({ ...enrolled, rootPem: dated.rootPem, enrollUrl: server.url, mqttUrl: broker.mqttUrl });
  const told: string[] = [];
  const device = await Device.open({
    ...{ store, renewal: 'manual', random: () => 0 },
    onState: (state, error) => told.push(error === undefined ? state : `${state} ${error.code}`),
  });
  cleanups.push(() => device.close());
  await (await device.publish('temperature', 21)).acknowledged;
  expect(told).toEqual(['connecting', 'recovering server_untrusted', 'connecting', 'connected']);
  expect(device.clock.skew).toBeLessThan(-9 * YEAR);
});
