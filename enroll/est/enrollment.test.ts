import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CSR_BODY_MAX,
  type DeviceId,
  EST_PATHS,
  formatBootstrapToken,
  MQTT_URL_HEADER,
  parseBootstrapToken,
} from '@rollcall/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  dns,
  extension,
  freshKey,
  san,
  type TestCsrOptions,
  uri,
  writeTestCsr,
} from '../../test/fixtures/enroll/test-csr.ts';
import {
  certificateOf,
  openTestEnrollment,
  type TestEnrollment,
  type TestRequest,
  type TestResponse,
} from '../../test/fixtures/enroll/test-enrollment.ts';
import { boolean, sequence } from '../x509/der-writer.ts';
import { generateDeviceId } from './enrollment.ts';

let fleet: TestEnrollment;

beforeEach(async () => {
  fleet = await openTestEnrollment({ mqttUrl: 'mqtts://localhost:8883' });
});

function enroll(userName: string, token: string, order: TestCsrOptions | Buffer = {}): Promise<TestResponse> {
  const body = Buffer.isBuffer(order) ? order : writeTestCsr(order);
  return fleet.send({ path: EST_PATHS.simpleenroll, basic: [userName, token], body });
}

async function deviceIds(): Promise<readonly string[]> {
  return (await fleet.registry.listDevices({ limit: 100 })).map(({ id }) => id);
}

describe('enrolling with a bootstrap token', () => {
  it('gives the device a certificate of its own name, recorded before the response', async () => {
    const { privateKey, publicKey } = freshKey();
    const answer = await enroll('dev-7', await fleet.createToken(), { privateKey, publicKey, commonNames: ['dev-7'] });
    const certificate = certificateOf(answer);
    expect(certificate.subjectAltName).toBe('URI:spiffe://fleet.example/device/dev-7');
    expect(certificate.publicKey.equals(publicKey)).toBe(true);
    expect(await fleet.registry.certificateStatus(certificate.serialNumber.toLowerCase())).toMatchObject({
      state: 'good',
      holder: { id: 'dev-7' },
    });
  });

  it('answers as real clients require: one line of base64, its length, and the URL of the broker', async () => {
    const { headers, body } = await enroll('dev-7', await fleet.createToken());
    expect(body).toMatch(/^[A-Za-z0-9+/]+={0,2}$/);
    expect(headers['content-length']).toBe(String(body.length));
    expect(headers['content-type']).toBe('application/pkcs7-mime; smime-type=certs-only');
    expect(headers['transfer-encoding']).toBeUndefined();
    expect(headers['cache-control']).toBe('no-store');
    expect(headers[MQTT_URL_HEADER]).toBe('mqtts://localhost:8883');
  });

  it('reads base64 with line breaks, of either kind, and content type parameters', async () => {
    const wrap = (eol: string) => writeTestCsr().toString('base64').replace(/.{64}/g, `$&${eol}`) + eol;
    for (const [n, eol] of ['\n', '\r\n'].entries()) {
      const headers = { 'content-type': 'application/pkcs10; charset=utf-8', 'content-transfer-encoding': 'base64' };
      const order: TestRequest = {
        path: EST_PATHS.simpleenroll,
        basic: [`dev-${n}`, await fleet.createToken()],
        body: wrap(eol),
        headers,
      };
      expect((await fleet.send(order)).status).toBe(200);
    }
  });

  it.each(['', 'device', 'token', 'rollcall'])(
    'lets the server choose the id when the user name is "%s"',
    async (userName) => {
      const certificate = certificateOf(
        await enroll(userName, await fleet.createToken(), { commonNames: ['whatever I call myself'] }),
      );
      expect(certificate.subject).toMatch(/^CN=dev-[a-z2-7]{12}$/);
    },
  );

  it('takes the token as Bearer too', async () => {
    const headers = { authorization: `Bearer ${await fleet.createToken()}` };
    const answer = await fleet.send({ path: EST_PATHS.simpleenroll, headers, body: writeTestCsr() });
    expect(certificateOf(answer).subject).toMatch(/^CN=dev-/);
  });

  it('gives the id that the token was created for, requested or not', async () => {
    const order = { device: 'dev-7' as DeviceId };
    expect(certificateOf(await enroll('', await fleet.createToken(order))).subject).toBe('CN=dev-7');
    expect(certificateOf(await enroll('dev-7', await fleet.createToken(order))).subject).toBe('CN=dev-7');
  });

  it('generates another id when the first is in use', async () => {
    const first = generateDeviceId((size) => Buffer.alloc(size, 1));
    let draws = 0;
    const choosing = await openTestEnrollment({
      randomBytes: (size) => {
        draws += 1;
        return Buffer.alloc(size, draws === 1 ? 1 : 2);
      },
    });
    await choosing.enroll(first);
    const answer = await choosing.send({
      path: EST_PATHS.simpleenroll,
      basic: ['', await choosing.createToken()],
      body: writeTestCsr(),
    });
    expect(certificateOf(answer).subject).toBe(`CN=${generateDeviceId((size) => Buffer.alloc(size, 2))}`);
    expect(draws).toBe(2);
  });

  it('returns the same certificate for the same token and key, and consumes no other use', async () => {
    const token = await fleet.createToken();
    const csr = writeTestCsr();
    const first = await enroll('', token, csr);
    const again = await enroll('', token, csr);
    expect(again.body).toBe(first.body);
    expect((await fleet.registry.listTokens())[0]).toMatchObject({ uses: 1, state: 'spent' });
    expect(await deviceIds()).toHaveLength(1);
  });

  it('enrolls exactly one of two concurrent requests with one token', async () => {
    for (let race = 0; race < 5; race += 1) {
      const token = await fleet.createToken();
      const answers = await Promise.all([enroll('', token), enroll('', token)]);
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 401]);
    }
    expect(await deviceIds()).toHaveLength(5);
  });

  it('gives two concurrent requests with one token and one key one certificate', async () => {
    const token = await fleet.createToken();
    const csr = writeTestCsr();
    const answers = await Promise.all([enroll('', token, csr), enroll('', token, csr)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(answers[0]?.body).toBe(answers[1]?.body);
    expect(await deviceIds()).toHaveLength(1);
  });
});

