import { randomBytes, X509Certificate } from 'node:crypto';
import { Agent } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';
import { type DeviceId, EST_PATHS, type Identity, RENEWAL_INFO_PATH, type ServiceName } from '@rollcall/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { dns, freshKey, san, type TestCsrOptions, uri, writeTestCsr } from '../../test/fixtures/enroll/test-csr.ts';
import {
  type ClientCredentials,
  certificateOf,
  type EnrolledDevice,
  enrolledDevice,
  openTestAuthority,
  openTestEnrollment,
  type TestEnrollment,
  type TestResponse,
} from '../../test/fixtures/enroll/test-enrollment.ts';
import { DAY, TEST_LIFETIMES } from '../../test/fixtures/enroll/test-lifetimes.ts';
import { keySigner } from '../ca/signer.ts';
import { readIssuer } from '../x509/certificate-check.ts';
import { pem } from '../x509/pem.ts';
import { createLeafProfiles } from '../x509/profile.ts';
import { writeCertificate } from '../x509/x509-writer.ts';
import { issueServiceCertificate } from './service-certificates.ts';

let fleet: TestEnrollment;
let device: EnrolledDevice;

const forked: Identity[] = [];

beforeEach(async () => {
  forked.length = 0;
  fleet = await openTestEnrollment({ onForked: (identity) => forked.push(identity) });
  device = await fleet.enroll('dev-7');
});

function renew(
  client: ClientCredentials | undefined,
  order: TestCsrOptions | Buffer = {},
  agent?: Agent,
): Promise<TestResponse> {
  const body = Buffer.isBuffer(order) ? order : writeTestCsr(order);
  return fleet.send({ path: EST_PATHS.simplereenroll, body, ...(client && { client }), ...(agent && { agent }) });
}

function serialOf(answer: TestResponse): string {
  return certificateOf(answer).serialNumber.toLowerCase();
}

/** Key and cert only: what else a device record holds is not for TLS. */
function credentials({ cert, key }: ClientCredentials): ClientCredentials {
  return { cert, key };
}

