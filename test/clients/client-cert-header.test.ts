/** HAProxy and NGINX that terminate TLS in front of bin/rollcall, with the configurations of docs/load-balancers.md: a device renews by Client-Cert. */

import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { documentedConfig, withReplaced } from '../fixtures/documented-config.ts';
import { runHaproxy, runNginx } from '../fixtures/load-balancer.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients, succeed } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const PAGE = new URL('../../docs/load-balancers.md', import.meta.url);
const HEADING = 'Enrollment behind a proxy that terminates TLS';

describeWithClients('a proxy that terminates TLS', ['curl', 'haproxy', 'nginx', 'openssl'], () => {
  const data = mkdtempSync(join(tmpdir(), 'rollcall-terminated-'));
  let server: RunningServer;
  beforeAll(async () => {
    const environment = {
      ROLLCALL_ENROLL_CLIENT_CERT_HEADER_FROM: '127.0.0.1',
      ROLLCALL_ENROLL_PROXY_PROTOCOL_FROM: '127.0.0.2',
    };
    server = await serve(data, [], { environment });
  });
  afterAll(async () => {
    await server.end('SIGTERM');
    rmSync(data, { recursive: true });
  });

  const operator = async (...args: readonly string[]) => (await rollcall([...args, '--data', data])).stdout;

  /** A directory with key.pem, cert.pem and ca.pem of a new device, and a certificate request in `csr`. */
  async function enroll(deviceId: string): Promise<string> {
    const directory = temporaryDirectory();
    const token = (await operator('token', 'create')).trim();
    writeCredentials(directory, await enrollOnce(memoryIdentityStore(), { token, deviceId }));
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'next.key'];
    const request = ['-subj', `/CN=${deviceId}`, '-outform', 'DER', '-out', 'der'];
    await succeed('openssl', ['req', '-new', ...key, ...request], { directory });
    await succeed('openssl', ['base64', '-in', 'der', '-out', 'csr'], { directory });
    return directory;
  }

  /** The status and the body of a renewal. */
  async function renew(directory: string, port: number, args: readonly string[]): Promise<string> {
    const url = `https://localhost:${port}/.well-known/est/simplereenroll`;
    const post = ['--header', 'content-type: application/pkcs10', '--data-binary', '@csr', url];
    const shown = ['--silent', '--show-error', '--write-out', ' %{http_code}', '--insecure'];
    return (await succeed('curl', [...shown, ...args, ...post], { directory })).stdout;
  }

  const OWN = ['--cert', 'cert.pem', '--key', 'key.pem'];
  const enrollPort = () => Number(new URL(server.ready.enrollUrl).port);

  function clientCert(directory: string): string {
    const { raw } = new X509Certificate(readFileSync(join(directory, 'cert.pem')));
    return `Client-Cert: :${raw.toString('base64')}:`;
  }

  /** A directory with the proxy's certificate, and the configuration of the page for this port. */
  async function proxy(language: 'haproxy' | 'nginx', port: number): Promise<{ directory: string; config: string }> {
    const directory = temporaryDirectory();
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=localhost'];
    await succeed('openssl', ['req', '-x509', ...key, '-keyout', 'fleet.key', '-out', 'fleet.crt'], { directory });
    const [crt, own] = ['fleet.crt', 'fleet.key'].map((file) => readFileSync(join(directory, file), 'utf8'));
    writeFileSync(join(directory, 'fleet.pem'), `${crt}${own}`, { mode: 0o600 });
    writeFileSync(join(directory, 'root.pem'), readFileSync(server.ready.trustBundle));
    const config = withReplaced(documentedConfig(PAGE, HEADING, language), {
      '10.0.1.10:8443': `127.0.0.1:${enrollPort()}`,
      'fleet.example.com': 'localhost',
      ...(language === 'haproxy'
        ? { 'bind :8443': `bind 127.0.0.1:${port}` }
        : { 'listen 8443': `listen 127.0.0.1:${port}` }),
    });
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`);
    return { directory, config: config.replace('http {', `http { access_log off; ${temporary.join(' ')}`) };
  }

  it.each(['haproxy', 'nginx'] as const)(
    '%s passes the client certificate on, and Rollcall decides about it',
    async (program) => {
      const port = await freePort();
      const { directory: home, config } = await proxy(program, port);
      await (program === 'haproxy' ? runHaproxy : runNginx)(config, port, home);
      const directory = await enroll(`behind-${program}`);
      expect(await renew(directory, port, [])).toContain('"certificate_required"');
      expect(
        await renew(
          directory,
          port,
          [clientCert(directory)].flatMap((header) => ['--header', header]),
        ),
      ).toContain('"certificate_required"');
      expect(await renew(directory, port, OWN)).toMatch(/^MII[A-Za-z0-9+/=]+ 200$/);
      const other = ['--cert', join(home, 'fleet.pem'), '--key', join(home, 'fleet.key')];
      expect(await renew(directory, port, other)).toContain('"certificate_rejected"');
      await operator('device', 'revoke', `behind-${program}`, '--reason', 'keyCompromise');
      expect(await renew(directory, port, OWN)).toContain('"device_revoked"');
    },
  );

  it('accepts the header from the listed address alone, and never on a connection with a PROXY header', async () => {
    const directory = await enroll('direct');
    const header = ['--header', clientCert(directory)];
    expect(await renew(directory, enrollPort(), header)).toMatch(/ 200$/);
    const elsewhere = [...OWN, '--interface', '127.0.0.3'];
    expect(await renew(directory, enrollPort(), [...elsewhere, ...header])).toContain('"client_cert_header_refused"');
    expect(await renew(directory, enrollPort(), [...elsewhere, '--header', 'Client-Cert-Chain: :AAAA:'])).toMatch(
      / 403$/,
    );
    expect(await renew(directory, enrollPort(), elsewhere)).toMatch(/ 200$/);
    const port = await freePort();
    const passthrough = [
      'defaults',
      '  mode tcp',
      ...['connect', 'client', 'server'].map((kind) => `  timeout ${kind} 5s`),
    ];
    const lines = [
      'listen enroll',
      `  bind 127.0.0.1:${port}`,
      `  server r 127.0.0.1:${enrollPort()} source 127.0.0.2 send-proxy-v2`,
    ];
    await runHaproxy(`${[...passthrough, ...lines].join('\n')}\n`, port);
    // It states the address of the listed proxy.
    expect(await renew(directory, port, ['--interface', '127.0.0.1', ...header])).toContain(
      '"client_cert_header_refused"',
    );
  });

  it('refuses a header that is not one certificate as RFC 9440 writes it', async () => {
    const directory = await enroll('malformed');
    const bytes = clientCert(directory).slice('Client-Cert: :'.length, -1);
    const longer = Buffer.concat([Buffer.from(bytes, 'base64'), Buffer.of(0)]).toString('base64');
    const written = [bytes, `:${bytes}`, `:${bytes}_:`, `:${longer}:`, ':AAAA:', `:${bytes}:, :${bytes}:`, '::'];
    for (const header of written) {
      const answer = await renew(directory, enrollPort(), ['--header', `Client-Cert: ${header}`]);
      expect(answer, header).toMatch(/"client_cert_header_invalid".* 400$/);
    }
  });
});
