import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect } from 'vitest';
import { PKCS11_ENGINES, SOFTHSM_MODULE } from '../test/fixtures/client-programs.ts';
import { describeWithClients, testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { startScriptedBroker } from '../test/fixtures/scripted-broker.ts';
import { startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { outputOf } from '../test/fixtures/started-processes.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { buildSingleFile } from './build.ts';
import { Device } from './device.ts';
import type { KeyProvider } from './key-provider.ts';

const { describe, it } = testsWithClients('device-sdk/key-provider.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start() {
  const broker = await startScriptedBroker(authority);
  const est = await startScriptedEstServer(authority, { mqttUrl: () => broker.mqttUrl });
  cleanups.push(
    () => broker.close(),
    () => est.close(),
  );
  return { broker, est };
}

function drawers(): KeyProvider & { readonly names: readonly string[] } {
  const keys = new Map<string, string>();
  const pemOf = (name: string) => {
    const pem = keys.get(name);
    if (pem === undefined) throw new Error(`no key ${name}`);
    return pem;
  };
  return {
    get names() {
      return [...keys.keys()];
    },
    make: async () => {
      const name = `drawer-${keys.size + 1}`;
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
      keys.set(name, privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
      return name;
    },
    publicKey: async (name) => createPublicKey(pemOf(name)).export({ type: 'spki', format: 'der' }),
    sign: async (name, data) => sign('sha256', data, createPrivateKey(pemOf(name))),
    tls: (name) => ({ key: pemOf(name) }),
  };
}

describe('a device whose keys somebody else holds', () => {
  it('enrolls, connects, renews and starts again with nothing but their names', async () => {
    const { broker, est } = await start();
    const keys = drawers();
    const dataDir = temporaryDirectory();
    const device = await Device.open({ dataDir, token: est.token(), deviceId: 'dev-7', keys });
    await device.connected();
    await device.renew();
    await device.close();
    expect(readFileSync(join(dataDir, 'key.pem'), 'utf8')).toBe('drawer-2');
    const again = await Device.open({ dataDir, keys });
    cleanups.push(() => again.close());
    await (await again.publish('temperature', 1)).acknowledged;
    expect(broker.messages).toHaveLength(1);
    expect(new Set(broker.serials).size).toBe(2);
    expect(keys.names).toHaveLength(2);
  });

  it('does not open when the key is gone', async () => {
    const { est } = await start();
    const dataDir = temporaryDirectory();
    await (await Device.open({ dataDir, token: est.token(), keys: drawers() })).close();
    await expect(Device.open({ dataDir, keys: drawers() })).rejects.toMatchObject({ code: 'identity_unusable' });
  });
});

const ENGINE = PKCS11_ENGINES.find((path) => existsSync(path));

/** A device whose key for TLS is in a PKCS#11 token, in a process of its own: an engine is loaded once and for good. */
const SCRIPT = `
const { readFileSync } = require('node:fs');
const { createPrivateKey, createPublicKey, sign } = require('node:crypto');
const { Device } = require('./device-sdk.cjs');
const order = JSON.parse(readFileSync(0, 'utf8'));
const pem = readFileSync('imported.pem', 'utf8');
const keys = {
  make: async () => 'imported',
  publicKey: async () => createPublicKey(pem).export({ type: 'spki', format: 'der' }),
  sign: async (name, data) => sign('sha256', data, createPrivateKey(pem)),
  tls: (name) => ({
    privateKeyEngine: order.engine,
    privateKeyIdentifier: 'pkcs11:token=' + order.token + ';object=' + name + ';type=private?pin-value=1234',
  }),
};
(async () => {
  const device = await Device.open({ ...order.device, keys });
  try {
    await device.connected();
    await (await device.publish('temperature', 21)).acknowledged;
    console.log('acknowledged');
  } catch (error) {
    console.log(error.code);
  }
  await device.close();
})().catch((error) => console.log('threw', error.code));
`;

describeWithClients('a key in a PKCS#11 token', ['openssl-pkcs11', 'softhsm2-util'], () => {
  it('signs TLS handshakes and is never in the process', async () => {
    const { broker, est } = await start();
    const directory = temporaryDirectory();
    const env = {
      PATH: '/usr/bin:/bin',
      SOFTHSM2_CONF: join(directory, 'softhsm.conf'),
      PKCS11_MODULE_PATH: SOFTHSM_MODULE,
    };
    writeFileSync(env.SOFTHSM2_CONF, `directories.tokendir = ${directory}\n`);
    const run = (program: string, ...args: readonly string[]) =>
      execFileSync(program, args, { env, cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] }).toString();
    run('softhsm2-util', '--init-token', '--free', '--label', 'dev', '--pin', '1234', '--so-pin', '1234');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    writeFileSync(join(directory, 'imported.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
    run(
      'softhsm2-util',
      '--import',
      'imported.pem',
      '--token',
      'dev',
      '--label',
      'imported',
      '--id',
      '01',
      '--pin',
      '1234',
    );
    await buildSingleFile(join(directory, 'device-sdk.cjs'));
    writeFileSync(join(directory, 'device.cjs'), SCRIPT);
    const device = { dataDir: join(directory, 'identity'), token: est.token(), renewal: 'manual' };
    const runDevice = async (token: string) => {
      const input = JSON.stringify({ engine: ENGINE, token, device });
      return (await outputOf(process.execPath, ['device.cjs'], { env, cwd: directory, input })).trim();
    };
    expect(await runDevice('dev')).toBe('acknowledged');
    expect(readFileSync(join(device.dataDir, 'key.pem'), 'utf8')).toBe('imported');
    expect(broker.messages).toHaveLength(1);
    expect(await runDevice('another')).not.toBe('acknowledged');
  });
});