describe('renewing with the current certificate', () => {
  it('gives the same device a certificate for its new key', async () => {
    const { privateKey, publicKey } = freshKey();
    const answer = await renew(credentials(device), {
      privateKey,
      publicKey,
      commonNames: ['dev-7'],
      extensions: [san(uri('spiffe://fleet.example/device/dev-7'))],
    });
    const renewed = enrolledDevice(answer, privateKey, publicKey, fleet.authority);
    expect(renewed.certificate.subjectAltName).toBe('URI:spiffe://fleet.example/device/dev-7');
    expect(renewed.serial).not.toBe(device.serial);
    const status = await fleet.registry.certificateStatus(renewed.serial);
    expect(status).toMatchObject({ state: 'good', holder: { id: 'dev-7' } });
    expect((await renew(credentials(renewed))).status).toBe(200);
  });

  it('works with the leaf certificate alone, because the server knows its issuer', async () => {
    expect((await renew({ cert: pem(device.certificate.raw), key: device.key })).status).toBe(200);
  });

  it('returns the same certificate for the same key, because the first response may have been lost', async () => {
    const csr = writeTestCsr();
    const first = await renew(credentials(device), csr);
    expect((await renew(credentials(device), csr)).body).toBe(first.body);
  });

  it('supersedes the old certificate once the new one was used, except for a repeated request', async () => {
    const csr = writeTestCsr();
    const first = await renew(credentials(device), csr);
    await fleet.registry.recordFirstUse(serialOf(first));
    expect((await renew(credentials(device), csr)).body).toBe(first.body);
    expect(await renew(credentials(device))).toMatchObject({ status: 403, code: 'certificate_superseded' });
    const asked = await fleet.send({ path: RENEWAL_INFO_PATH, method: 'GET', client: credentials(device) });
    expect(asked).toMatchObject({ status: 403, code: 'certificate_superseded' });
    expect(forked).toEqual([{ kind: 'device', id: 'dev-7' }]);
  });

  it('issues for a second key while the first is unused, and the one that is used first stays', async () => {
    const [one, other] = [await renew(credentials(device)), await renew(credentials(device))];
    expect([one.status, other.status]).toEqual([200, 200]);
    expect(forked).toEqual([]);
    await fleet.registry.recordFirstUse(serialOf(other));
    expect(await fleet.registry.certificateStatus(serialOf(one))).toMatchObject({ state: 'superseded' });
  });

  it('works for a service too', async () => {
    const { privateKey, publicKey } = freshKey();
    const csr = writeTestCsr({ privateKey, publicKey });
    const { certificatePem } = await issueServiceCertificate({ name: 'dashboard', csr, actor: 'operator/test' }, fleet);
    const client = { cert: certificatePem, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
    expect(certificateOf(await renew(client)).subjectAltName).toBe('URI:spiffe://fleet.example/service/dashboard');
    await fleet.registry.revokeService('dashboard' as ServiceName, 'superseded', 'operator/test');
    expect((await renew(client)).status).toBe(403);
  });

  it.each([
    ['its old key', () => ({ privateKey: device.privateKey, publicKey: device.publicKey }), 409, 'csr_key_reused'],
    ["another's name", () => ({ commonNames: ['dev-8'] }), 422, 'csr_identity_mismatch'],
    [
      "another's URI",
      () => ({ extensions: [san(uri('spiffe://fleet.example/device/dev-8'))] }),
      422,
      'csr_identity_mismatch',
    ],
    ['a host name', () => ({ extensions: [san(dns('localhost'))] }), 422, 'csr_identity_mismatch'],
    ['a broken signature', () => ({ signature: Buffer.alloc(70) }), 400, 'csr_signature_invalid'],
  ] as [string, () => TestCsrOptions, number, string][])('is refused with %s', async (_what, order, status, code) => {
    expect(await renew(credentials(device), order())).toMatchObject({ status, code });
  });

  it("is refused with another device's key", async () => {
    const other = await fleet.enroll('dev-8');
    const order = { privateKey: other.privateKey, publicKey: other.publicKey };
    expect(await renew(credentials(device), order)).toMatchObject({ status: 409, code: 'csr_key_reused' });
  });
});

describe('renewing without a certificate that is good now', () => {
  it('is refused without one, and a token is none', async () => {
    expect(await renew(undefined)).toMatchObject({ status: 401, code: 'certificate_required' });
    const answer = await fleet.send({
      path: EST_PATHS.simplereenroll,
      basic: ['dev-7', await fleet.createToken()],
      body: writeTestCsr(),
    });
    expect(answer).toMatchObject({ status: 401, code: 'certificate_required' });
  });

  it("is refused with another CA's, although every name in it is ours", async () => {
    const { authority } = await openTestAuthority();
    const { privateKey, publicKey } = freshKey();
    const { der } = await authority.issuer.issue(
      { kind: 'device', id: 'dev-7' as DeviceId },
      publicKey.export({ type: 'spki', format: 'der' }),
    );
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    for (const chain of ['', authority.trust.chainPem, authority.trust.pem]) {
      expect(await renew({ cert: pem(der) + chain, key })).toMatchObject({ status: 403, code: 'certificate_rejected' });
    }
  });

  it('is refused with one of our servers', async () => {
    const { cert, key } = fleet.authority.serverCertificates.current('broker');
    expect(await renew({ cert, key })).toMatchObject({ status: 403, code: 'certificate_rejected' });
  });

  it('is refused with one that the registry does not know', async () => {
    const { privateKey, publicKey } = freshKey();
    const { der } = await fleet.authority.issuer.issue(
      { kind: 'device', id: 'dev-7' as DeviceId },
      publicKey.export({ type: 'spki', format: 'der' }),
    );
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(await renew({ cert: pem(der), key })).toMatchObject({ status: 403, code: 'certificate_rejected' });
  });

  it('is refused with one that a device signed', async () => {
    const { privateKey, publicKey } = freshKey();
    const issuer = readIssuer(Buffer.from(device.certificate.raw));
    const profile = createLeafProfiles({
      issuer,
      trustDomain: 'fleet.example',
      status: undefined,
      lifetimes: TEST_LIFETIMES,
      randomBytes,
    });
    const contents = profile.client({
      identity: { kind: 'device', id: 'dev-8' as DeviceId },
      publicKeySpki: publicKey.export({ type: 'spki', format: 'der' }),
      now: fleet.clock.now,
    });
    const der = await writeCertificate(contents, keySigner(device.privateKey));
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(await renew({ cert: pem(der) + device.cert, key })).toMatchObject({
      status: 403,
      code: 'certificate_rejected',
    });
  });

  it('is refused once the device was revoked, and the log says whose certificate it was', async () => {
    await fleet.registry.revokeDevices(['dev-7' as DeviceId], 'keyCompromise', 'operator/test');
    expect(await renew(credentials(device))).toMatchObject({ status: 403, code: 'device_revoked' });
    expect(fleet.logged.lines().find(({ msg }) => msg === 'request refused')).toMatchObject({
      reason: 'revoked: keyCompromise',
      identity: 'device/dev-7',
      subject: 'CN=dev-7',
      issuer: device.certificate.issuer.split('\n').join(', '),
      serial: device.serial,
      san: 'URI:spiffe://fleet.example/device/dev-7',
      notAfter: device.certificate.validToDate.toISOString(),
      address: '127.0.0.1',
    });
  });

  it('is refused once the certificate gave way to that of a new enrollment', async () => {
    await fleet.enroll('dev-7', { device: 'dev-7' as DeviceId });
    expect(await renew(credentials(device))).toMatchObject({ status: 403, code: 'certificate_rejected' });
  });

  it('is refused when it has expired, on an older connection too', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const asked = { path: RENEWAL_INFO_PATH, client: credentials(device), agent };
    expect((await fleet.send(asked)).status).toBe(200);
    fleet.clock.now = device.certificate.validToDate.getTime();
    expect(await renew(credentials(device), {}, agent)).toMatchObject({ status: 403, code: 'certificate_expired' });
    expect(await fleet.send(asked)).toMatchObject({ status: 403, code: 'certificate_rejected' });
    agent.destroy();
  });

  it('is refused when it was issued long ago', async () => {
    const now = () => Date.now() - 100 * DAY * 1000;
    const lifetimes = { ...TEST_LIFETIMES, serverSeconds: 300 * DAY };
    const early = await openTestEnrollment({ now, authorityChanges: { now, lifetimes } });
    const old = await early.enroll('dev-9');
    const answer = await early.send({ path: EST_PATHS.simplereenroll, body: writeTestCsr(), client: credentials(old) });
    // OpenSSL judges by the machine's clock, whatever ours says.
    expect(answer).toMatchObject({ status: 403, code: 'certificate_rejected' });
    expect(early.logged.text()).toContain('"reason":"expired"');
  });

  it('is refused on a connection on which the device was good a moment ago', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    expect((await renew(credentials(device), {}, agent)).status).toBe(200);
    await fleet.registry.revokeDevices(['dev-7' as DeviceId], 'unspecified', 'operator/test');
    expect(await renew(credentials(device), {}, agent)).toMatchObject({ status: 403, code: 'device_revoked' });
    agent.destroy();
  });
});

