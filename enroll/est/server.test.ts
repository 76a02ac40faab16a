import { randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { Agent } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { CRL_PATH, type DeviceId, EST_PATHS } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { createRequestLimits } from '../../limits/index.ts';
import { NO_REQUEST_LIMITS } from '../../limits/request-limits.ts';
import { installed } from '../../test/fixtures/client-programs.ts';
import { runVerifier } from '../../test/fixtures/enroll/external-verifiers.ts';
import { writeTestCsr } from '../../test/fixtures/enroll/test-csr.ts';
import { certificateOf, openTestEnrollment, type TestEnrollment } from '../../test/fixtures/enroll/test-enrollment.ts';
import { DAY } from '../../test/fixtures/enroll/test-lifetimes.ts';
import { createEnrollServer } from './server.ts';

/** Opens TLS and waits for the handshake's end; a rejection when the server closes before it. */
async function handshake(fleet: TestEnrollment, options: { maxVersion?: 'TLSv1.2' } = {}): Promise<TLSSocket> {
  const socket = connectTls({
    host: '127.0.0.1',
    port: fleet.server.port,
    servername: 'localhost',
    ca: fleet.authority.trust.rootPem,
    ...options,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed before the handshake')));
  });
  return socket;
}

/** A connection whose handshake the server has finished too: it has answered on it. */
async function answered(fleet: TestEnrollment): Promise<TLSSocket> {
  const socket = await handshake(fleet);
  socket.write(`GET ${EST_PATHS.csrattrs} HTTP/1.1\r\nhost: localhost\r\n\r\n`);
  await once(socket, 'data');
  return socket;
}

function closed(socket: Socket): Promise<unknown> {
  socket.on('error', () => {});
  socket.resume();
  return socket.destroyed ? Promise.resolve() : once(socket, 'close');
}

/** A server certificate of then is due now, and still valid. */
const THREE_WEEKS_AGO = Date.now() - 21 * DAY * 1000;

describe('the enroll server', () => {
  it('sends its CA certificates to every client, issuing CA and root', async () => {
    const fleet = await openTestEnrollment();
    const answer = await fleet.send({ path: EST_PATHS.cacerts });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toMatch(/^application\/pkcs7-mime/);
    const der = Buffer.from(answer.body, 'base64');
    for (const certificate of fleet.authority.trust.certificates) expect(der.includes(certificate)).toBe(true);
    if (!installed('openssl')) return;
    const { text } = runVerifier('openssl', ['pkcs7', '-inform', 'DER', '-print_certs', '-noout'], der);
    expect(text.match(/subject=CN = Rollcall (issuing|root) CA [0-9a-f]{8}/g)).toHaveLength(2);
  });

  it('sends the attributes that it prefers in a request', async () => {
    const fleet = await openTestEnrollment();
    const answer = await fleet.send({ path: EST_PATHS.csrattrs });
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/csrattrs' } });
    if (!installed('openssl')) return;
    const { text } = runVerifier('openssl', ['asn1parse', '-inform', 'DER'], Buffer.from(answer.body, 'base64'));
    expect(text).toMatch(/id-ecPublicKey(.|\n)*prime256v1(.|\n)*ecdsa-with-SHA256/);
  });

  it('publishes the revocation list, with the devices revoked until now', async () => {
    const fleet = await openTestEnrollment();
    const device = await fleet.enroll('dev-7');
    const before = await fleet.send({ path: CRL_PATH });
    expect(before).toMatchObject({ status: 200, headers: { 'content-type': 'application/pkix-crl' } });
    expect(Buffer.from(before.body, 'latin1').toString('hex')).not.toContain(device.serial);
    await fleet.registry.revokeDevices(['dev-7' as DeviceId], 'keyCompromise', 'operator/test');
    await fleet.authority.status.refresh();
    const after = await fleet.send({ path: CRL_PATH });
    expect(Buffer.from(after.body, 'latin1').toString('hex')).toContain(device.serial);
  });

  it('gives certificates that openssl reads from certs-only PKCS#7 and verifies', async () => {
    const fleet = await openTestEnrollment();
    const answer = await fleet.send({
      path: EST_PATHS.simpleenroll,
      basic: ['dev-7', await fleet.createToken()],
      body: writeTestCsr(),
    });
    expect(certificateOf(answer).subject).toBe('CN=dev-7');
    if (!installed('openssl')) return;
    const { text } = runVerifier(
      'openssl',
      ['pkcs7', '-inform', 'DER', '-print_certs'],
      Buffer.from(answer.body, 'base64'),
    );
    expect(text.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
    expect(new X509Certificate(text.slice(text.indexOf('-----BEGIN'))).subject).toBe('CN=dev-7');
  });

  it.each([
    ['GET', '/', 404, 'not_found'],
    ['GET', '/.well-known/est/serverkeygen', 404, 'not_found'],
    ['GET', '/.well-known/est/label/cacerts', 404, 'not_found'],
    ['GET', '/crl/../crl/issuing.crl/', 404, 'not_found'],
    ['GET', '/%00', 404, 'not_found'],
    ['GET', '/%zz', 400, 'request_invalid'],
    ['GET', EST_PATHS.simpleenroll, 405, 'method_not_allowed'],
    ['DELETE', EST_PATHS.simplereenroll, 405, 'method_not_allowed'],
    ['POST', EST_PATHS.cacerts, 405, 'method_not_allowed'],
    ['HEAD', EST_PATHS.cacerts, 405, undefined],
  ] as const)('answers %s %s with %i', async (method, path, status, code) => {
    const fleet = await openTestEnrollment();
    const answer = await fleet.send({ method, path });
    expect(answer).toMatchObject({ status, code });
    if (status === 405) expect(answer.headers.allow).toMatch(/^(GET|POST)$/);
  });

  it('answers every path without credentials correctly, for any content type', async () => {
    const fleet = await openTestEnrollment();
    for (const path of [EST_PATHS.simpleenroll, EST_PATHS.simplereenroll]) {
      for (const type of ['application/pkcs10', 'application/json', 'application/pkcs7-mime', 'x/y']) {
        const answer = await fleet.send({ path, body: writeTestCsr(), headers: { 'content-type': type } });
        expect(answer.status).toBe(401);
        expect(answer.headers['www-authenticate']).toBeDefined();
      }
    }
  });

  it('speaks TLS 1.2 and 1.3, and nothing older', async () => {
    const fleet = await openTestEnrollment();
    const old = await handshake(fleet, { maxVersion: 'TLSv1.2' });
    const current = await handshake(fleet);
    expect([old.getProtocol(), current.getProtocol()]).toEqual(['TLSv1.2', 'TLSv1.3']);
    old.destroy();
    current.destroy();
    const socket = connectTls({
      host: '127.0.0.1',
      port: fleet.server.port,
      ca: fleet.authority.trust.rootPem,
      servername: 'localhost',
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toMatch(/PROTOCOL_VERSION|NO_PROTOCOLS/);
  });

  it('reports a port that is in use, and an address that is not of this machine', async () => {
    const fleet = await openTestEnrollment();
    const requestLimits = createRequestLimits(NO_REQUEST_LIMITS);
    const { authority, registry, logged } = fleet;
    const options = { authority, registry, requestLimits, now: Date.now, log: logged.log };
    await expect(createEnrollServer({ ...options, host: '127.0.0.1', port: fleet.server.port })).rejects.toMatchObject({
      code: 'address_in_use',
    });
    await expect(createEnrollServer({ ...options, host: '192.0.2.1', port: 0 })).rejects.toMatchObject({
      code: 'config_invalid',
    });
  });

  it('closes although clients hold connections open, and is closed when close resolves', async () => {
    const fleet = await openTestEnrollment();
    const idle = await handshake(fleet);
    const silent = connectTcp(fleet.server.port, '127.0.0.1');
    await once(silent, 'connect');
    await Promise.all([fleet.server.close(), closed(idle), closed(silent)]);
    await expect(handshake(fleet)).rejects.toThrow();
    await fleet.server.close();
  });

  it('survives input that is neither HTTP nor TLS', async () => {
    const fleet = await openTestEnrollment();
    const junk = connectTcp(fleet.server.port, '127.0.0.1');
    junk.write(randomBytes(4_000));
    await closed(junk);
    const gone = connectTcp(fleet.server.port, '127.0.0.1');
    await once(gone, 'connect');
    gone.resetAndDestroy();
    for (const text of [
      '\0\0\0\0\r\n\r\n',
      'GET\r\n\r\n',
      `GET / HTTP/1.1\r\nx: ${'a'.repeat(10_000)}\r\n\r\n`,
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n',
    ]) {
      const socket = await handshake(fleet);
      socket.write(text);
      await closed(socket);
    }
    expect((await fleet.send({ path: EST_PATHS.cacerts })).status).toBe(200);
  });
});

describe('a new server certificate', () => {
  it('is used for new connections while an old one goes on', async () => {
    const fleet = await openTestEnrollment({ startAt: THREE_WEEKS_AGO });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    await fleet.send({ path: EST_PATHS.cacerts, agent });
    const [old] = Object.values(agent.freeSockets)[0] as TLSSocket[];
    const oldSerial = old?.getPeerX509Certificate()?.serialNumber;

    fleet.clock.now = Date.now();
    await fleet.authority.serverCertificates.renewDue();

    expect((await fleet.send({ path: EST_PATHS.cacerts, agent })).status).toBe(200);
    expect(Object.values(agent.freeSockets)[0]?.[0]).toBe(old);
    expect(old?.getPeerX509Certificate()?.serialNumber).toBe(oldSerial);
    const fresh = await handshake(fleet);
    const serial = new X509Certificate(fleet.authority.serverCertificates.current('enroll').cert).serialNumber;
    expect(fresh.getPeerX509Certificate()?.serialNumber).toBe(serial);
    expect(serial).not.toBe(oldSerial);
    fresh.destroy();
    agent.destroy();
  });

  it('keeps the other TLS settings of the listener', async () => {
    const fleet = await openTestEnrollment({ startAt: THREE_WEEKS_AGO });
    fleet.clock.now = Date.now();
    await fleet.authority.serverCertificates.renewDue();
    const device = await fleet.enroll('dev-7');
    const client = { cert: device.cert, key: device.key };
    expect((await fleet.send({ path: EST_PATHS.simplereenroll, client, body: writeTestCsr() })).status).toBe(200);
    const socket = await handshake(fleet, { maxVersion: 'TLSv1.2' });
    expect(socket.getTLSTicket()).toBeUndefined();
    socket.destroy();
  });
});

describe('limits', () => {
  it('refuse an address that enrolls too often, before its token is checked, with a time to retry', async () => {
    const fleet = await openTestEnrollment({ limits: { enrollmentsPerSecondPerAddress: 0.001 } });
    const token = await fleet.createToken();
    const ask = () => fleet.send({ path: EST_PATHS.simpleenroll, basic: ['', token], body: writeTestCsr() });
    expect((await ask()).status).toBe(200);
    const refused = await ask();
    expect(refused).toMatchObject({ status: 429, code: 'rate_limited' });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(999);
    expect((await fleet.send({ path: EST_PATHS.cacerts })).status).toBe(200);
  });

  it('apply to all clients together too, and renewals have their own', async () => {
    const fleet = await openTestEnrollment({ limits: { enrollmentsPerSecond: 0.001, renewalsPerSecond: 0.001 } });
    const device = await fleet.enroll('dev-7');
    const client = { cert: device.cert, key: device.key };
    const token = await fleet.createToken();
    const enroll = () => fleet.send({ path: EST_PATHS.simpleenroll, basic: ['', token], body: writeTestCsr() });
    const renew = () => fleet.send({ path: EST_PATHS.simplereenroll, client, body: writeTestCsr() });
    expect([(await enroll()).status, (await renew()).status, (await renew()).status]).toEqual([429, 200, 429]);
  });

  it('of renewals are not used up by clients without a certificate', async () => {
    const fleet = await openTestEnrollment({ limits: { renewalsPerSecond: 0.001 } });
    const device = await fleet.enroll('dev-7');
    for (let n = 0; n < 3; n += 1)
      expect((await fleet.send({ path: EST_PATHS.simplereenroll, body: writeTestCsr() })).status).toBe(401);
    const client = { cert: device.cert, key: device.key };
    expect((await fleet.send({ path: EST_PATHS.simplereenroll, client, body: writeTestCsr() })).status).toBe(200);
  });

  it('close connections over the rate before their handshake', async () => {
    const fleet = await openTestEnrollment({ limits: { connectionsPerSecondPerAddress: 0.001 } });
    (await handshake(fleet)).destroy();
    await expect(handshake(fleet)).rejects.toThrow();
    expect(fleet.server.counters()).toMatchObject({ 'enroll_connections_refused_total/reason=too many per second': 1 });
    expect(fleet.logged.lines()).toContainEqual(
      expect.objectContaining({ msg: 'connection refused before its handshake', address: '127.0.0.1' }),
    );
  });

  it('close connections over the open limit, and accept others when one closes', async () => {
    for (const limits of [{ openConnections: 2 }, { openConnectionsPerAddress: 2 }]) {
      const fleet = await openTestEnrollment({ limits });
      const first = await handshake(fleet);
      const second = await handshake(fleet);
      await expect(handshake(fleet)).rejects.toThrow();
      first.destroy();
      await expect
        .poll(() =>
          handshake(fleet).then(
            (socket) => socket.destroy().destroyed,
            () => false,
          ),
        )
        .toBe(true);
      second.destroy();
    }
  });

  it('close connections over the half-open limit, whatever is open', async () => {
    for (const limits of [{ halfOpenConnections: 1 }, { halfOpenConnectionsPerAddress: 1 }]) {
      const fleet = await openTestEnrollment({ limits });
      const whole = [await answered(fleet), await answered(fleet)];
      const half = connectTcp(fleet.server.port, '127.0.0.1');
      await once(half, 'connect');
      await expect
        .poll(() =>
          handshake(fleet).then(
            (socket) => socket.destroy().destroyed,
            () => false,
          ),
        )
        .toBe(false);
      half.destroy();
      await expect
        .poll(() =>
          handshake(fleet).then(
            (socket) => socket.destroy().destroyed,
            () => false,
          ),
        )
        .toBe(true);
      for (const socket of whole) socket.destroy();
    }
  });

  it('end a connection that does not finish its handshake, its request line, its headers or its body', async () => {
    const fleet = await openTestEnrollment({ timeoutMs: 1_500 });
    const silent = connectTcp(fleet.server.port, '127.0.0.1');
    const slow = async (text: string) => {
      const socket = await handshake(fleet);
      socket.write(text);
      return closed(socket);
    };
    const basic = Buffer.from(`:${await fleet.createToken()}`).toString('base64');
    await Promise.all([
      closed(silent),
      slow(''),
      slow('POST /.well'),
      slow('POST /a HTTP/1.1\r\nhost: localhost\r\n'),
      slow(
        `POST ${EST_PATHS.simpleenroll} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic ${basic}\r\ncontent-type: application/pkcs10\r\ncontent-length: 500\r\n\r\nAAAA`,
      ),
    ]);
  });
});
