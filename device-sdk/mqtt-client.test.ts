import dns from 'node:dns';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, expect, vi } from 'vitest';
import { freePort } from '../cli/free-port.ts';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { type BrokerScript, nextMessage, startScriptedBroker } from '../test/fixtures/scripted-broker.ts';
import { startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { startProcess } from '../test/fixtures/started-processes.ts';
import { Device } from './device.ts';
import { DeviceError } from './device-error.ts';
import type { DeviceOptions } from './device-options.ts';
import { type DeviceLog, type DeviceState, SILENT_LOG } from './device-state.ts';
import { enrollOnce } from './enrollment.ts';
import { type IdentityStore, memoryIdentityStore, type StoredIdentity } from './identity-store.ts';
import type { Payload } from './payload.ts';

const { describe, it } = testsWithClients('device-sdk/mqtt-client.test.ts', ['openssl']);

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

const DEVICE = 'dev-7';
const READINGS = `devices/${DEVICE}/telemetry/readings`;

/** A store that holds an enrolled device. */
async function enrolledStore(who = authority): Promise<IdentityStore> {
  const est = await startScriptedEstServer(who);
  const store = memoryIdentityStore();
  await enrollOnce(store, { token: est.token(), deviceId: DEVICE });
  await est.close();
  return store;
}

async function startBroker(script: BrokerScript = {}, port = 0) {
  const broker = await startScriptedBroker(authority, script, port);
  cleanups.push(() => broker.close());
  return broker;
}

/** It reconnects at once: the chance in the jitter is always zero. */
async function open(
  mqttUrl: string | readonly string[],
  options: Partial<DeviceOptions> = {},
  store?: IdentityStore,
): Promise<Device> {
  const device = await Device.open({
    store: store ?? (await enrolledStore()),
    mqttUrl,
    random: () => 0,
    mqttVersion: '3.1.1', // what the scripted broker knows
    ...options,
  } as DeviceOptions);
  cleanups.push(() => device.close());
  return device;
}

function untilState(device: Device, wanted: DeviceState): Promise<DeviceError | undefined> {
  return new Promise((resolve) => {
    const forget = device.onState((state, error) => {
      if (state !== wanted) return;
      forget();
      resolve(error);
    });
  });
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'kept',
    (error: DeviceError) => error.code,
  );

describe('a device without a connection', () => {
  it('keeps its messages in order until there is one', async () => {
    const port = await freePort();
    const device = await open(`mqtts://localhost:${port}`);
    const sent = [1, 2, 3].map((reading) => device.publish('readings', reading));
    await untilState(device, 'recovering');
    const broker = await startBroker({}, port);
    await Promise.all(sent);
    expect(broker.messages.map(({ topic, payload }) => [topic, payload])).toEqual([
      [READINGS, '1'],
      [READINGS, '2'],
      [READINGS, '3'],
    ]);
  });

  it('refuses more than its outbox holds, whatever the QoS', async () => {
    const device = await open(`mqtts://localhost:${await freePort()}`, { outbox: { messages: 2, bytes: 10 } });
    const kept = [device.publish('readings', 'abc'), device.publish('readings', 'abc', { qos: 0 })].map(codeOf);
    expect(await codeOf(device.publish('readings', 'a', { qos: 0 }))).toBe('outbox_full');
    await device.close();
    expect(await Promise.all(kept)).toEqual(['closed', 'closed']);
  });
});

describe('a device whose connection breaks', () => {
  it('comes back, and what was not acknowledged is sent again with its old identifier and the DUP flag', async () => {
    let swallow = true;
    const broker = await startBroker({ accepts: () => !swallow });
    const device = await open(broker.mqttUrl);
    await device.connected();
    const lost = untilState(device, 'recovering');
    const sent = device.publish('readings', { value: 1 });
    expect(await lost).toMatchObject({ code: 'connection_lost' });
    swallow = false;
    await sent;
    const id = broker.refused[0]?.packetId as number;
    expect(broker.refused.map(({ packetId, dup }) => [packetId, dup])).toEqual(
      broker.refused.map((_, index) => [id, index > 0]),
    );
    expect(broker.messages.map(({ packetId, dup }) => [packetId, dup])).toEqual([[id, true]]);
    await device.publish('readings', { value: 2 });
    expect(broker.messages.at(-1)).toMatchObject({ dup: false });
    expect(broker.messages.at(-1)?.packetId).not.toBe(id);
  });

  it('gives up a message for which the broker drops it every time, and goes on with the next', async () => {
    const broker = await startBroker({ accepts: ({ payload }) => payload !== 'poison' });
    const device = await open(broker.mqttUrl, { outbox: { sends: 3 } });
    const [poisoned, good] = [codeOf(device.publish('readings', 'poison')), codeOf(device.publish('readings', 'good'))];
    expect(await Promise.all([poisoned, good])).toEqual(['not_acknowledged', 'kept']);
    expect(broker.refused).toHaveLength(3);
  });

  it('subscribes again to its commands', async () => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl, { clean: true, commands: { ping: () => 'pong' } });
    await once(broker.events, 'subscribed');
    const again = once(broker.events, 'subscribed');
    broker.cut(DEVICE);
    await again;
    await broker.publish(`devices/${DEVICE}/commands/ping/r-1`, '');
    expect(await nextMessage(broker, ({ topic }) => topic.endsWith('/responses/r-1'))).toMatchObject({
      payload: 'pong',
    });
    expect(device.state).toBe('connected');
  });
});

