/** The simulator against Mosquitto: the same scenario, with devices enrolled before and without an operator API. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadIdentities, loadResult, saveIdentities } from '../../cli/simulation-files.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients, startClient, succeed } from '../fixtures/real-client.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'rollcall-foreign-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { readonly port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const SCENARIO = `name: foreign
duration: 4s
devices:
  sensors: { count: 6, arrive: { curve: constant, over: 1s }, publish: [{ stream: temperature, every: 300ms }] }
timeline:
  - { at: 2s, power: 1, for: 500ms }
expect: [devices.connected == 100%, lost.service == 0, messages.acknowledged > 30, acts.wronglyRefused == 0]
`;

describeWithClients('Mosquitto, with certificates of another authority', ['mosquitto', 'openssl'], () => {
  it('passes the same scenario without lost messages', async () => {
    const openssl = async (...args: string[]) => (await succeed('openssl', args, { directory })).stdout;
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    await openssl(
      'req',
      '-x509',
      ...key,
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
      '-days',
      '2',
      '-subj',
      '/CN=another CA',
    );
    const certify = async (name: string) => {
      await openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
      const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
      await openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-out', `${name}.pem`);
      const read = (file: string) => readFileSync(join(directory, file), 'utf8');
      return { keyPem: read(`${name}.key`), certificatePem: read(`${name}.pem`), rootPem: read('ca.pem') };
    };
    const server = await certify('localhost');
    const port = await freePort();
    writeFileSync(
      join(directory, 'mosquitto.conf'),
      `listener ${port} 127.0.0.1\ncafile ${directory}/ca.pem\ncertfile ${directory}/localhost.pem\nkeyfile ${directory}/localhost.key\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous true\nuser root\n`,
    );
    const broker = startClient('mosquitto', ['-v', '-c', join(directory, 'mosquitto.conf')], {
      directory,
      patienceMs: 60_000,
    });
    await broker.line(/running/);
    const devices = new Map<string, Awaited<ReturnType<typeof certify>>>();
    for (const name of ['dev-1', 'dev-2', 'dev-3', 'dev-4', 'dev-5', 'dev-6']) devices.set(name, await certify(name));
    saveIdentities(join(directory, 'fleet'), devices, server.rootPem);
    saveIdentities(join(directory, 'services'), new Map([['watcher', await certify('watcher')]]), server.rootPem);
    expect(loadIdentities(join(directory, 'fleet')).identities.size).toBe(6);

    writeFileSync(join(directory, 'foreign.yaml'), SCENARIO);
    const ended = await rollcall([
      ...['simulate', '--scenario', join(directory, 'foreign.yaml'), '--target', `mqtts://localhost:${port}`],
      ...['--identities', join(directory, 'fleet'), '--service', join(directory, 'services', 'watcher')],
      ...['--workers', '1', '--result', join(directory, 'result.json')],
    ]);
    expect(ended.stdout).toContain('foreign: passed');
    expect(ended.code).toBe(0);
    const { values } = loadResult(join(directory, 'result.json'));
    expect(values['lost.journal']).toBeUndefined(); // a broker without a journal has no such value
  }, 60_000);
});
