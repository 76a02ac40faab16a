/** Other people's EST clients, started for real against the enroll server. */

import { type ExecFileException, execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EST_PATHS } from '../contract/est.ts';
import { consult, installed } from './oracles.ts';
import { openTestEnrollment, type TestEnrollment, testDirectory } from './testbed.ts';

const CURL = installed('curl') && installed('openssl');
const STRONGSWAN = installed('pki');

interface Workshop {
  readonly fleet: TestEnrollment;
  readonly url: string;
  path(name: string): string;
  /** Runs it without blocking, because the server is in this process; standard output. */
  run(program: string, args: readonly string[]): Promise<Buffer>;
}

async function workshop(): Promise<Workshop> {
  const fleet = await openTestEnrollment();
  const directory = testDirectory();
  const path = (name: string) => join(directory, name);
  writeFileSync(path('root.pem'), fleet.authority.rootPem);
  writeFileSync(path('issuing.pem'), fleet.authority.chainPem);
  const run: Workshop['run'] = (program, args) =>
    new Promise((resolve, reject) => {
      const done = (error: ExecFileException | null, stdout: Buffer, stderr: Buffer) =>
        error === null
          ? resolve(stdout)
          : reject(new Error(`${program} ${args[0]}: ${error.message} ${stdout} ${stderr}`));
      execFile(program, [...args], { encoding: 'buffer', timeout: 20_000 }, done);
    });
  return { fleet, url: `https://localhost:${fleet.server.port}`, path, run };
}

describe.skipIf(!CURL)('curl and openssl (skipped where one of them is not installed)', () => {
  async function requestFile({ path, run }: Workshop, name: string): Promise<void> {
    const make = [
      'req',
      '-new',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=dev-7',
    ];
    await run('openssl', [...make, '-keyout', path(`${name}.key`), '-outform', 'DER', '-out', path(`${name}.der`)]);
    writeFileSync(path(`${name}.b64`), await run('openssl', ['base64', '-in', path(`${name}.der`)]));
  }

  function post({ path, run, url }: Workshop, est: string, name: string, login: readonly string[]): Promise<Buffer> {
    const fixed = ['-sS', '--fail-with-body', '--cacert', path('root.pem'), '-H', 'Content-Type: application/pkcs10'];
    return run('curl', [...fixed, ...login, '--data-binary', `@${path(`${name}.b64`)}`, `${url}${est}`]);
  }

  function savePem({ path }: Workshop, answer: Buffer, name: string): X509Certificate {
    const der = consult('openssl', ['base64', '-d', '-A'], answer);
    expect(der.status).toBe(0);
    const { text } = consult(
      'openssl',
      ['pkcs7', '-inform', 'DER', '-print_certs'],
      Buffer.from(answer.toString(), 'base64'),
    );
    writeFileSync(path(`${name}.pem`), text);
    return new X509Certificate(text.slice(text.indexOf('-----BEGIN')));
  }

  it('enroll and renew', async () => {
    const shop = await workshop();
    await requestFile(shop, 'first');
    const first = await post(shop, EST_PATHS.simpleenroll, 'first', ['-u', `dev-7:${await shop.fleet.mint()}`]);
    expect(savePem(shop, first, 'first').subject).toBe('CN=dev-7');
    await requestFile(shop, 'second');
    const current = ['--cert', shop.path('first.pem'), '--key', shop.path('first.key')];
    const second = await post(shop, EST_PATHS.simplereenroll, 'second', current);
    expect(savePem(shop, second, 'second').subjectAltName).toBe('URI:spiffe://fleet.example/device/dev-7');
  });

  it('show a refusal as a problem document', async () => {
    const shop = await workshop();
    await requestFile(shop, 'first');
    await expect(post(shop, EST_PATHS.simpleenroll, 'first', ['-u', 'dev-7:wrong'])).rejects.toThrow(
      '"code":"token_rejected"',
    );
  });
});

describe.skipIf(!STRONGSWAN)('strongSwan pki (skipped where it is not installed)', () => {
  async function requestFile({ path, run }: Workshop, name: string): Promise<void> {
    writeFileSync(
      path(`${name}.key`),
      await run('pki', ['--gen', '--type', 'ecdsa', '--size', '256', '--outform', 'pem']),
    );
    const make = ['--req', '--in', path(`${name}.key`), '--type', 'ecdsa', '--dn', 'CN=gateway-1', '--outform', 'pem'];
    writeFileSync(path(`${name}.csr`), await run('pki', make));
  }

  it('fetches the CA certificates, enrolls, and renews with the certificate it got', async () => {
    const shop = await workshop();
    const { path, run, url } = shop;
    await run('pki', [
      '--estca',
      '--url',
      url,
      '--cacert',
      path('root.pem'),
      '--caout',
      path('ca.pem'),
      '--outform',
      'pem',
    ]);
    const subjectIn = (name: string) => new X509Certificate(readFileSync(path(name))).subject;
    expect(subjectIn('ca.pem')).toMatch(/^CN=Rollcall root CA/);
    expect(subjectIn('ca-1.pem')).toMatch(/^CN=Rollcall issuing CA/);

    const trust = ['--cacert', path('root.pem'), '--cacert', path('issuing.pem'), '--outform', 'pem'];
    await requestFile(shop, 'first');
    const login = ['--userpass', `gateway-1:${await shop.fleet.mint()}`];
    writeFileSync(
      path('first.pem'),
      await run('pki', ['--est', '--url', url, '--in', path('first.csr'), ...trust, ...login]),
    );
    expect(new X509Certificate(readFileSync(path('first.pem'))).subject).toBe('CN=gateway-1');

    await requestFile(shop, 'second');
    const current = ['--cert', path('first.pem'), '--key', path('first.key')];
    const second = await run('pki', ['--est', '--url', url, '--in', path('second.csr'), ...trust, ...current]);
    expect(new X509Certificate(second).subjectAltName).toBe('URI:spiffe://fleet.example/device/gateway-1');
  });
});
