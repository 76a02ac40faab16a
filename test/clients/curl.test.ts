/** curl and openssl as a device: EST requests by hand, with responses parsed by the openssl programs. */

import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CRL_PATH, CSR_BODY_MAX, type DeviceId, EST_PATHS } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients, runClient, succeed } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** In the file `answer`. */
  readonly body: string;
}

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
const PKCS10 = ['--header', 'content-type: application/pkcs10'];

describeWithClients('curl and openssl', ['curl', 'openssl'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  /** `secret` is a line of curl's configuration, passed on standard input. */
  async function curl(directory: string, path: string, args: readonly string[] = [], secret = ''): Promise<Answer> {
    const common = ['--silent', '--show-error', '--config', '-', '--cacert', fleet.trustBundle];
    const answer = ['--dump-header', 'head', '--output', 'answer'];
    await succeed('curl', [...common, ...answer, ...args, `${fleet.enrollUrl}${path}`], { directory, input: secret });
    const [statusLine = '', ...fields] = readFileSync(join(directory, 'head'), 'latin1').trim().split('\r\n');
    return {
      status: Number(statusLine.split(' ')[1]),
      headers: new Headers(fields.map((field) => field.split(/: ?(.*)/s, 2) as [string, string])),
      body: readFileSync(join(directory, 'answer'), 'latin1'),
    };
  }

  const openssl = async (directory: string, args: readonly string[], input?: string) =>
    (await succeed('openssl', args, { directory, ...(input !== undefined && { input }) })).stdout;

  /** Makes `NAME.key` and `NAME.csr` (base64 in lines of 64). */
  async function prepare(directory: string, name: string, subject: string, kind: readonly string[] = P256) {
    const out = ['-keyout', `${name}.key`, '-outform', 'DER', '-out', `${name}.der`];
    await openssl(directory, ['req', '-new', '-nodes', ...kind, '-subj', subject, ...out]);
    await openssl(directory, ['base64', '-in', `${name}.der`, '-out', `${name}.csr`]);
  }

  const post = (directory: string, path: string, name: string, args: readonly string[] = [], secret?: string) =>
    curl(directory, path, [...PKCS10, '--data-binary', `@${name}.csr`, ...args], secret);

  const basic = (userName: string, token: string) => `user = "${userName}:${token}"`;
  const bearer = (token: string) => `header = "authorization: Bearer ${token}"`;

  /** Writes the certificates of the last response as PEM to `NAME.pem`. */
  async function certificates(directory: string, name: string): Promise<readonly X509Certificate[]> {
    await openssl(directory, ['base64', '-d', '-A', '-in', 'answer', '-out', 'answer.p7']);
    const print = ['pkcs7', '-inform', 'DER', '-in', 'answer.p7', '-print_certs', '-out', `${name}.pem`];
    await openssl(directory, print);
    const pem = readFileSync(join(directory, `${name}.pem`), 'utf8');
    return (pem.match(/-----BEGIN [^-]+-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
      (text) => new X509Certificate(text),
    );
  }

  /** A directory with `issuing.pem` and `root.pem`. */
  async function deviceDirectory(): Promise<string> {
    const directory = temporaryDirectory();
    await curl(directory, EST_PATHS.cacerts);
    const [issuing, root] = await certificates(directory, 'bundle');
    writeFileSync(join(directory, 'issuing.pem'), String(issuing));
    writeFileSync(join(directory, 'root.pem'), String(root));
    return directory;
  }

  async function enroll(directory: string, name: string): Promise<X509Certificate> {
    await prepare(directory, name, `/CN=${name}`);
    await post(directory, EST_PATHS.simpleenroll, name, [], basic(name, await fleet.mint()));
    const [certificate] = await certificates(directory, name);
    return certificate as X509Certificate;
  }

  const verify = (directory: string, name: string, args: readonly string[]) =>
    runClient('openssl', ['verify', '-CAfile', 'root.pem', '-untrusted', 'issuing.pem', ...args, `${name}.pem`], {
      directory,
    });

  const strict = ['-x509_strict', '-purpose', 'sslclient'];

  it('fetches the issuing CA and the root, in that order, without a credential', async () => {
    const directory = temporaryDirectory();
    const answer = await curl(directory, EST_PATHS.cacerts);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/pkcs7-mime; smime-type=certs-only');
    expect(answer.headers.get('content-length')).toBe(String(answer.body.length));
    expect(answer.headers.has('transfer-encoding')).toBe(false);
    expect(answer.body).toMatch(/^[A-Za-z0-9+/]+=*$/);
    const [issuing, root, ...more] = await certificates(directory, 'bundle');
    expect(root?.fingerprint256).toBe(new X509Certificate(readFileSync(fleet.trustBundle)).fingerprint256);
    expect(root?.subject).toBe(issuing?.issuer);
    expect(more).toEqual([]);
  });

  it('verifies the root with the fingerprint in its token before it sends a secret', async () => {
    const directory = temporaryDirectory();
    await curl(directory, EST_PATHS.cacerts, ['--insecure']);
    const [, root] = await certificates(directory, 'bundle');
    writeFileSync(join(directory, 'root.pem'), String(root));
    const print = await openssl(directory, ['x509', '-in', 'root.pem', '-noout', '-fingerprint', '-sha256']);
    const pinned = Buffer.from((await fleet.mint()).split('.')[3] as string, 'base64url');
    expect(print.trim().split('=')[1]?.replaceAll(':', '').toLowerCase()).toBe(pinned.toString('hex'));
  });

  it.each(['1.2', '1.3'])('connects with TLS %s', async (version) => {
    const answer = await curl(temporaryDirectory(), EST_PATHS.cacerts, [`--tlsv${version}`, '--tls-max', version]);
    expect(answer.status).toBe(200);
  });

  it('reads from csrattrs which key and signature to use', async () => {
    const directory = temporaryDirectory();
    const answer = await curl(directory, EST_PATHS.csrattrs);
    expect(answer.headers.get('content-type')).toBe('application/csrattrs');
    await openssl(directory, ['base64', '-d', '-A', '-in', 'answer', '-out', 'answer.der']);
    const text = await openssl(directory, ['asn1parse', '-inform', 'DER', '-in', 'answer.der']);
    expect(text.match(/OBJECT +:\S+/g)?.map((line) => line.split(':')[1])).toEqual([
      'id-ecPublicKey',
      'prime256v1',
      'ecdsa-with-SHA256',
    ]);
  });

  it('enrolls with the token as Basic password, and openssl accepts the certificate for a TLS client', async () => {
    const directory = await deviceDirectory();
    await prepare(directory, 'leaf', '/CN=curl-basic');
    const answer = await post(directory, EST_PATHS.simpleenroll, 'leaf', [], basic('curl-basic', await fleet.mint()));
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/pkcs7-mime; smime-type=certs-only');
    expect(answer.headers.get('rollcall-mqtt-url')).toBe(fleet.mqttUrl);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    const [leaf, ...more] = await certificates(directory, 'leaf');
    expect(more).toEqual([]);
    expect(leaf?.subject).toBe('CN=curl-basic');
    expect(await verify(directory, 'leaf', strict)).toMatchObject({ status: 0, stdout: 'leaf.pem: OK\n' });
    expect(await verify(directory, 'leaf', ['-purpose', 'sslserver'])).toMatchObject({ status: 2 });
    const text = await openssl(directory, ['x509', '-in', 'leaf.pem', '-noout', '-text']);
    expect(text).toContain('URI:spiffe://rollcall.internal/device/curl-basic');
    expect(text).toContain('TLS Web Client Authentication\n');
    expect(text).toContain('CA:FALSE');
  });

  it('enrolls with the token as Bearer under an id chosen by the server', async () => {
    const directory = await deviceDirectory();
    await prepare(directory, 'leaf', '/');
    await post(directory, EST_PATHS.simpleenroll, 'leaf', [], bearer(await fleet.mint()));
    const [leaf] = await certificates(directory, 'leaf');
    expect(leaf?.subject).toMatch(/^CN=dev-[a-z2-7]{12}$/);
  });

  it.each([
    ['P-384', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384']],
    ['RSA 3072', ['-newkey', 'rsa:3072']],
  ])('enrolls a key of %s', async (label, kind) => {
    const directory = await deviceDirectory();
    await prepare(directory, 'leaf', '/', kind);
    await post(directory, EST_PATHS.simpleenroll, 'leaf', [], bearer(await fleet.mint()));
    await certificates(directory, 'leaf');
    expect(await verify(directory, 'leaf', strict), label).toMatchObject({ status: 0 });
  });

  it('gets the same certificate when it repeats the request with the same token and key', async () => {
    const directory = await deviceDirectory();
    await prepare(directory, 'leaf', '/CN=curl-again');
    const secret = basic('curl-again', await fleet.mint());
    const first = await post(directory, EST_PATHS.simpleenroll, 'leaf', [], secret);
    const second = await post(directory, EST_PATHS.simpleenroll, 'leaf', [], secret);
    expect(second.status).toBe(200);
    expect(second.body).toBe(first.body);
  });

  it('renews with its certificate and a new key', async () => {
    const directory = await deviceDirectory();
    const old = await enroll(directory, 'curl-renews');
    await prepare(directory, 'next', '/CN=curl-renews');
    const own = ['--cert', 'curl-renews.pem', '--key', 'curl-renews.key'];
    const answer = await post(directory, EST_PATHS.simplereenroll, 'next', own);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('rollcall-mqtt-url')).toBe(fleet.mqttUrl);
    const [renewed] = await certificates(directory, 'next');
    expect(renewed?.subjectAltName).toBe(old.subjectAltName);
    expect(renewed?.serialNumber).not.toBe(old.serialNumber);
    expect(await verify(directory, 'next', strict)).toMatchObject({ status: 0 });
  });

  it('finds no entry in the CRL of a new fleet, and a revoked device as soon as its revocation returned', async () => {
    const directory = await deviceDirectory();
    const lost = await enroll(directory, 'curl-lost');
    await enroll(directory, 'curl-kept');
    const fetchList = async () => {
      const answer = await curl(directory, CRL_PATH);
      expect(answer.headers.get('content-type')).toBe('application/pkix-crl');
      const read = ['crl', '-inform', 'DER', '-in', 'answer', '-out', 'list.pem', '-text', '-CAfile', 'issuing.pem'];
      const { stderr } = await succeed('openssl', [...read, '-verify'], { directory });
      expect(stderr).toBe('verify OK\n');
      return readFileSync(join(directory, 'list.pem'), 'utf8');
    };
    const checked = (name: string) => verify(directory, name, [...strict, '-crl_check', '-CRLfile', 'list.pem']);

    expect(await fetchList()).not.toContain(lost.serialNumber);
    expect(await checked('curl-lost')).toMatchObject({ status: 0 });

    await fleet.operator.revokeDevices({ ids: ['curl-lost' as DeviceId], reason: 'keyCompromise' });
    const list = await fetchList();
    expect(list).toMatch(new RegExp(`Serial Number: ${lost.serialNumber}[\\s\\S]+?Key Compromise`));
    expect(list).toMatch(/Issuing Distribution Point: critical\s+Only User Certificates/);
    const refused = await checked('curl-lost');
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('certificate revoked');
    expect(await checked('curl-kept')).toMatchObject({ status: 0 });
  });

  const enrollPath = EST_PATHS.simpleenroll;
  it.each([
    ['no credential', 401, 'credentials_missing', enrollPath, '/', P256, () => ''],
    ['an unknown token', 401, 'token_rejected', enrollPath, '/', P256, () => basic('', 'rc1.not-a-token')],
    ['a name that is no device id', 400, 'device_id_invalid', enrollPath, '/', P256, (t: string) => basic('a/b', t)],
    [
      'a request for another name',
      422,
      'csr_identity_mismatch',
      enrollPath,
      '/CN=b',
      P256,
      (t: string) => basic('a', t),
    ],
    [
      'a request to be a CA',
      422,
      'csr_extension_forbidden',
      enrollPath,
      '/',
      [...P256, '-addext', 'basicConstraints=critical,CA:TRUE'],
      (t: string) => bearer(t),
    ],
    ['a weak key', 422, 'csr_key_unsupported', enrollPath, '/', ['-newkey', 'rsa:1024'], (t: string) => bearer(t)],
    ['renewal without a certificate', 401, 'certificate_required', EST_PATHS.simplereenroll, '/', P256, () => ''],
  ])('is told in a problem document about %s', async (_case, status, code, path, subject, options, secret) => {
    const directory = temporaryDirectory();
    await prepare(directory, 'leaf', subject, options);
    const token = await fleet.mint();
    const answer = await post(directory, path, 'leaf', [], secret(token));
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json\b/);
    expect(JSON.parse(answer.body)).toMatchObject({ type: `urn:rollcall:problem:${code}`, status, code });
    expect(answer.status).toBe(status);
    expect(answer.headers.has('www-authenticate')).toBe(status === 401);
    expect(answer.body).not.toContain(token.split('.')[2]);
  });

  it.each([
    ['another content type', 415, 'media_type_unsupported', ['--header', 'content-type: text/plain', '--data', 'x']],
    ['a body that is no base64', 400, 'csr_malformed', [...PKCS10, '--data', '{}']],
    ['a body that is too large', 413, 'body_too_large', [...PKCS10, '--data', 'A'.repeat(CSR_BODY_MAX + 1)]],
    ['another method', 405, 'method_not_allowed', ['--request', 'GET']],
  ])('is told in a problem document about %s', async (_case, status, code, args) => {
    const answer = await curl(temporaryDirectory(), enrollPath, args, bearer(await fleet.mint()));
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json\b/);
    expect({ status: answer.status, code: JSON.parse(answer.body).code }).toEqual({ status, code });
    expect(answer.headers.get('allow')).toBe(status === 405 ? 'POST' : null);
  });
});
