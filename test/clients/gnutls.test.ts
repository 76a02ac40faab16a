/** GnuTLS as a client: another TLS stack and another parser of certificates, requests and CRLs than OpenSSL. */

import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CRL_PATH, type DeviceId, EST_PATHS } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients, runClient, startClient, succeed } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

describeWithClients('GnuTLS', ['certtool', 'curl', 'gnutls-cli'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  async function deviceDirectory(id: string): Promise<string> {
    const directory = temporaryDirectory();
    writeCredentials(directory, await fleet.enroll(id));
    return directory;
  }

  /** Leaf and issuing CA, PEM. */
  const certificatesIn = (directory: string) =>
    readFileSync(join(directory, 'cert.pem'), 'utf8').split(/(?<=-----END CERTIFICATE-----\n)/);

  async function download(directory: string, path: string, file: string): Promise<Buffer> {
    const args = ['--silent', '--fail', '--cacert', fleet.trustBundle, '--output', file];
    await succeed('curl', [...args, `${fleet.enrollUrl}${path}`], { directory });
    return readFileSync(join(directory, file));
  }

  const certtool = (directory: string, args: readonly string[]) => runClient('certtool', args, { directory });
  const profile = ['--verify-profile', 'medium'];

  it('verifies a device’s chain up to the root', async () => {
    const directory = await deviceDirectory('tls-chain');
    const verify = ['--verify', '--load-ca-certificate', 'ca.pem', '--infile', 'cert.pem', ...profile];
    const outcome = await certtool(directory, verify);
    expect(outcome.status).toBe(0);
    expect(outcome.stdout).toContain('Chain verification output: Verified. The certificate is trusted.');
  });

  it('accepts a device certificate for TLS clients', async () => {
    const directory = await deviceDirectory('tls-leaf');
    const { stdout } = await certtool(directory, ['--certificate-info', '--infile', 'cert.pem']);
    expect(stdout).toContain('Subject: CN=tls-leaf\n');
    expect(stdout).toContain('URI: spiffe://rollcall.internal/device/tls-leaf');
    expect(stdout).toMatch(/Key Purpose \(not critical\):\n\s+TLS WWW Client\.\n\s+\S+ Key/);
    expect(stdout).toMatch(/Key Usage \(critical\):\n\s+Digital signature\.\n/);
  });

  it('reads the CA certificates as PKCS#7', async () => {
    const directory = temporaryDirectory();
    const answer = await download(directory, EST_PATHS.cacerts, 'cacerts');
    writeFileSync(join(directory, 'cacerts.p7'), Buffer.from(answer.toString('latin1'), 'base64'));
    const outcome = await certtool(directory, ['--p7-info', '--inder', '--infile', 'cacerts.p7']);
    expect(outcome.status).toBe(0);
    expect(outcome.stdout).toContain('Number of certificates: 2\n');
  });

  it('enrolls with a request that it made itself', async () => {
    const directory = temporaryDirectory();
    await succeed('certtool', ['--generate-privkey', '--key-type', 'ecdsa', '--curve', 'secp256r1', '--outfile', 'k'], {
      directory,
    });
    writeFileSync(join(directory, 'template'), 'cn = "tls-request"\ntls_www_client\nsigning_key\n');
    const request = ['--generate-request', '--load-privkey', 'k', '--template', 'template', '--outder'];
    await succeed('certtool', [...request, '--outfile', 'request.der'], { directory });
    writeFileSync(join(directory, 'request'), readFileSync(join(directory, 'request.der')).toString('base64'));
    const post = ['--silent', '--config', '-', '--cacert', fleet.trustBundle, '--data-binary', '@request'];
    const type = ['--header', 'content-type: application/pkcs10', '--write-out', ' %{http_code}'];
    const { stdout } = await succeed('curl', [...post, ...type, `${fleet.enrollUrl}${EST_PATHS.simpleenroll}`], {
      directory,
      input: `user = "tls-request:${await fleet.mint()}"`,
    });
    const [body = '', status] = stdout.split(' ');
    expect(status).toBe('200');
    writeFileSync(join(directory, 'answer.p7'), Buffer.from(body, 'base64'));
    const print = ['--p7-info', '--inder', '--infile', 'answer.p7', '--outfile', 'answer.txt'];
    await succeed('certtool', print, { directory });
    const certificate = new X509Certificate(readFileSync(join(directory, 'answer.txt'), 'utf8').replace(/^[^-]*/, ''));
    expect(certificate.subject).toBe('CN=tls-request');
  });

  it('verifies the CRL, and with it a revoked device and a valid one', async () => {
    const lost = await deviceDirectory('tls-lost');
    const kept = await deviceDirectory('tls-kept');
    await fleet.operator.revokeDevices({ ids: ['tls-lost' as DeviceId], reason: 'keyCompromise' });
    for (const directory of [lost, kept]) {
      const [, issuing] = certificatesIn(directory);
      writeFileSync(join(directory, 'issuing.pem'), issuing as string);
      await download(directory, CRL_PATH, 'list.crl');
      await succeed('certtool', ['--crl-info', '--inder', '--infile', 'list.crl', '--outfile', 'list.txt'], {
        directory,
      });
      // The list as text and, after it, as PEM.
      const text = readFileSync(join(directory, 'list.txt'), 'utf8');
      writeFileSync(join(directory, 'list.pem'), text.slice(text.indexOf('-----BEGIN')));
      const verify = ['--verify-crl', '--load-ca-certificate', 'issuing.pem', '--infile', 'list.pem', ...profile];
      expect((await certtool(directory, verify)).stdout).toContain('Verification output: Verified.');
    }
    const withList = ['--verify', '--load-ca-certificate', 'ca.pem', '--load-crl', 'list.pem', '--infile', 'cert.pem'];
    const ofLost = await certtool(lost, [...withList, ...profile]);
    expect(ofLost.status).not.toBe(0);
    expect(ofLost.stdout).toContain('The certificate chain is revoked.');
    expect(await certtool(kept, [...withList, ...profile])).toMatchObject({ status: 0 });
  });

  /** Sends `hello` over TLS and reads until the server closes. */
  function exchange(directory: string, url: string, hello: string | Buffer, credentials: readonly string[]) {
    const args = [
      '--x509cafile',
      'ca.pem',
      ...credentials,
      '--port',
      new URL(url).port,
      '--logfile',
      'log',
      'localhost',
    ];
    return startClient('gnutls-cli', args, { directory, input: hello, afterInput: 'wait' });
  }

  const own = ['--x509certfile', 'cert.pem', '--x509keyfile', 'key.pem'];
  const logOf = (directory: string) => readFileSync(join(directory, 'log'), 'utf8');

  it('trusts the broker, and connects with a device certificate', async () => {
    const directory = await deviceDirectory('tls-broker');
    const connect = '\x10\x16\0\x04MQTT\x04\x02\0\x3c\0\x0atls-broker';
    const disconnect = '\xe0\0';
    const outcome = await exchange(directory, fleet.mqttUrl, Buffer.from(connect + disconnect, 'latin1'), own).ended;
    expect(logOf(directory)).toContain('Status: The certificate is trusted.');
    expect(logOf(directory)).toMatch(/Description: \(TLS1\.3/);
    expect(Buffer.from(outcome.stdout).toString('hex')).toBe('20020000');
  });

  it('trusts the enroll server, and is authenticated there by a device certificate', async () => {
    const directory = await deviceDirectory('tls-enroll');
    const head = `POST ${EST_PATHS.simplereenroll} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n`;
    const body = 'content-type: application/pkcs10\r\ncontent-length: 4\r\n\r\nMAA=';
    const { stdout } = await exchange(directory, fleet.enrollUrl, head + body, own).ended;
    expect(logOf(directory)).toContain('Status: The certificate is trusted.');
    expect(stdout).toContain('"code":"csr_malformed"'); // the error is not a missing certificate
  });

  it('trusts neither server with another root', async () => {
    const directory = await deviceDirectory('tls-wary');
    writeFileSync(join(directory, 'ca.pem'), certificatesIn(directory)[0] as string);
    for (const url of [fleet.enrollUrl, fleet.mqttUrl]) {
      expect((await exchange(directory, url, '', []).ended).status).toBe(1);
      expect(logOf(directory)).toContain('The certificate is NOT trusted.');
    }
  });
});