describe('a token that is rejected', () => {
  async function spent(): Promise<string> {
    const token = await fleet.createToken();
    await enroll('', token);
    return token;
  }
  async function voided(): Promise<string> {
    const token = await fleet.createToken();
    await fleet.registry.revokeToken(parseBootstrapToken(token)?.id ?? '', 'operator/test');
    return token;
  }
  async function expired(): Promise<string> {
    const token = await fleet.createToken({ ttlSeconds: 60 });
    fleet.clock.now += 61_000;
    return token;
  }
  async function changed(change: Partial<ReturnType<typeof parseBootstrapToken>>): Promise<string> {
    const token = parseBootstrapToken(await fleet.createToken());
    if (token === undefined) throw new Error('expected a token');
    return formatBootstrapToken({ ...token, ...change });
  }

  const WORTHLESS: [string, () => Promise<string>, string][] = [
    ['unknown', () => changed({ id: '0123456789abcdef' }), 'unknown_token'],
    ['wrong in its secret', () => changed({ secret: Buffer.alloc(20, 1).toString('base64url') }), 'wrong_secret'],
    ['expired', expired, 'expired'],
    ['spent', spent, 'spent'],
    ['void', voided, 'void'],
    ['minted for another root', () => changed({ rootSha256: '00'.repeat(32) }), 'the token pins another root'],
    ['no token at all', async () => 'hunter2', 'expected the text of a bootstrap token'],
    ['spelled differently', async () => `${await fleet.createToken()}=`, 'expected the text of a bootstrap token'],
  ];

  it.each(WORTHLESS)('because it is %s hears the one answer, and the log says which', async (_what, make, reason) => {
    const token = await make();
    const before = await deviceIds();
    const answer = await enroll('dev-9', token);
    const { time, ...document } = JSON.parse(answer.body) as Record<string, unknown>;
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toContain('Basic realm="rollcall"');
    expect(document).toEqual({
      type: 'urn:rollcall:problem:token_rejected',
      title: 'the bootstrap token was not accepted',
      status: 401,
      code: 'token_rejected',
      detail: 'the bootstrap token was not accepted',
    });
    expect(time).toBe(new Date(fleet.clock.now).toISOString());
    expect(fleet.logged.lines().at(-1)).toMatchObject({ msg: 'request refused', code: 'token_rejected', reason });
    expect(await deviceIds()).toEqual(before);
  });

  it('gets the same response to the last header, for every cause', async () => {
    const shapes = new Set<string>();
    for (const [, make] of WORTHLESS) {
      const { headers, body } = await enroll('dev-9', await make());
      shapes.add(JSON.stringify({ ...headers, date: undefined, body: body.replace(/"time":"[^"]+"/, '') }));
    }
    expect(shapes.size).toBe(1);
  });

  it('is not one whose host this server does not have; the log notes it', async () => {
    const answer = await enroll('dev-9', await changed({ enrollUrl: 'https://elsewhere.example:8443' }));
    expect(answer.status).toBe(200);
    expect(fleet.logged.text()).toContain('the token names a host that this server does not have');
  });
});

describe('credentials', () => {
  it.each([
    ['none', undefined],
    ['another scheme', 'Digest username="a"'],
    ['Basic without a colon', `Basic ${Buffer.from('abc').toString('base64')}`],
    ['Basic that is not base64', 'Basic ***'],
  ])('are asked for when there is %s', async (_what, authorization) => {
    const headers = authorization === undefined ? {} : { authorization };
    const answer = await fleet.send({ path: EST_PATHS.simpleenroll, headers, body: writeTestCsr() });
    expect(answer).toMatchObject({ status: 401, code: 'credentials_missing' });
    expect(answer.headers['www-authenticate']).toContain('Bearer realm="rollcall"');
  });

  it.each(['a+b', 'a#', 'a/b', 'a\0b', 'a b', 'ünter', '.hidden', '../../up', 'a'.repeat(65), '__proto__', 'dev-7\n'])(
    'name no device with the id "%s"',
    async (id) => {
      const expected = { status: 400, code: 'device_id_invalid' };
      expect(await enroll(id, await fleet.createToken())).toMatchObject(expected);
      expect(await deviceIds()).toEqual([]);
    },
  );

  it('may name a device called like a property of every object', async () => {
    for (const id of ['constructor', 'toString', 'hasOwnProperty']) {
      expect(certificateOf(await enroll(id, await fleet.createToken())).subject).toBe(`CN=${id}`);
    }
  });

  it('do not let a token enroll another device than it was created for', async () => {
    const token = await fleet.createToken({ device: 'dev-7' as DeviceId });
    expect(await enroll('dev-8', token)).toMatchObject({ status: 403, code: 'device_id_not_allowed' });
  });

  it('do not let a token take over an existing device, unless it was created for it', async () => {
    await fleet.enroll('dev-7');
    expect(await enroll('dev-7', await fleet.createToken())).toMatchObject({ status: 409, code: 'device_exists' });
    expect((await enroll('dev-7', await fleet.createToken({ device: 'dev-7' as DeviceId }))).status).toBe(200);
  });
});

describe('a request that does not match its credential', () => {
  it.each([
    ['another common name', { commonNames: ['dev-8'] }],
    ['two common names', { commonNames: ['dev-7', 'dev-8'] }],
    ["another device's URI", { extensions: [san(uri('spiffe://fleet.example/device/dev-8'))] }],
    ["another trust domain's URI", { extensions: [san(uri('spiffe://other.example/device/dev-7'))] }],
    ["a service's URI", { extensions: [san(uri('spiffe://fleet.example/service/dev-7'))] }],
    ['a host name', { extensions: [san(dns('localhost'))] }],
    ['its own URI and a host name', { extensions: [san(uri('spiffe://fleet.example/device/dev-7'), dns('a'))] }],
  ] satisfies [string, TestCsrOptions][])('because it names %s is refused', async (_what, order) => {
    expect(await enroll('dev-7', await fleet.createToken(), order)).toMatchObject({
      status: 422,
      code: 'csr_identity_mismatch',
    });
    const minted = await fleet.createToken({ device: 'dev-7' as DeviceId });
    expect(await enroll('', minted, order)).toMatchObject({ status: 422, code: 'csr_identity_mismatch' });
    expect(await deviceIds()).toEqual([]);
  });

  it('is not one that names its own URI', async () => {
    const order = { commonNames: ['dev-7'], extensions: [san(uri('spiffe://fleet.example/device/dev-7'))] };
    expect((await enroll('dev-7', await fleet.createToken(), order)).status).toBe(200);
  });

  it('that asks for a name where the server chooses is refused', async () => {
    const order = { extensions: [san(uri('spiffe://fleet.example/device/dev-7'))] };
    expect(await enroll('', await fleet.createToken(), order)).toMatchObject({
      status: 422,
      code: 'csr_identity_mismatch',
    });
  });

  it('that asks to be a CA is refused, and consumes no use of the token', async () => {
    const token = await fleet.createToken();
    const order = { extensions: [extension('2.5.29.19', sequence(boolean(true)), 'critical')] };
    expect(await enroll('', token, order)).toMatchObject({ status: 422, code: 'csr_extension_forbidden' });
    expect((await enroll('', token)).status).toBe(200);
  });

  it('with the key of another device is refused, also later', async () => {
    const device = await fleet.enroll('dev-7');
    expect(await enroll('dev-8', await fleet.createToken(), device)).toMatchObject({
      status: 409,
      code: 'csr_key_reused',
    });
    await fleet.registry.revokeDevices(['dev-7' as DeviceId], 'keyCompromise', 'operator/test');
    expect(await enroll('dev-8', await fleet.createToken(), device)).toMatchObject({
      status: 409,
      code: 'csr_key_reused',
    });
  });

  it('with the key of a CA or a server is refused', async () => {
    const { createPrivateKey, createPublicKey } = await import('node:crypto');
    const keys = [
      readFileSync(join(fleet.directory, 'ca', 'issuing.key'), 'utf8'),
      readFileSync(join(fleet.directory, 'ca', 'root.key'), 'utf8'),
      fleet.authority.serverCertificates.current('broker').key,
    ];
    for (const pem of keys) {
      const privateKey = createPrivateKey(pem);
      const order = { privateKey, publicKey: createPublicKey(privateKey) };
      expect(await enroll('dev-7', await fleet.createToken(), order)).toMatchObject({
        status: 409,
        code: 'csr_key_reused',
      });
    }
  });

  it.each([
    ['is not base64', '!!!!', 'csr_malformed', 400],
    ['is base64 with padding in the middle', 'AAA=AAA=', 'csr_malformed', 400],
    ['has a character that decoders skip', `${writeTestCsr().toString('base64')}!`, 'csr_malformed', 400],
    [
      'is base64 twice',
      `${writeTestCsr().toString('base64')}${writeTestCsr().toString('base64')}`,
      'csr_malformed',
      400,
    ],
    ['is raw DER', writeTestCsr().toString('latin1'), 'csr_malformed', 400],
    [
      'is PEM',
      `-----BEGIN CERTIFICATE REQUEST-----\n${writeTestCsr().toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`,
      'csr_malformed',
      400,
    ],
    ['is empty', '', 'csr_malformed', 400],
    ['is as long as it may be and still no request', 'A'.repeat(CSR_BODY_MAX), 'csr_malformed', 400],
    ['is one byte too long', 'A'.repeat(CSR_BODY_MAX + 1), 'body_too_large', 413],
  ])('because its body %s is refused', async (_what, body, code, status) => {
    const answer = await fleet.send({ path: EST_PATHS.simpleenroll, basic: ['', await fleet.createToken()], body });
    expect(answer).toMatchObject({ status, code });
  });

  it.each(['application/json', 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'])(
    'because it is %s is refused',
    async (type) => {
      const headers = { 'content-type': type };
      const answer = await fleet.send({
        path: EST_PATHS.simpleenroll,
        basic: ['', await fleet.createToken()],
        body: '{"__proto__":{}}',
        headers,
      });
      expect(answer).toMatchObject({ status: 415, code: 'media_type_unsupported' });
    },
  );
});

describe('the log of enrollments', () => {
  it('names device and token of each enrollment, and contains no secret and no request', async () => {
    const token = await fleet.createToken();
    const secret = parseBootstrapToken(token)?.secret ?? '';
    const csr = writeTestCsr();
    await enroll('dev-7', token, csr);
    await enroll('dev-8', token);
    await enroll('dev-8', `${token}x`, Buffer.from('junk'));
    await fleet.send({
      path: EST_PATHS.simpleenroll,
      headers: { authorization: `Bearer ${token}` },
      body: `${csr.toString('base64')}!`,
    });
    const text = fleet.logged.text();
    expect(fleet.logged.lines()).toContainEqual(
      expect.objectContaining({ msg: 'device enrolled', device: 'dev-7', tokenId: parseBootstrapToken(token)?.id }),
    );
    for (const hidden of [
      token,
      secret,
      Buffer.from(`dev-7:${token}`).toString('base64'),
      csr.toString('base64').slice(0, 40),
    ]) {
      expect(text).not.toContain(hidden);
    }
  });

  it('and the counters count each case', async () => {
    await enroll('dev-7', await fleet.createToken());
    await enroll('dev-8', 'nonsense');
    expect(fleet.server.counters()).toMatchObject({
      enrollments_total: 1,
      'enroll_refused_total/code=token_rejected': 1,
    });
  });
});

describe('a generated id', () => {
  it('has 60 random bits in lower-case base32', () => {
    const all = Buffer.from(Array.from({ length: 12 }, (_, n) => n * 21));
    expect(generateDeviceId(() => all)).toMatch(/^dev-[a-z2-7]{12}$/);
  });
});
