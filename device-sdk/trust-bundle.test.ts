import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { type DatedAuthority, makeDatedAuthority } from '../test/testkit/dated-authority.ts';
import { testsWithClients } from '../test/testkit/real-client.ts';
import { makeScriptedAuthority } from '../test/testkit/scripted-authority.ts';
import { startScriptedBroker } from '../test/testkit/scripted-broker.ts';
import { startScriptedEstServer } from '../test/testkit/scripted-est-server.ts';
import { Device } from './device.ts';
import { enrollOnce } from './enrollment.ts';
import { memoryIdentityStore } from './identity-store.ts';
import { judgeBundle } from './trust-bundle.ts';

const { describe, it } = testsWithClients('device-sdk/trust-bundle.test.ts', ['openssl']);

const DAY = 86_400_000;
let [old, next, stranger, scripted]: (DatedAuthority | undefined)[] = [];
const authority = makeScriptedAuthority();
beforeAll(async () => {
  [old, next, stranger, scripted] = await Promise.all(
    ['old', 'next', 'stranger', 'other'].map((name) => makeDatedAuthority(`CN=${name}`)),
  );
});
afterAll(() => authority.dispose());
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const pem = (one: DatedAuthority | undefined) => one?.rootPem as string;
const cross = (one: DatedAuthority | undefined, by: DatedAuthority | undefined) =>
  (one as DatedAuthority).crossSignedBy(by as DatedAuthority);

describe('a trust bundle', () => {
  it('with what is trusted already changes nothing', () => {
    expect(judgeBundle(pem(old), pem(old))).toEqual({ verdict: 'same' });
  });

  it('adds a root for which a trusted one vouches, and later lets the old one go', async () => {
    const added = judgeBundle(pem(old), pem(old) + pem(next) + (await cross(next, old)));
    expect(added).toMatchObject({ verdict: 'changed', added: 1, dropped: 0 });
    const both = added.verdict === 'changed' ? added.rootsPem : '';
    expect(judgeBundle(both, pem(next))).toMatchObject({ verdict: 'changed', added: 0, dropped: 1 });
  });

  it.each<[string, () => Promise<string> | string]>([
    ['adds a root for which nobody vouches', () => pem(old) + pem(stranger)],
    ['has a certificate for it by somebody else', async () => pem(old) + pem(next) + (await cross(next, stranger))],
    ['has a certificate for another root', async () => pem(old) + pem(stranger) + (await cross(next, old))],
    ['replaces the old root at once, cross certificate or not', async () => pem(next) + (await cross(next, old))],
    ['holds nothing', () => ''],
    ['holds no certificate', () => '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
    ['is too large', () => pem(old).repeat(17)],
    ['is far too large', () => ' '.repeat(65_537)],
  ])('that %s is refused', async (_what, offered) => {
    expect(judgeBundle(pem(old), await offered())).toMatchObject({ verdict: 'refused' });
  });
});

/** A device that trusts the old root alone, and a broker and an EST server that prove themselves by `by`. */
async function start(by: DatedAuthority, offered: readonly string[] = [], store = memoryIdentityStore()) {
  const enrolling = await startScriptedEstServer(authority);
  const enrolled = await enrollOnce(store, { token: enrolling.token(), deviceId: 'dev-7' });
  await enrolling.close();
  const server = await by.server(Date.now() - DAY, Date.now() + DAY);
  const broker = await startScriptedBroker({ ...authority, server });
  const body = authority.certsOnly(...offered, pem(by)).toString('base64');
  const est = await startScriptedEstServer(authority, { identity: server, answer: () => ({ status: 200, body }) });
  cleanups.push(
    () => broker.close(),
    () => est.close(),
  );
  await store.commit({ ...enrolled, rootPem: pem(old), enrollUrl: est.url, mqttUrl: broker.mqttUrl });
  const device = await Device.open({ store, renewal: 'manual', random: () => 0 });
  cleanups.push(() => device.close());
  return { broker, device, store };
}

describe('a device', () => {
  it('stores a new root ahead of the rotation, and goes on without losing a message when the servers change', async () => {
    const { broker, device, store } = await start(old as DatedAuthority);
    await once(broker.events, 'subscribed');
    await device.publish('temperature', 1);
    await broker.publish('$fleet/trust-bundle', pem(old) + pem(next) + (await cross(next, old)));
    await broker.publish('$fleet/trust-bundle', pem(old) + pem(stranger));
    const port = Number(new URL(broker.mqttUrl).port);
    await expect.poll(async () => (await store.load())?.rootPem).toBe(pem(old) + pem(next));
    await broker.close();
    const server = await (next as DatedAuthority).server(Date.now() - DAY, Date.now() + DAY);
    const sent = [device.publish('temperature', 2), device.publish('temperature', 3)];
    const rotated = await startScriptedBroker({ ...authority, server }, {}, port);
    cleanups.push(() => rotated.close());
    await Promise.all(sent);
    expect(rotated.messages.map(({ payload }) => payload)).toEqual(['2', '3']);
  });

  it('stores two bundles that come at one time one after the other', async () => {
    const memory = memoryIdentityStore();
    let writers = 0;
    const { broker, device, store } = await start(old as DatedAuthority, [], {
      ...memory,
      commit: async (identity) => {
        writers += 1;
        expect(writers).toBe(1);
        await new Promise((resolve) => setImmediate(resolve));
        await memory.commit(identity);
        writers -= 1;
      },
    });
    await once(broker.events, 'subscribed');
    const bundle = pem(old) + pem(next) + (await cross(next, old));
    await broker.publish('$fleet/trust-bundle', bundle);
    await broker.publish('$fleet/trust-bundle', bundle + pem(scripted) + (await cross(scripted, old)));
    await expect.poll(async () => (await store.load())?.rootPem).toBe(pem(old) + pem(next) + pem(scripted));
    await (await device.publish('temperature', 1)).acknowledged;
  });

  it('goes on when a bundle cannot be stored, and leaves it to the broker to send it again', async () => {
    const memory = memoryIdentityStore();
    let isFull = false;
    const failures: string[] = [];
    const { broker, device } = await start(old as DatedAuthority, [], {
      ...memory,
      commit: async (identity) => {
        if (!isFull) return memory.commit(identity);
        failures.push('ENOSPC');
        throw new Error('ENOSPC');
      },
    });
    await once(broker.events, 'subscribed');
    isFull = true;
    const bundle = pem(old) + pem(next) + (await cross(next, old));
    for (let times = 1; times <= 3; times += 1) await broker.publish('$fleet/trust-bundle', bundle);
    await expect.poll(() => failures.length).toBe(3);
    await (await device.publish('temperature', 1)).acknowledged;
    expect(device.state).toBe('connected');
    expect((await memory.load())?.rootPem).toBe(pem(old));
  });

  it('that was away during the rotation finds the new root, because the old one vouches for it', async () => {
    const { device, store } = await start(next as DatedAuthority, [await cross(next, old)]);
    await expect.poll(async () => (await store.load())?.rootPem).toBe(pem(old) + pem(next));
    await device.close();
  });

  it('that was away does not take a root from servers that are nobody', async () => {
    const { device, store } = await start(stranger as DatedAuthority, [await cross(stranger, scripted)]);
    await expect(device.connected()).rejects.toMatchObject({ code: 'server_untrusted' });
    expect((await store.load())?.rootPem).toBe(pem(old));
  });
});
