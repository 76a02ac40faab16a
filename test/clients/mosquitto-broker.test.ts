/**
 * A Mosquitto broker as third party: it has the CA certificates and the CRL of the fleet, as
 * files, and verifies devices with them.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CRL_PATH, type DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { type CredentialFiles, writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients, type LiveClient, runClient, startClient, succeed } from '../fixtures/real-client.ts';
import { makeScriptedAuthority } from '../fixtures/scripted-authority.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const NEEDS = ['curl', 'mosquitto', 'mosquitto_pub', 'openssl'] as const;

describeWithClients('a Mosquitto broker that trusts the fleet’s CA', NEEDS, () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  /** With `ca.pem`, `issuing.pem` and `list.pem`, fetched as any third party would. */
  async function brokerDirectory(): Promise<string> {
    const directory = temporaryDirectory();
    const get = async (path: string, file: string) => {
      const args = ['--silent', '--fail', '--cacert', fleet.trustBundle, '--output', file];
      await succeed('curl', [...args, `${fleet.enrollUrl}${path}`], { directory });
    };
    await get('/.well-known/est/cacerts', 'answer');
    await succeed('openssl', ['base64', '-d', '-A', '-in', 'answer', '-out', 'answer.p7'], { directory });
    const print = ['pkcs7', '-inform', 'DER', '-in', 'answer.p7', '-print_certs', '-out', 'ca.pem'];
    await succeed('openssl', print, { directory });
    await get(CRL_PATH, 'list.crl');
    await succeed('openssl', ['crl', '-inform', 'DER', '-in', 'list.crl', '-out', 'list.pem'], { directory });
    return directory;
  }

  /** Its server certificate is of another CA, because the fleet signs only its own servers. */
  async function startBroker(directory: string): Promise<{ readonly port: string; readonly root: string }> {
    const authority = makeScriptedAuthority();
    onTestFinished(() => authority.dispose());
    writeFileSync(join(directory, 'server.key'), authority.server.keyPem, { mode: 0o600 });
    writeFileSync(join(directory, 'server.pem'), authority.server.certificatePem);
    const root = join(directory, 'server-root.pem');
    writeFileSync(root, authority.rootPem);
    for (let attempt = 1; ; attempt += 1) {
      const port = await freePort();
      const settings = [
        `listener ${port} 127.0.0.1`,
        'cafile ca.pem',
        'crlfile list.pem',
        'certfile server.pem',
        'keyfile server.key',
        'require_certificate true',
        'use_identity_as_username true',
        ...(process.getuid?.() === 0 ? ['user root'] : []), // otherwise Mosquitto drops its privileges and cannot read these files
      ];
      writeFileSync(join(directory, 'mosquitto.conf'), `${settings.join('\n')}\n`);
      const broker: LiveClient = startClient('mosquitto', ['-c', 'mosquitto.conf'], { directory });
      try {
        await broker.line(/mosquitto version .* running/);
        return { port: String(port), root };
      } catch (error) {
        // Another process took the port; Mosquitto cannot choose a free one by itself.
        if (attempt === 3 || !String(error).includes('Address already in use')) throw error;
      }
    }
  }

  async function publish(broker: { port: string; root: string }, files: CredentialFiles | undefined) {
    const directory = temporaryDirectory();
    const own = files === undefined ? [] : ['--cert', files.certificate, '--key', files.key];
    const args = [
      '-h',
      'localhost',
      '-p',
      broker.port,
      '--cafile',
      broker.root,
      ...own,
      '-q',
      '1',
      '-t',
      't',
      '-m',
      'x',
    ];
    return (await runClient('mosquitto_pub', args, { directory })).status;
  }

  it('accepts a device, and refuses one that the CRL contains or that has no certificate', async () => {
    const kept = writeCredentials(temporaryDirectory(), await fleet.enroll('third-kept'));
    const lost = writeCredentials(temporaryDirectory(), await fleet.enroll('third-lost'));
    const before = await startBroker(await brokerDirectory());
    expect(await publish(before, kept)).toBe(0);
    expect(await publish(before, lost)).toBe(0);

    await fleet.operator.revokeDevices({ ids: ['third-lost' as DeviceId], reason: 'keyCompromise' });
    const after = await startBroker(await brokerDirectory());
    expect(await publish(after, kept)).toBe(0);
    expect(await publish(after, lost)).not.toBe(0);
    expect(await publish(after, undefined)).not.toBe(0);
  });
});
