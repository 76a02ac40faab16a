/** Revocation for third parties: openssl, NGINX, HAProxy and Mosquitto verify devices with our CRLs and OCSP responder. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { type CredentialFiles, writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients, runClient, startClient, succeed } from '../fixtures/real-client.ts';
import { makeScriptedAuthority } from '../fixtures/scripted-authority.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const NEEDS = ['curl', 'haproxy', 'mosquitto', 'mosquitto_pub', 'nginx', 'openssl'] as const;

describeWithClients('who checks our certificates', NEEDS, () => {
  let fleet: TestFleet;
  let status: string;
  let kept: CredentialFiles;
  let lost: CredentialFiles;
  beforeAll(async () => {
    fleet = await startFleet({
      settings: [
        [['certificateStatus', 'listen'], true],
        [['certificateStatus', 'port'], 0],
      ],
    });
    status = fleet.certificateStatusUrl as string;
    kept = writeCredentials(join(fleet.data, 'kept'), await fleet.enroll('third-kept'));
    lost = writeCredentials(join(fleet.data, 'lost'), await fleet.enroll('third-lost'));
    await (await fetch(`${status}/crl/all.pem`)).text(); // creates the base CRL that the delta CRL refers to
    await fleet.operator.revokeDevices({ ids: ['third-lost' as DeviceId], reason: 'keyCompromise' });
  });
  afterAll(() => fleet.stop());

  /** With `ca.pem` (root and issuing CA), `issuing.pem`, `all.pem` and a server's own certificate of another CA. */
  async function checkerDirectory(): Promise<{ readonly directory: string; readonly root: string }> {
    const directory = temporaryDirectory();
    const cas = await fleet.operator.listCas();
    for (const { id, role } of cas) {
      const args = ['--silent', '--fail', '--output', `${role}.cer`, `${status}/ca/${id}.cer`];
      await succeed('curl', args, { directory });
      await succeed('openssl', ['x509', '-inform', 'DER', '-in', `${role}.cer`, '-out', `${role}.pem`], { directory });
    }
    const both = ['crl2pkcs7', '-nocrl', '-certfile', 'root.pem', '-certfile', 'issuing.pem', '-out', 'both.p7'];
    await succeed('openssl', both, { directory });
    await succeed('openssl', ['pkcs7', '-in', 'both.p7', '-print_certs', '-out', 'ca.pem'], { directory });
    await succeed('curl', ['--silent', '--fail', '--output', 'all.pem', `${status}/crl/all.pem`], { directory });
    const authority = makeScriptedAuthority();
    onTestFinished(() => authority.dispose());
    const { keyPem, certificatePem } = authority.server;
    writeFileSync(join(directory, 'server.key'), keyPem, { mode: 0o600 });
    writeFileSync(join(directory, 'server.pem'), certificatePem);
    writeFileSync(join(directory, 'server-both.pem'), certificatePem + keyPem, { mode: 0o600 });
    writeFileSync(join(directory, 'server-root.pem'), authority.rootPem);
    return { directory, root: join(directory, 'server-root.pem') };
  }

  /** The HTTP status of a request with this certificate. */
  async function visit(port: number, root: string, device: CredentialFiles | undefined): Promise<string> {
    const own = device === undefined ? [] : ['--cert', device.certificate, '--key', device.key];
    const args = ['--silent', '--cacert', root, ...own, '--output', 'page', '--write-out', '%{http_code}'];
    const url = `https://localhost:${port}/`;
    return (await runClient('curl', [...args, url], { directory: temporaryDirectory() })).stdout;
  }

  it('openssl verifies a whole chain with our CRLs', async () => {
    const { directory } = await checkerDirectory();
    const verify = async (device: CredentialFiles) => {
      const args = ['verify', '-x509_strict', '-crl_check_all', '-CRLfile', 'all.pem', '-CAfile', 'root.pem'];
      return runClient('openssl', [...args, '-untrusted', 'issuing.pem', device.certificate], { directory });
    };
    expect((await verify(kept)).stdout).toContain('OK');
    const refused = await verify(lost);
    expect(refused.status).not.toBe(0);
    expect(refused.stdout + refused.stderr).toContain('certificate revoked');
  });

  it('openssl fetches the full CRL and the delta CRL from the URLs in the certificate', async () => {
    const { directory } = await checkerDirectory();
    const text = (await succeed('openssl', ['x509', '-in', kept.certificate, '-noout', '-text'], { directory })).stdout;
    const url = /URI:(http:\S+\.crl)/.exec(text)?.[1] as string;
    expect(text).toContain(`OCSP - URI:${status}/ocsp`);
    expect(text).toMatch(/CA Issuers - URI:http:\S+\.cer/);
    await succeed('curl', ['--silent', '--fail', '--output', 'full.crl', url], { directory });
    const show = async (file: string) => {
      const args = ['crl', '-inform', 'DER', '-in', file, '-noout', '-text', '-verify', '-CAfile', 'ca.pem'];
      const { stdout, stderr } = await succeed('openssl', args, { directory });
      return stdout + stderr;
    };
    const full = await show('full.crl');
    expect(full).toContain('verify OK');
    const deltaUrl = /Freshest CRL:[\s\S]*?URI:(http:\S+)/.exec(full)?.[1] as string;
    await succeed('curl', ['--silent', '--fail', '--output', 'delta.crl', deltaUrl], { directory });
    const delta = await show('delta.crl');
    expect(delta).toContain('verify OK');
    expect(delta).toMatch(/Delta CRL Indicator: critical/);
    expect(delta).toMatch(/Key Compromise/);
  });

  it.each([
    ['by POST', []],
    ['with SHA-256', ['-sha256']],
  ])('openssl asks OCSP %s: good, revoked with its reason, unknown, and the nonce comes back', async (_how, more) => {
    const { directory } = await checkerDirectory();
    const ask = async (...who: string[]) => {
      const args = ['ocsp', '-url', `${status}/ocsp`, '-CAfile', 'root.pem', ...more, '-issuer', 'issuing.pem', ...who];
      return succeed('openssl', args, { directory });
    };
    const good = await ask('-cert', kept.certificate);
    expect(good.stdout).toContain(': good');
    expect(good.stderr).toContain('Response verify OK');
    expect(good.stdout + good.stderr).not.toMatch(/no nonce/i);
    const revoked = await ask('-cert', lost.certificate);
    expect(revoked.stdout).toMatch(/: revoked[\s\S]*Reason: keyCompromise/);
    expect((await ask('-serial', '0x4711')).stdout).toContain(': unknown');
  });

  it('openssl gets certificateHold for a suspended device from OCSP, CRL and delta CRL, and good when it is resumed', async () => {
    const { directory } = await checkerDirectory();
    const found = writeCredentials(join(directory, 'found'), await fleet.enroll('third-found'));
    const id = 'third-found' as DeviceId;
    const ask = async () => {
      const args = ['ocsp', '-url', `${status}/ocsp`, '-CAfile', 'root.pem', '-issuer', 'issuing.pem'];
      return (await succeed('openssl', [...args, '-cert', found.certificate], { directory })).stdout;
    };
    const text = (await succeed('openssl', ['x509', '-in', found.certificate, '-noout', '-serial'], { directory }))
      .stdout;
    const serial = /=(\w+)/.exec(text)?.[1] as string;
    const issuing = (await fleet.operator.listCas()).find(({ role }) => role === 'issuing')?.id as string;
    const reasonIn = async (name: string) => {
      await succeed('curl', ['--silent', '--fail', '--output', 'one.crl', `${status}/crl/${name}.crl`], { directory });
      const shown = await succeed('openssl', ['crl', '-inform', 'DER', '-in', 'one.crl', '-noout', '-text'], {
        directory,
      });
      const entry = shown.stdout.split(`Serial Number: ${serial}`)[1]?.split('Serial Number')[0];
      return /Reason Code:\s+(.+)/.exec(entry ?? '')?.[1]?.trim();
    };
    const verify = async () => {
      await succeed('curl', ['--silent', '--fail', '--output', 'all.pem', `${status}/crl/all.pem`], { directory });
      const args = [
        'verify',
        '-crl_check_all',
        '-CRLfile',
        'all.pem',
        '-CAfile',
        'root.pem',
        '-untrusted',
        'issuing.pem',
      ];
      return (await runClient('openssl', [...args, found.certificate], { directory })).status === 0;
    };
    expect(await ask()).toContain(': good');
    expect(await verify()).toBe(true);

    await fleet.operator.suspendDevices({ ids: [id] });
    expect(await ask()).toMatch(/: revoked[\s\S]*Reason: certificateHold/);
    expect(await reasonIn(issuing)).toBe('Certificate Hold');
    expect(await reasonIn(`${issuing}-delta`)).toBe('Certificate Hold');
    expect(await verify()).toBe(false);

    await fleet.operator.resumeDevices({ ids: [id] });
    expect(await ask()).toContain(': good');
    expect(await reasonIn(issuing)).toBeUndefined();
    expect(await reasonIn(`${issuing}-delta`)).toBe('Remove From CRL');
    expect(await verify()).toBe(true);
  });

  it('openssl can query OCSP by GET', async () => {
    const { directory } = await checkerDirectory();
    const make = ['ocsp', '-no_nonce', '-issuer', 'issuing.pem', '-cert', lost.certificate, '-reqout', 'request.der'];
    await succeed('openssl', make, { directory });
    const encoded = (await succeed('openssl', ['base64', '-A', '-in', 'request.der'], { directory })).stdout;
    const url = `${status}/ocsp/${encodeURIComponent(encoded.trim())}`;
    await succeed('curl', ['--silent', '--fail', '--dump-header', 'headers', '--output', 'answer.der', url], {
      directory,
    });
    const read = [
      'ocsp',
      '-respin',
      'answer.der',
      '-CAfile',
      'root.pem',
      '-issuer',
      'issuing.pem',
      '-cert',
      lost.certificate,
    ];
    const { stdout, stderr } = await succeed('openssl', read, { directory });
    expect(stderr).toContain('Response verify OK');
    expect(stdout).toContain(': revoked');
  });

  it.each([
    ['lists', () => ['ssl_crl all.pem;']],
    ['OCSP', () => ['ssl_ocsp leaf;', `ssl_ocsp_responder ${status.replace('localhost', '127.0.0.1')}/ocsp;`]],
  ])('NGINX judges devices by %s', async (_by, settings) => {
    const { directory, root } = await checkerDirectory();
    const port = await freePort();
    const lines = [
      'daemon off; master_process off; pid nginx.pid; error_log stderr notice;',
      'events { worker_connections 64; }',
      'http {',
      'access_log off;',
      ...['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name}-temp;`),
      `server { listen 127.0.0.1:${port} ssl;`,
      'ssl_certificate server.pem; ssl_certificate_key server.key;',
      'ssl_client_certificate ca.pem; ssl_verify_client on; ssl_verify_depth 2;',
      ...settings(),
      'location / { return 200 "in"; } } }',
    ];
    writeFileSync(join(directory, 'nginx.conf'), lines.join('\n'));
    const nginx = startClient('nginx', ['-e', 'stderr', '-p', directory, '-c', 'nginx.conf'], {
      directory,
    });
    await nginx.line(/start worker process|using the "\w+" event method|OS: /);
    await answering(port);
    expect(await visit(port, root, kept)).toBe('200');
    expect(await visit(port, root, lost)).toBe('400');
    expect(await visit(port, root, undefined)).toBe('400');
  });

  it('HAProxy verifies devices with CRLs', async () => {
    const { directory, root } = await checkerDirectory();
    const port = await freePort();
    const lines = [
      'defaults',
      '  mode http',
      '  timeout client 5s',
      '  timeout server 5s',
      '  timeout connect 5s',
      'frontend devices',
      `  bind 127.0.0.1:${port} ssl crt server-both.pem ca-file ca.pem crl-file all.pem verify required`,
      '  http-request return status 200 content-type text/plain string in',
    ];
    writeFileSync(join(directory, 'haproxy.cfg'), `${lines.join('\n')}\n`);
    startClient('haproxy', ['-db', '-f', 'haproxy.cfg'], { directory });
    await answering(port);
    expect(await visit(port, root, kept)).toBe('200');
    expect(await visit(port, root, lost)).toBe('000');
    expect(await visit(port, root, undefined)).toBe('000');
  });

  it('Mosquitto verifies devices with CRLs', async () => {
    const { directory, root } = await checkerDirectory();
    const port = await freePort();
    const settings = [
      `listener ${port} 127.0.0.1`,
      'cafile ca.pem',
      'crlfile all.pem',
      'certfile server.pem',
      'keyfile server.key',
      'require_certificate true',
      'use_identity_as_username true',
      ...(process.getuid?.() === 0 ? ['user root'] : []),
    ];
    writeFileSync(join(directory, 'mosquitto.conf'), `${settings.join('\n')}\n`);
    const broker = startClient('mosquitto', ['-c', 'mosquitto.conf'], { directory });
    await broker.line(/mosquitto version .* running/);
    const publish = async (device: CredentialFiles) => {
      const own = ['--cafile', root, '--cert', device.certificate, '--key', device.key];
      const args = ['-h', 'localhost', '-p', String(port), ...own, '-q', '1', '-t', 't', '-m', 'x'];
      return (await runClient('mosquitto_pub', args, { directory })).status;
    };
    expect(await publish(kept)).toBe(0);
    expect(await publish(lost)).not.toBe(0);
  });
});

/** Resolves when a server listens on the port; a server that never does fails as a client program. */
async function answering(port: number): Promise<void> {
  const { connect } = await import('node:net');
  for (;;) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 20)); // another program's listener, without an event
  }
}