describe('a device with several brokers', () => {
  it('tries them in turn, and stays with the one that works', async () => {
    const [away, busy, good] = [await freePort(), await startBroker({ connack: () => 3 }), await startBroker()];
    const device = await open([`mqtts://localhost:${away}`, busy.mqttUrl, good.mqttUrl], { outbox: { sends: 3 } });
    await device.publish('readings', 1);
    const again = once(good.events, 'connected');
    good.cut(DEVICE);
    await again;
    await device.publish('readings', 2);
    expect(good.messages.map(({ payload }) => payload)).toEqual(['1', '2']);
    expect(busy.serials).toHaveLength(1);
  });

  it('looks the name up again at each try: a broker that moved is found', async () => {
    const named = { ...authority, server: authority.serverFor('DNS:broker.example') };
    const broker = await startScriptedBroker(named);
    cleanups.push(() => broker.close());
    const store = await enrolledStore();
    const addresses = ['127.0.0.2', '127.0.0.3', '127.0.0.1'];
    const asked: string[] = [];
    const lookup = vi.spyOn(dns, 'lookup').mockImplementation(((
      name: string,
      options: { all?: boolean },
      done: never,
    ) => {
      const address = addresses[Math.min(asked.length, addresses.length - 1)] as string;
      asked.push(name);
      const answer = done as unknown as (error: null, address: unknown, family?: number) => void;
      if (options.all === true) answer(null, [{ address, family: 4 }]);
      else answer(null, address, 4);
    }) as never);
    cleanups.push(() => lookup.mockRestore());
    const device = await open(broker.mqttUrl.replace('localhost', 'broker.example'), {}, store);
    await device.connected();
    expect(asked).toEqual(['broker.example', 'broker.example', 'broker.example']);
  });
});

describe('a device that is refused', () => {
  it('by CONNACK says so, and does not knock again at once', async () => {
    const broker = await startBroker({ connack: () => 5 });
    const device = await open(broker.mqttUrl);
    expect(await codeOf(device.connected())).toBe('connection_refused');
    expect(device.state).toBe('recovering');
    expect(device.lastError?.message).toContain('CONNACK 5');
    expect(broker.serials).toHaveLength(1);
  });

  it('by a TLS alert, for a certificate of another fleet', async () => {
    const mqttUrl = await startOpensslServer();
    const store = await enrolledStore(stranger);
    const identity = await store.load();
    // It trusts the server's root, and yet its own certificate comes from elsewhere.
    await store.commit({ ...(identity as StoredIdentity), rootPem: authority.rootPem });
    const device = await open(mqttUrl, {}, store);
    expect(await codeOf(device.connected())).toBe('connection_refused');
    expect(device.lastError?.message).toContain('ALERT');
  });

  it('without a word, waits longer each time', async () => {
    const broker = await startBroker({ admits: () => false });
    const waits: number[] = [];
    const log = { ...SILENT_LOG, warn: ({ wait }: { readonly wait?: number }) => waits.push(wait as number) };
    await open(broker.mqttUrl, { random: () => 0.01, log: log as DeviceLog });
    while (waits.length < 4) await once(broker.events, 'rejected');
    expect(waits.slice(0, 4)).toEqual([10, 20, 40, 80]);
  });

  it('while the broker is only busy, tries again soon', async () => {
    let answers = 0;
    const broker = await startBroker({ connack: () => (++answers > 2 ? 0 : 3) });
    const device = await open(broker.mqttUrl);
    await device.connected();
    expect(answers).toBe(3);
  });
});