describe('a saved TLS session', () => {
  interface Visit {
    readonly session: Buffer | undefined;
    readonly reused: boolean;
    readonly status: number;
  }

  /** Connects, asks for a renewal, and keeps whatever session the server gave. */
  function visit(options: {
    version: 'TLSv1.2' | 'TLSv1.3';
    session?: Buffer | undefined;
    client?: ClientCredentials;
  }): Promise<Visit> {
    return new Promise((resolve, reject) => {
      let session: Buffer | undefined;
      let text = '';
      let reused = true;
      const socket: TLSSocket = connect({
        host: '127.0.0.1',
        port: fleet.server.port,
        servername: 'localhost',
        ca: fleet.authority.trust.rootPem,
        minVersion: options.version,
        maxVersion: options.version,
        ...(options.session && { session: options.session }),
        ...options.client,
      });
      socket.on('session', (given: Buffer) => {
        session = given;
      });
      socket.on('secureConnect', () => {
        reused = socket.isSessionReused();
        const body = writeTestCsr().toString('base64');
        socket.write(
          `POST ${EST_PATHS.simplereenroll} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
        );
      });
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1');
      });
      socket.on('error', reject);
      socket.on('close', () =>
        resolve({
          session: session ?? socket.getSession(),
          reused,
          status: Number(text.slice(9, 12)),
        }),
      );
    });
  }

  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'of a client without a certificate never counts as one (%s)',
    async (version) => {
      const first = await visit({ version });
      const second = await visit({ version, session: first.session });
      expect([first.status, second.status]).toEqual([401, 401]);
      expect(second.reused).toBe(false);
    },
  );

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('of a device that was revoked since opens nothing (%s)', async (version) => {
    const first = await visit({ version, client: credentials(device) });
    expect(first.status).toBe(200);
    await fleet.registry.revokeDevices(['dev-7' as DeviceId], 'unspecified', 'operator/test');
    const withCertificate = await visit({ version, session: first.session, client: credentials(device) });
    const without = await visit({ version, session: first.session });
    expect([withCertificate.status, without.status]).toEqual([403, 401]);
    expect([withCertificate.reused, without.reused]).toEqual([false, false]);
  });

  it('is not reused by an agent that would', async () => {
    const agent = new Agent({ maxCachedSessions: 10 });
    expect((await renew(undefined, {}, agent)).status).toBe(401);
    expect((await renew(undefined, {}, agent)).status).toBe(401);
    agent.destroy();
  });
});

it('a device certificate of ours says nothing about servers', () => {
  expect(new X509Certificate(device.cert).checkHost('localhost')).toBeUndefined();
});
