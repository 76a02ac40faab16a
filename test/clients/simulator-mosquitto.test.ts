/** The simulator against Mosquitto: the same scenario, with devices enrolled before and without an operator API; docs/load-test.md with our own CA. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { loadIdentities, loadResult, saveIdentities } from '../../cli/simulation-files.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients, startClient, succeed } from '../fixtures/real-client.ts';

const SCENARIO = `name: foreign
duration: 4s
devices:
  sensors: { count: 6, arrive: { curve: constant, over: 1s }, publish: [{ stream: temperature, every: 300ms }] }
timeline:
  - { at: 2s, power: 1, for: 500ms }
expect: [devices.connected == 100%, lost.service == 0, messages.acknowledged > 30, acts.wronglyRefused == 0]
`;

const ACL = `user watcher
topic read #
user reader
topic read #
pattern deny devices/%u/telemetry/denied
pattern readwrite devices/%u/#
`;

/** The ACL denies the stream "denied", which Mosquitto tells devices of MQTT 5 only. */
const MIXED = `name: mixed
duration: 8s
devices:
  both:
    count: 4
    mqtt: { 5: 50%, 3.1.1: 50% }
    arrive: { curve: constant, over: 0s }
    sessionExpiry: 1h
    will: { stream: status, payload: gone, delay: 1s, userProperties: { cause: power } }
    publish: [{ stream: temperature, every: 300ms, userProperties: { site: hall 3, line: "7" } }]
  patient:
    count: 1
    mqtt: 5
    arrive: { curve: constant, over: 0s }
    sessionExpiry: 1h
    will: { stream: status, delay: 30s }
  unauthorized:
    count: 1
    mqtt: 5
    arrive: { curve: constant, over: 0s }
    publish: [{ stream: denied, every: 300ms }]
timeline:
  - { at: 2s, power: 100%, of: both, for: 3s }
  - { at: 2s, power: 100%, of: patient, for: 1s }
expect:
  - devices.connected == 100%
  - connects.mqtt5 >= 7
  - connects.mqtt311 == 4
  - lost.service == 0
  - wills.received == 4
  - messages.rejected > 3
  - reasons.puback_not_authorized > 3
  - acts.wronglyRefused == 0
`;

/** A broker with devices that are enrolled, in a directory of this test. */
async function startBroker() {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-foreign-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const openssl = async (...args: string[]) => (await succeed('openssl', args, { directory })).stdout;
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const authority = ['-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=another CA'];
  await openssl('req', '-x509', ...key, ...authority);
  const certify = async (name: string) => {
    await openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
    await openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-out', `${name}.pem`);
    const read = (file: string) => readFileSync(join(directory, file), 'utf8');
    return { keyPem: read(`${name}.key`), certificatePem: read(`${name}.pem`), rootPem: read('ca.pem') };
  };
  const { rootPem } = await certify('localhost');
  const port = await freePort();
  writeFileSync(join(directory, 'acl'), ACL);
  const settings = [
    `listener ${port} 127.0.0.1`,
    ...[`cafile ${directory}/ca.pem`, `certfile ${directory}/localhost.pem`, `keyfile ${directory}/localhost.key`],
    ...['require_certificate true', 'use_identity_as_username true', 'allow_anonymous true', 'user root'],
    `acl_file ${directory}/acl`,
  ];
  writeFileSync(join(directory, 'mosquitto.conf'), `${settings.join('\n')}\n`);
  const broker = startClient('mosquitto', ['-v', '-c', join(directory, 'mosquitto.conf')], {
    directory,
  });
  await broker.line(/running/);
  const devices = new Map<string, Awaited<ReturnType<typeof certify>>>();
  for (const name of ['dev-1', 'dev-2', 'dev-3', 'dev-4', 'dev-5', 'dev-6']) devices.set(name, await certify(name));
  saveIdentities(join(directory, 'fleet'), devices, rootPem);
  saveIdentities(join(directory, 'services'), new Map([['watcher', await certify('watcher')]]), rootPem);
  await certify('reader');
  expect(loadIdentities(join(directory, 'fleet')).identities.size).toBe(6);
  const simulate = async (scenario: string) => {
    writeFileSync(join(directory, 'scenario.yaml'), scenario);
    const result = join(directory, 'result.json');
    const ended = await rollcall([
      ...['simulate', '--scenario', join(directory, 'scenario.yaml'), '--target', `mqtts://localhost:${port}`],
      ...['--identities', join(directory, 'fleet'), '--service', join(directory, 'services', 'watcher')],
      ...['--workers', '1', '--result', result],
    ]);
    return { ended, result: () => loadResult(result) };
  };
  return { directory, port, simulate };
}

