import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { DeviceId } from '@rollcall/protocol';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { freePort } from '../cli/free-port.ts';
import { type DatedAuthority, makeDatedAuthority } from '../test/fixtures/dated-authority.ts';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { startScriptedBroker } from '../test/fixtures/scripted-broker.ts';
import { startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { Device } from './device.ts';
import { enrollOnce } from './enrollment.ts';
import { fileIdentityStore } from './file-identity-store.ts';
import { memoryIdentityStore } from './identity-store.ts';
import { evaluateBundle, type TrustedRoots } from './trust-bundle.ts';

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

const trusting = (one: DatedAuthority | undefined): TrustedRoots => ({ rootPem: pem(one) });
/** What is trusted after a bundle was followed. */
const followed = (before: TrustedRoots, bundle: string): TrustedRoots => {
  const judged = evaluateBundle(before, bundle);
  return judged.verdict === 'changed' ? judged.trusted : before;
};

describe('a trust bundle', () => {
  it('with what is trusted already changes nothing', () => {
    expect(evaluateBundle(trusting(old), pem(old))).toEqual({ verdict: 'same' });
  });

  it('adds a root for which a trusted one vouches, whether the trusted one is in the bundle or not', async () => {
    for (const also of [pem(old), '']) {
      const judged = evaluateBundle(trusting(old), also + pem(next) + (await cross(next, old)));
      expect(judged).toMatchObject({ verdict: 'changed', added: 1, dropped: 0 });
      expect(judged).toMatchObject({ trusted: { rootPem: pem(old) + pem(next) } });
    }
  });

  it.each<[string, () => Promise<string> | string]>([
    ['adds a root for which nobody vouches', () => pem(old) + pem(stranger)],
    ['has a certificate for it by somebody else', async () => pem(old) + pem(next) + (await cross(next, stranger))],
    ['has a certificate for another root', async () => pem(old) + pem(stranger) + (await cross(next, old))],
    ['holds nothing', () => ''],
    ['holds no certificate', () => '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
    ['is too large', () => pem(old).repeat(17)],
    ['is far too large', () => ' '.repeat(65_537)],
  ])('that %s is refused', async (_what, offered) => {
    expect(evaluateBundle(trusting(old), await offered())).toMatchObject({ verdict: 'refused' });
  });

  it('is refused when its new root is an issuing CA that signed itself, with its own certificate as voucher', async () => {
    const issuing = await (old as DatedAuthority).issuing('CN=issuing');
    const offered = pem(old) + issuing.rootPem + issuing.certificatePem;
    expect(evaluateBundle(trusting(old), offered)).toMatchObject({
      verdict: 'refused',
      reason: expect.stringMatching(/vouches/),
    });
  });

  it('is refused when a root whose path length leaves no room vouches, or a new root has none itself', async () => {
    const [narrow, flat] = [
      await makeDatedAuthority('CN=narrow', undefined, 1),
      await makeDatedAuthority('CN=flat', undefined, 0),
    ];
    const byNarrow = pem(next) + (await cross(next, narrow));
    expect(evaluateBundle({ rootPem: narrow.rootPem }, byNarrow)).toMatchObject({ verdict: 'refused' });
    const byOld = flat.rootPem + (await flat.crossSignedBy(old as DatedAuthority));
    expect(evaluateBundle(trusting(old), byOld)).toMatchObject({
      verdict: 'refused',
      reason: expect.stringMatching(/no CA with CAs below it/),
    });
  });

  it('adds nothing that the list of the vouching root does not name, such as an issuing CA without a path length', async () => {
    const root = old as DatedAuthority;
    const issuing = await root.issuing('CN=unlimited issuing', 'none');
    const offered = pem(old) + issuing.rootPem + issuing.certificatePem;
    const list = await root.list({ number: 3, roots: [root] });
    const trusted = followed(trusting(old), list);
    expect(evaluateBundle(trusted, offered)).toMatchObject({
      verdict: 'refused',
      reason: expect.stringMatching(/does not name it/),
    });
    expect(followed(trusting(old), offered + list).rootPem).toBe(pem(old));
    const named = await root.list({ number: 4, roots: [root, next as DatedAuthority] });
    const both = followed(trusted, pem(next) + (await cross(next, old)) + named);
    expect(both.rootPem).toBe(pem(old) + pem(next));
  });

  it('adds nothing by a voucher that its root has revoked', async () => {
    const voucher = await cross(next, old);
    const serial = new X509Certificate(voucher).serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
    const list = await (old as DatedAuthority).list({ number: 1, revoked: [serial] });
    const judged = evaluateBundle(trusting(old), pem(old) + pem(next) + voucher + list);
    expect(judged).toMatchObject({ verdict: 'changed', added: 0, trusted: { rootPem: pem(old), rootCrlPem: list } });
  });
});

describe('a root that is trusted', () => {
  const roots = () => [old, next] as DatedAuthority[];
  const [first, second] = [() => old as DatedAuthority, () => next as DatedAuthority];
  const both = async () => followed(trusting(old), pem(old) + pem(next) + (await cross(next, old)));

  it('stays when a bundle lacks it, old or new, whatever root the bundle has', async () => {
    const trusted = await both();
    expect(evaluateBundle(trusted, pem(next))).toEqual({ verdict: 'same' });
    expect(evaluateBundle(trusted, pem(old))).toEqual({ verdict: 'same' });
  });

  it('is not dropped on the word of one that came by a bundle and that nobody has confirmed', async () => {
    const trusted = followed(await both(), await second().list({ number: 9, roots: [second()], retired: [first()] }));
    expect(trusted.rootPem).toBe(pem(old) + pem(next));
  });

  it('is dropped on that word once a root that was trusted before has named the other', async () => {
    let trusted = followed(await both(), await second().list({ number: 9, roots: [second()], retired: [first()] }));
    trusted = followed(trusted, pem(next) + (await first().list({ number: 1, roots: roots() })));
    expect(trusted.rootPem).toBe(pem(next));
    // It doesn't come back, and the one that is left counts as the first did.
    expect(evaluateBundle(trusted, pem(old) + (await cross(old, next)))).toMatchObject({ verdict: 'refused' });
  });

  it('is dropped on its own word, when a confirmed one stays, and never the last one', async () => {
    const own = await first().list({ number: 1, roots: [second()], retired: [first()] });
    expect(followed(await both(), own).rootPem).toBe(pem(next));
    const unnamed = await first().list({ number: 1, retired: [first()] });
    expect(followed(await both(), unnamed).rootPem).toBe(pem(old) + pem(next));
    expect(followed(trusting(old), own).rootPem).toBe(pem(old));
  });

  it('is dropped again when it was prepared and is not wanted', async () => {
    const list = await first().list({ number: 1, roots: [first()], retired: [second()] });
    const trusted = followed(await both(), list);
    expect(trusted.rootPem).toBe(pem(old));
    const again = evaluateBundle(trusted, pem(old) + pem(next) + (await cross(next, old)));
    expect(again).toMatchObject({ verdict: 'refused', reason: expect.stringMatching(/retired/) });
  });
});

describe('the revocation list of a root', () => {
  const root = () => old as DatedAuthority;

  it('takes the place of an older one, is never exchanged for an older one, and counts however old it is', async () => {
    const [one, two] = [
      await root().list({ number: 1 }),
      await root().list({ number: 2, nextUpdate: Date.UTC(2002, 0) }),
    ];
    const trusted = followed(followed(trusting(old), one), pem(old) + two);
    expect(trusted.rootCrlPem).toBe(two);
    expect(evaluateBundle(trusted, pem(old) + one)).toMatchObject({
      verdict: 'same',
      notice: expect.stringMatching(/older/),
    });
    expect(evaluateBundle(trusted, pem(old))).toEqual({ verdict: 'same' });
  });

  it('is passed over when somebody else signed it, and refused when it can not be read', async () => {
    const other = await makeDatedAuthority('CN=old'); // of the same name
    expect(evaluateBundle(trusting(old), pem(old) + (await other.list({ number: 5 })))).toEqual({ verdict: 'same' });
    const damaged = (await root().list({ number: 5 })).replace(/\n[A-Za-z0-9+/]{8}/, '\nAAAAAAAA');
    expect(evaluateBundle(trusting(old), pem(old) + damaged)).toMatchObject({
      verdict: 'same',
      notice: expect.stringMatching(/can be read/),
    });
  });

  it('is kept by the store on disk, and directories from before it have none', async () => {
    const dataDir = temporaryDirectory();
    const store = fileIdentityStore(dataDir);
    const list = await root().list({ number: 1 });
    const identity = {
      ...{ deviceId: 'dev-7' as DeviceId, enrollUrl: 'https://localhost:1', mqttUrl: 'mqtts://localhost:2' },
      ...{ keyPem: 'key', certificatePem: 'certificate', rootPem: pem(old) },
    };
    await store.commit(identity);
    expect(await store.load()).toEqual(identity);
    await store.commit({ ...identity, rootCrlPem: list });
    expect((await fileIdentityStore(dataDir).load())?.rootCrlPem).toBe(list);
    await store.commit(identity);
    expect(await store.load()).toEqual(identity);
  });
});

/** A device that trusts the old root alone, and a broker and an EST server that prove themselves by `by`. */
async function start(by: DatedAuthority, offered: readonly string[] = [], store = memoryIdentityStore()) {
  const enrolling = await startScriptedEstServer(authority);
  const enrolled = await enrollOnce(store, { token: enrolling.token(), deviceId: 'dev-7' });
  await enrolling.close();
  const server = await by.server(Date.now() - DAY, Date.now() + DAY);
  const port = await freePort();
  const broker = await startScriptedBroker({ ...authority, server }, {}, port);
  const body = authority.certsOnly(...offered, pem(by)).toString('base64');
  const est = await startScriptedEstServer(authority, { identity: server, answer: () => ({ status: 200, body }) });
  cleanups.push(
    () => broker.close(),
    () => est.close(),
  );
  await store.commit({ ...enrolled, rootPem: pem(old), enrollUrl: est.url, mqttUrl: broker.mqttUrl });
  const device = await Device.open({ store, renewal: 'manual', random: () => 0 });
  cleanups.push(() => device.close());
  return { broker, device, store, port };
}

describe('a device', () => {
  it('stores a new root ahead of the rotation, and goes on without losing a message when the servers change', async () => {
    const { broker, device, store, port } = await start(old as DatedAuthority);
    await once(broker.events, 'subscribed');
    await device.publish('temperature', 1);
    await broker.publish('$fleet/trust-bundle', pem(old) + pem(next) + (await cross(next, old)));
    await broker.publish('$fleet/trust-bundle', pem(old) + pem(stranger));
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
