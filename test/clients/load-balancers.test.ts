/** HAProxy and NGINX in front of bin/rollcall, with the configurations of docs/load-balancers.md: identity and address stay those of the client. */

import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { freePort } from '../../cli/free-port.ts';
import { documentedConfig, withReplaced } from '../fixtures/documented-config.ts';
import { type Ports, runHaproxy, startHaproxy, startNginx } from '../fixtures/load-balancer.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients, runClient, startClient, succeed } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const PAGE = new URL('../../docs/load-balancers.md', import.meta.url);

/** The load balancers connect from 127.0.0.1, and clients from other addresses of the loopback network. */
const SETTINGS = withReplaced(documentedConfig(PAGE, 'Settings of Rollcall', 'yaml'), {
  '10.0.0.5, 10.0.0.6': '127.0.0.1',
  '0.0.0.0': '127.0.0.1',
  'publicHosts: [fleet.example.com]\n': '',
});

describeWithClients(
  'a load balancer',
  ['curl', 'haproxy', 'mosquitto_pub', 'mosquitto_sub', 'nginx-stream', 'openssl'],
  () => {
    const home = mkdtempSync(join(tmpdir(), 'rollcall-balanced-'));
    const data = join(home, 'data');
    let server: RunningServer;
    let behind: Ports;
    beforeAll(async () => {
      const config = join(home, 'rollcall.yaml');
      const settings = parse(SETTINGS) as { mqtt: object };
      const limited = { ...settings, mqtt: { ...settings.mqtt, limits: { handshakesPerAddress: 2 } } };
      writeFileSync(config, JSON.stringify(limited)); // JSON is YAML.
      server = await serve(data, ['--config', config]);
      behind = { mqtt: portOf(server.ready.mqttUrl), enroll: portOf(server.ready.enrollUrl) };
    });
    afterAll(async () => {
      await server.end('SIGTERM');
      rmSync(home, { recursive: true });
    });

    const operator = async (...args: readonly string[]) => (await rollcall([...args, '--data', data])).stdout;

    const metrics = async () => {
      const args = ['--silent', '--fail', '--unix-socket', server.ready.socket, 'http://localhost/metrics'];
      return (await succeed('curl', args, { directory: home })).stdout;
    };

    /** A directory with key.pem and cert.pem of a device that enrolled from this address. */
    async function enroll(id: string, address: string, port: number): Promise<string> {
      const directory = temporaryDirectory();
      const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'key.pem'];
      await succeed('openssl', ['req', '-new', ...key, '-subj', `/CN=${id}`, '-outform', 'DER', '-out', 'der'], {
        directory,
      });
      await succeed('openssl', ['base64', '-in', 'der', '-out', 'csr'], { directory });
      const url = `https://localhost:${port}/.well-known/est/simpleenroll`;
      const post = ['--header', 'content-type: application/pkcs10', '--data-binary', '@csr', '--output', 'answer', url];
      const to = ['--silent', '--show-error', '--fail', '--interface', address, '--cacert', server.ready.trustBundle];
      const input = `user = "${id}:${(await operator('token', 'create')).trim()}"`;
      await succeed('curl', ['--config', '-', ...to, ...post], { directory, input });
      await succeed('openssl', ['base64', '-d', '-A', '-in', 'answer', '-out', 'p7'], { directory });
      await succeed('openssl', ['pkcs7', '-inform', 'DER', '-in', 'p7', '-print_certs', '-out', 'cert.pem'], {
        directory,
      });
      return directory;
    }

    const client = (id: string, address: string, port: number) => {
      const trust = ['--cafile', server.ready.trustBundle, '--cert', 'cert.pem', '--key', 'key.pem'];
      return ['-A', address, '-h', 'localhost', '-p', String(port), ...trust, '-i', id];
    };
    const publish = (id: string, address: string, port: number, directory: string) =>
      runClient(
        'mosquitto_pub',
        [...client(id, address, port), '-q', '1', '-t', `devices/${id}/telemetry/t`, '-m', '1'],
        {
          directory,
        },
      );

    /** A connection to the port that begins with these bytes. */
    function raw(port: number, localAddress: string, bytes: string) {
      const socket = connect({ port, host: '127.0.0.1', localAddress }).on('error', () => {});
      socket.resume().write(bytes);
      onTestFinished(() => {
        socket.destroy();
      });
      return socket;
    }

    it.each<[string, string, (server: Ports) => Promise<Ports>]>([
      ['HAProxy with version 1', 'lb-1', (to) => startHaproxy(to, 'send-proxy')],
      ['HAProxy with version 2', 'lb-2', (to) => startHaproxy(to)],
      [
        'HAProxy with version 2, names and a checksum',
        'lb-3',
        (to) => startHaproxy(to, 'send-proxy-v2-ssl-cn proxy-v2-options crc32c'),
      ],
      ['NGINX', 'lb-4', startNginx],
    ])('%s leaves identity and address of a device', async (_name, id, start) => {
      const address = `127.0.1.${id.slice(-1)}`;
      const ports = await start(behind);
      const directory = await enroll(id, address, ports.enroll);
      const session = startClient(
        'mosquitto_sub',
        [...client(id, address, ports.mqtt), '-t', `devices/${id}/commands/+/+`, '-d'],
        {
          directory,
        },
      );
      await session.line(/^Subscribed \(mid/);
      const shown = await operator('device', 'show', id, '--json');
      expect(JSON.parse(shown)).toMatchObject({ id });
      expect(shown.match(/127\.0\.\d+\.\d+/g)).toContain(address);
      expect(shown).not.toContain('127.0.0.1"');
      session.kill();
      expect((await publish(id, address, ports.mqtt, directory)).status).toBe(0);
      const events = (await operator('events', 'list', '--device', id, '--json')).trim().split('\n');
      const addresses = events.flatMap((event) => event.match(/"(?:ip|address)":"([^"]+)"/)?.[1] ?? []);
      expect(new Set(addresses)).toEqual(new Set([address]));
      expect(addresses.length).toBeGreaterThanOrEqual(3);
    });

    it('limits each client by its own address, and names that address in the refusal', async () => {
      const ports = await startHaproxy(behind);
      const directory = await enroll('lb-5', '127.0.1.5', ports.enroll);
      const pending = [raw(ports.mqtt, '127.0.2.1', '\x16'), raw(ports.mqtt, '127.0.2.1', '\x16')];
      await Promise.all(pending.map((socket) => once(socket, 'connect')));
      await closed(raw(ports.mqtt, '127.0.2.1', '\x16'));
      await server.untilLogged('"reason":"too_many_handshakes","address":"127.0.2.1"');
      expect((await publish('lb-5', '127.0.1.5', ports.mqtt, directory)).status).toBe(0);
    });

    it('names the address of a client whose token the EST server refuses', async () => {
      const ports = await startHaproxy(behind);
      const headers = ['--header', 'content-type: application/pkcs10', '--data-binary', 'x', '--user', 'dev:wrong'];
      const to = ['--silent', '--interface', '127.0.2.2', '--cacert', server.ready.trustBundle];
      await succeed('curl', [...to, ...headers, `https://localhost:${ports.enroll}/.well-known/est/simpleenroll`], {
        directory: temporaryDirectory(),
      });
      await server.untilLogged('"address":"127.0.2.2"');
    });

    it('cannot state an identity: the name of a certificate that HAProxy verified is not that of the connection', async () => {
      const directory = await enroll('lb-6', '127.0.1.6', (await startHaproxy(behind)).enroll);
      const self = [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-subj',
        '/CN=localhost',
      ];
      const names = ['-addext', 'subjectAltName=DNS:localhost', '-keyout', 'own.key', '-out', 'own.crt'];
      await succeed('openssl', [...self, ...names], { directory });
      const [certificate, key] = ['own.crt', 'own.key'].map((file) => readFileSync(join(directory, file), 'utf8'));
      writeFileSync(join(directory, 'own.pem'), `${certificate}${key}`, { mode: 0o600 });
      writeFileSync(join(directory, 'root.pem'), readFileSync(server.ready.trustBundle));
      const port = await freePort();
      const lines = [
        'defaults',
        '  mode tcp',
        ...['connect', 'client', 'server'].map((kind) => `  timeout ${kind} 5s`),
        'listen mqtt',
        `  bind 127.0.0.1:${port} ssl crt own.pem ca-file root.pem verify optional crt-ignore-err all ca-ignore-err all`,
        `  server rollcall 127.0.0.1:${behind.mqtt} ssl verify none send-proxy-v2-ssl-cn`,
      ];
      await runHaproxy(`${lines.join('\n')}\n`, port, directory);
      const args = ['-A', '127.0.2.3', '-h', 'localhost', '-p', String(port), '-i', 'lb-6', '-t', 'x', '-m', 'x'];
      const own = ['--cafile', 'own.crt', '--cert', 'cert.pem', '--key', 'key.pem'];
      expect((await runClient('mosquitto_pub', [...args, ...own], { directory })).status).not.toBe(0);
      await server.untilLogged('"reason":"certificate_missing","address":"127.0.2.3"');
    });

    it('needs the header, and nobody else may send one', async () => {
      const header = 'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n';
      await closed(raw(behind.mqtt, '127.0.0.1', '\x16\x03\x01'));
      await server.untilLogged('"reason":"proxy_header_missing","address":"127.0.0.1"');
      await closed(raw(behind.mqtt, '127.0.2.4', header));
      await server.untilLogged('"address":"127.0.2.4"');
      await closed(raw(behind.enroll, '127.0.0.1', 'GET / HTTP/1.1\r\n'));
      await closed(raw(behind.enroll, '127.0.0.1', 'PROXY TCP4 a b 1 2\r\n'));
      await server.untilLogged('"reason":"proxy_header_invalid"');
      expect(server.log()).not.toContain('192.0.2.1');
      const counted = await metrics();
      expect(counted).toContain('rollcall_connections_refused_total{reason="proxy_header_missing"} 1');
      expect(counted).toContain('rollcall_enroll_connections_refused_total{reason="proxy_header_missing"} 1');
    });

    it('may check the health of Rollcall without a refusal', async () => {
      const ports = await startHaproxy(behind, 'send-proxy-v2 inter 20ms');
      const directory = await enroll('lb-7', '127.0.1.7', ports.enroll);
      expect((await publish('lb-7', '127.0.1.7', ports.mqtt, directory)).status).toBe(0);
      expect(server.log()).not.toMatch(/"reason":"handshake_failed"[^\n]*"address":"127\.0\.0\.1"/);
    });
  },
);

/** Also by a reset. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}