describe('a broker that is not trusted', () => {
  it('gets nothing, because its certificate leads to another root', async () => {
    const broker = await startScriptedBroker(stranger);
    cleanups.push(() => broker.close());
    const device = await open(broker.mqttUrl);
    const sent = codeOf(device.publish('readings', 'secret'));
    expect(await codeOf(device.connected())).toBe('server_untrusted');
    expect(broker.messages).toEqual([]);
    await device.close();
    expect(await sent).toBe('closed');
  });

  it('gets nothing, because its certificate is for another host', async () => {
    const broker = await startScriptedBroker({ ...authority, server: authority.serverFor('DNS:elsewhere.example') });
    cleanups.push(() => broker.close());
    const device = await open(broker.mqttUrl);
    expect(await codeOf(device.connected())).toBe('server_untrusted');
    expect(device.lastError?.message).toContain('ALTNAME');
    expect(broker.messages).toEqual([]);
  });
});

describe('closing', () => {
  it('can be done twice, at any time, and ends everything', async () => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl);
    await device.connected();
    const gone = once(broker.events, 'gone');
    await Promise.all([device.close(), device.close()]);
    await device.close();
    await gone;
    expect(device.state).toBe('closed');
    expect(await codeOf(device.publish('readings', 1))).toBe('closed');
    expect(await codeOf(device.renew())).toBe('closed');
    expect(await codeOf(device.connected())).toBe('closed');
  });

  it('says goodbye, so that the broker sees no failure', async () => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl);
    await device.connected();
    await device.close();
    expect(broker.farewells).toEqual([DEVICE]);
  });

  it('while connecting leaves no connection behind', async () => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl);
    await device.close();
    expect(broker.clients.size).toBe(0);
  });
});

describe('a flood of messages', () => {
  it('is sent a window at a time, and every message arrives once and in order', async () => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl, { outbox: { inFlight: 8 } });
    const readings = Array.from({ length: 200 }, (_, reading) => reading);
    await Promise.all(readings.map((reading) => device.publish('readings', reading)));
    expect(broker.messages.map(({ payload }) => Number(payload))).toEqual(readings);
    expect(new Set(broker.messages.map(({ packetId }) => packetId)).size).toBe(200);
  });

  it('of QoS 0 goes out without answers', async () => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl);
    await Promise.all(Array.from({ length: 100 }, (_, n) => device.publish('readings', n, { qos: 0 })));
    await device.publish('readings', 'last');
    expect(broker.messages).toHaveLength(101);
  });
});

