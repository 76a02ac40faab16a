/** strongSwan's `pki` as a device: an EST client with its own TLS stack, DER parser and checks. */

import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { type ClientOutcome, describeWithClients, runClient, succeed } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const EC = ['--type', 'ecdsa', '--size', '256'];

describeWithClients('strongSwan', ['pki', 'curl', 'mosquitto_pub'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  /** A device's directory with `ca.pem` (root) and `ca-1.pem` (issuing CA), fetched by it. */
  async function deviceDirectory(): Promise<string> {
    const directory = temporaryDirectory();
    const args = ['--estca', '--url', fleet.enrollUrl, '--cacert', fleet.trustBundle, '--caout', 'ca.pem'];
    await succeed('pki', [...args, '--outform', 'pem'], { directory });
    return directory;
  }

  /** Makes `NAME.key` and `NAME.csr`. */
  async function prepare(directory: string, name: string, subject: string, keyType: readonly string[] = EC) {
    const key = await succeed('pki', ['--gen', ...keyType, '--outform', 'pem'], { directory });
    writeFileSync(join(directory, `${name}.key`), key.stdout, { mode: 0o600 });
    const request = ['--req', '--in', `${name}.key`, '--dn', subject, '--outform', 'pem'];
    writeFileSync(join(directory, `${name}.csr`), (await succeed('pki', request, { directory })).stdout);
  }

  function est(directory: string, name: string, credential: readonly string[]): Promise<ClientOutcome> {
    const trust = ['--cacert', 'ca.pem', '--cacert', 'ca-1.pem'];
    const args = ['--est', '--url', fleet.enrollUrl, '--in', `${name}.csr`, ...trust, '--outform', 'pem'];
    return runClient('pki', [...args, ...credential], { directory });
  }

  /** The token as password, in an options file, so that no other user sees it in the process list. */
  function withToken(directory: string, userName: string, token: string): readonly string[] {
    writeFileSync(join(directory, 'credential'), `--userpass "${userName}:${token}"\n`, { mode: 0o600 });
    return ['--options', 'credential'];
  }

  /** Writes `NAME.pem` and returns it as Node parses it. */
  function keep(directory: string, name: string, outcome: ClientOutcome): X509Certificate {
    if (outcome.status !== 0) throw new Error(`expected a certificate\n${outcome.stderr}`);
    writeFileSync(join(directory, `${name}.pem`), outcome.stdout);
    return new X509Certificate(outcome.stdout);
  }

  async function enroll(directory: string, name: string): Promise<X509Certificate> {
    await prepare(directory, name, `CN=${name}`);
    return keep(directory, name, await est(directory, name, withToken(directory, name, await fleet.mint())));
  }

  function publish(directory: string, name: string, clientId: string): Promise<ClientOutcome> {
    const broker = ['-h', 'localhost', '-p', new URL(fleet.mqttUrl).port, '--cafile', 'ca.pem'];
    const own = ['--cert', `${name}.pem`, '--key', `${name}.key`, '-i', clientId];
    const message = ['-t', `devices/${clientId}/telemetry/state`, '-m', 'up', '-q', '1'];
    return runClient('mosquitto_pub', [...broker, ...own, ...message], { directory });
  }

  it('fetches the CA certificates and finds a trusted root and a trusted sub CA', async () => {
    const directory = temporaryDirectory();
    const args = ['--estca', '--url', fleet.enrollUrl, '--cacert', fleet.trustBundle, '--caout', 'ca.pem'];
    const { stderr } = await succeed('pki', [...args, '--outform', 'pem'], { directory });
    expect(stderr).toContain('Root CA equals trusted TLS Root CA');
    expect(stderr).toMatch(/Sub CA cert is trusted.* written to 'ca-1.pem'/);
    const root = new X509Certificate(readFileSync(join(directory, 'ca.pem')));
    const issuing = new X509Certificate(readFileSync(join(directory, 'ca-1.pem')));
    expect(root.fingerprint256).toBe(new X509Certificate(readFileSync(fleet.trustBundle)).fingerprint256);
    expect(issuing.verify(root.publicKey)).toBe(true);
  });

  it('enrolls under the device id that it requests, verifies the certificate, and publishes with it', async () => {
    const directory = await deviceDirectory();
    await prepare(directory, 'first', 'CN=swan-1');
    const outcome = await est(directory, 'first', withToken(directory, 'swan-1', await fleet.mint()));
    const certificate = keep(directory, 'first', outcome);
    expect(outcome.stderr).toContain('Issued certificate is trusted');
    expect(certificate.subject).toBe('CN=swan-1');
    expect(certificate.subjectAltName).toBe('URI:spiffe://rollcall.internal/device/swan-1');
    expect(await publish(directory, 'first', 'swan-1')).toMatchObject({ status: 0 });
  });

  it.each(['', 'device', 'token', 'rollcall'])('gets an id chosen by the server as user "%s"', async (userName) => {
    const directory = await deviceDirectory();
    await prepare(directory, 'any', 'CN=a gateway without a name');
    const outcome = await est(directory, 'any', withToken(directory, userName, await fleet.mint()));
    expect(keep(directory, 'any', outcome).subject).toMatch(/^CN=dev-[a-z2-7]{12}$/);
  });

  it('gets the id that its token names', async () => {
    const directory = await deviceDirectory();
    await prepare(directory, 'named', 'CN=swan-named');
    const token = await fleet.mint({ device: 'swan-named' as DeviceId });
    const outcome = await est(directory, 'named', withToken(directory, 'device', token));
    expect(keep(directory, 'named', outcome).subject).toBe('CN=swan-named');
  });

  it('enrolls an RSA key of 2048 bits', async () => {
    const directory = await deviceDirectory();
    await prepare(directory, 'rsa', 'CN=swan-rsa', ['--type', 'rsa', '--size', '2048']);
    const outcome = await est(directory, 'rsa', withToken(directory, 'swan-rsa', await fleet.mint()));
    expect(keep(directory, 'rsa', outcome).publicKey.asymmetricKeyType).toBe('rsa');
    expect(await publish(directory, 'rsa', 'swan-rsa')).toMatchObject({ status: 0 });
  });

  it('renews with the old certificate, and connects with the new one', async () => {
    const directory = await deviceDirectory();
    const old = await enroll(directory, 'swan-renews');
    await prepare(directory, 'next', 'CN=swan-renews');
    const oldOne = ['--cert', 'swan-renews.pem', '--key', 'swan-renews.key'];
    const renewed = keep(directory, 'next', await est(directory, 'next', oldOne));
    expect(renewed.subjectAltName).toBe(old.subjectAltName);
    expect(renewed.serialNumber).not.toBe(old.serialNumber);
    expect(renewed.publicKey.equals(old.publicKey)).toBe(false);
    expect(await publish(directory, 'next', 'swan-renews')).toMatchObject({ status: 0 });
    const stored = await fleet.operator.queryTelemetry({ device: 'swan-renews' as DeviceId });
    expect(stored.map(({ stream }) => stream)).toEqual(['state']);
  });

  it('is refused with a consumed token', async () => {
    const directory = await deviceDirectory();
    const token = await fleet.mint();
    await prepare(directory, 'one', 'CN=swan-spends');
    keep(directory, 'one', await est(directory, 'one', withToken(directory, 'swan-spends', token)));
    await prepare(directory, 'two', 'CN=swan-late');
    const outcome = await est(directory, 'two', withToken(directory, 'swan-late', token));
    expect(outcome).toMatchObject({ status: 1, stdout: '' });
    expect(outcome.stderr).toContain('EST request failed: HTTP 401');
  });

  it('cannot renew once it is revoked, and finds its certificate in the CRL', async () => {
    const directory = await deviceDirectory();
    await enroll(directory, 'swan-lost');
    await enroll(directory, 'swan-kept');
    await fleet.operator.revokeDevices({ ids: ['swan-lost' as DeviceId], reason: 'keyCompromise' });

    await prepare(directory, 'next', 'CN=swan-lost');
    const outcome = await est(directory, 'next', ['--cert', 'swan-lost.pem', '--key', 'swan-lost.key']);
    expect(outcome).toMatchObject({ status: 1, stdout: '' });
    expect(outcome.stderr).toContain('EST request failed: HTTP 403');
    expect(await publish(directory, 'swan-lost', 'swan-lost')).toMatchObject({ status: 5 });

    // Debian's pki cannot fetch a CRL by itself.
    const list = ['--silent', '--fail', '--cacert', 'ca.pem', '--output', 'issuing.crl'];
    await succeed('curl', [...list, `${fleet.enrollUrl}/crl/issuing.crl`], { directory });
    const verify = ['--verify', '--cacert', 'ca.pem', '--cacert', 'ca-1.pem', '--crl', 'issuing.crl', '--in'];
    const lost = await runClient('pki', [...verify, 'swan-lost.pem'], { directory });
    expect(`${lost.stdout}${lost.stderr}`).toContain('reason: key compromise');
    const kept = await runClient('pki', [...verify, 'swan-kept.pem'], { directory });
    expect(`${kept.stdout}${kept.stderr}`).toContain('certificate status is good');
  });
});