describeWithClients(
  'Mosquitto, with certificates of another authority',
  ['mosquitto', 'mosquitto_sub', 'openssl'],
  () => {
    it.each(['3.1.1', '5'])(
      'passes the same scenario without lost messages, with MQTT %s',
      async (version) => {
        const { simulate } = await startBroker();
        const { ended, result } = await simulate(SCENARIO.replace('count: 6,', `count: 6, mqtt: ${version},`));
        expect(ended.stdout).toContain('foreign: passed');
        expect(ended.code).toBe(0);
        expect(result().values['lost.journal']).toBeUndefined(); // a broker without a journal has no such value
      },
      180_000,
    );

    it('is loaded with both versions at once: user properties, delayed wills and reason codes are those of MQTT 5', async () => {
      const { directory, port, simulate } = await startBroker();
      const files = ['--cafile', 'ca.pem', '--cert', 'reader.pem', '--key', 'reader.key'];
      const properties = ['-V', '5', '-t', 'devices/+/telemetry/temperature', '-F', '%P'];
      const reader = startClient('mosquitto_sub', ['-h', 'localhost', '-p', String(port), ...files, ...properties], {
        directory,
      });
      const { ended, result } = await simulate(MIXED);
      expect(ended.stdout).toContain('mixed: passed');
      expect(ended.code).toBe(0);
      const { reasons, values } = result();
      expect(values['messages.rejected']).toBe(reasons.puback_not_authorized);
      expect(ended.stdout).toMatch(/reason codes: .*puback_not_authorized \d+/);
      await reader.line(/site:hall 3/);
      await reader.line(/line:7/);
    });
  },
);

const PAGE = readFileSync(new URL('../../docs/load-test.md', import.meta.url), 'utf8');
const documented = (language: string) => new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(PAGE)?.[1] ?? '';
const PAGE_SCENARIO = `name: page
duration: 3s
devices:
  sensors: { count: 4, arrive: { curve: constant, over: 0s }, publish: [{ stream: temperature, every: 300ms }] }
expect: [devices.connected == 100%, lost.service == 0, messages.acknowledged > 10]
`;

describeWithClients(
  'Mosquitto with the root of our CA alone, as docs/load-test.md configures it',
  ['mosquitto', 'openssl'],
  () => {
    it('accepts every device that "simulate devices" enrolled and a service, and a broker of an unknown CA or another name is refused before the run', async () => {
      const directory = mkdtempSync(join(tmpdir(), 'rollcall-load-test-'));
      onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
      const fleet = await startFleet();
      onTestFinished(() => fleet.stop());
      const at = (name: string) => join(directory, name);
      const own = ['--socket', fleet.socket];
      await rollcall(['simulate', 'devices', '--keep', at('fleet'), '--count', '4', ...own]);
      await rollcall(['service', 'issue', 'watcher', '--out', at('watcher'), ...own]);
      expect(readFileSync(fleet.trustBundle, 'utf8').match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
      for (const [id, { issuersPem }] of loadIdentities(at('fleet')).identities) {
        expect(issuersPem, id).toContain('BEGIN CERTIFICATE');
        expect(readFileSync(join(at('fleet'), id, 'ca.pem'), 'utf8')).toBe(readFileSync(fleet.trustBundle, 'utf8'));
      }

      const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'server.key'];
      const names = ['-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
      await succeed('openssl', ['req', '-x509', ...key, '-out', 'server.pem', ...names], { directory });
      const port = await freePort();
      const settings = documented('conf')
        .replace('listener 8883', `listener ${port} 127.0.0.1`)
        .replace('/etc/mosquitto/fleet/trust-bundle.pem', fleet.trustBundle)
        .replaceAll('/etc/mosquitto/fleet', directory);
      writeFileSync(at('acl'), documented('acl'));
      writeFileSync(at('mosquitto.conf'), `${settings}user root\n`);
      const broker = startClient('mosquitto', ['-v', '-c', at('mosquitto.conf')], { directory });
      await broker.line(/running/);

      writeFileSync(at('my.yaml'), PAGE_SCENARIO);
      const target = ['--target', `mqtts://localhost:${port}`, '--identities', at('fleet'), '--service', at('watcher')];
      const run = (...more: string[]) =>
        rollcall(['simulate', '--scenario', at('my.yaml'), ...target, '--workers', '1', ...more]);
      const refused = await run();
      expect(refused.stderr).toMatch(/found DEPTH_ZERO_SELF_SIGNED_CERT: --target-ca FILE names the CA of the broker/);
      expect(refused.code).toBe(2);
      const misnamed = await run('--target-ca', at('server.pem'), '--target-name', 'broker.example.com');
      expect(misnamed.stderr).toMatch(/certificate for broker\.example\.com, found one for DNS:localhost/);
      const passed = await run('--target-ca', at('server.pem'));
      expect(passed.stdout).toContain('page: passed');
      const topics = ['--topic', 'devices/{id}/up/{stream}', '--service-client-id', 'watcher'];
      const renamed = await run('--target-ca', at('server.pem'), ...topics);
      expect(renamed.stdout).toContain('page: passed');
      await broker.line(/Received PUBLISH from \S+ \(.*'devices\/[^/]+\/up\/temperature'/);
    });
  },
);