describe('a payload', () => {
  it.each<[Payload, string]>([
    ['text ✓', 'text ✓'],
    [new Uint8Array([104, 105]), 'hi'],
    [Buffer.from('bytes'), 'bytes'],
    [{ value: 1 }, '{"value":1}'],
    [[1, 2], '[1,2]'],
    [false, 'false'],
    [null, 'null'],
  ])('%j is sent as %j', async (payload, expected) => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl);
    await device.publish('readings', payload);
    expect(broker.messages[0]?.payload).toBe(expected);
  });

  it('may be written over once it was published', async () => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl);
    const bytes = Buffer.from('before');
    const sent = device.publish('readings', bytes);
    bytes.fill('x');
    await sent;
    expect(broker.messages[0]?.payload).toBe('before');
  });

  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  it.each<[string, string, unknown, string]>([
    ['a cycle', 'readings', cycle, 'request_invalid'],
    ['a function', 'readings', () => 1, 'request_invalid'],
    ['a BigInt', 'readings', 1n, 'request_invalid'],
    ['more than the broker takes', 'readings', 'x'.repeat(255 * 1024 + 1), 'body_too_large'],
    ['a stream with a slash', 'a/b', 1, 'request_invalid'],
    ['a stream with a wildcard', '+', 1, 'request_invalid'],
    ['a stream without a name', '', 1, 'request_invalid'],
  ])('%s is refused', async (_what, stream, payload, code) => {
    const device = await open(`mqtts://localhost:${await freePort()}`);
    await expect(device.publish(stream, payload as Payload)).rejects.toBeInstanceOf(DeviceError);
    expect(await codeOf(device.publish(stream, payload as Payload))).toBe(code);
  });
});

describe('commands', () => {
  it('that came before their handler wait for it', async () => {
    const broker = await startBroker();
    const device = await open(broker.mqttUrl, { commands: { other: () => 'other' } });
    await once(broker.events, 'subscribed');
    await broker.publish(`devices/${DEVICE}/commands/late/r-1`, '');
    await broker.publish(`devices/${DEVICE}/commands/other/r-2`, '');
    await nextMessage(broker, ({ topic }) => topic.endsWith('/r-2'));
    device.onCommand('late', () => 'answered');
    expect(await nextMessage(broker, ({ topic }) => topic.endsWith('/r-1'))).toMatchObject({ payload: 'answered' });
  });

  it('run once, also when they are delivered twice', async () => {
    const broker = await startBroker();
    let runs = 0;
    await open(broker.mqttUrl, { commands: { '*': () => ++runs } });
    await once(broker.events, 'subscribed');
    for (const requestId of ['r-1', 'r-1', 'r-2']) {
      await broker.publish(`devices/${DEVICE}/commands/count/${requestId}`, '');
    }
    expect(await nextMessage(broker, ({ topic }) => topic.endsWith('/r-2'))).toMatchObject({ payload: '2' });
  });

  it('answer with what their handler threw', async () => {
    const broker = await startBroker();
    const failing = () => Promise.reject(new Error('the valve is stuck'));
    await open(broker.mqttUrl, { commands: { open: failing, nothing: () => undefined } });
    await once(broker.events, 'subscribed');
    await broker.publish(`devices/${DEVICE}/commands/open/r-1`, '');
    const answer = await nextMessage(broker, ({ topic }) => topic.endsWith('/r-1'));
    expect(JSON.parse(answer.payload)).toEqual({ error: 'the valve is stuck' });
    await broker.publish(`devices/${DEVICE}/commands/nothing/r-2`, '');
    expect(await nextMessage(broker, ({ topic }) => topic.endsWith('/r-2'))).toMatchObject({ payload: 'null' });
  });
});

/** TLS as OpenSSL itself serves it: a certificate that it doesn't accept is answered with an alert. */
async function startOpensslServer(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-s-server-'));
  for (const [name, text] of Object.entries({
    'key.pem': authority.server.keyPem,
    'cert.pem': authority.server.certificatePem,
    'ca.pem': authority.rootPem,
  })) {
    writeFileSync(join(directory, name), text);
  }
  const args = ['-key', 'key.pem', '-cert', 'cert.pem', '-cert_chain', 'cert.pem', '-CAfile', 'ca.pem'];
  const server = startProcess(
    'openssl',
    ['s_server', '-accept', '127.0.0.1:0', ...args, '-Verify', '2', '-verify_return_error'],
    { cwd: directory },
  );
  server.stderr.resume();
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  for await (const line of createInterface({ input: server.stdout })) {
    const port = /^ACCEPT .*:(\d+)$/.exec(line)?.[1];
    if (port !== undefined) return `mqtts://localhost:${port}`;
  }
  throw new Error('openssl s_server did not start');
}
