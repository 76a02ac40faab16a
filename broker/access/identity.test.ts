/** Who gets in: the certificate gate, over real mutual TLS. */

import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import {
  asAuthority,
  createIssuing,
  createRoot,
  dnsName,
  issue,
  uriName,
} from '../../test/fixtures/broker/certificates.ts';
import {
  device,
  issuing,
  LOGS_OF_ONE_BROKER,
  root,
  service,
  TestBroker,
  type TestBrokerOptions,
} from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
  return testBroker;
};
afterEach(() => testBroker?.close());

const uriOf = (id: string) => uriName(`spiffe://fleet.example/device/${id}`);

/** Opens, tries to connect, and says how the broker answered and why. */
async function attempt(credentials: Parameters<TestBroker['open']>[0], clientId = 'dev-1') {
  const client = await testBroker.open(credentials);
  const code = await client.connect({ clientId });
  await client.closed;
  const failure = await testBroker.event('connect_failed');
  return { code, reason: failure.reason, failure };
}

describe('a connection', () => {
  it('with a certificate of this fleet becomes a session', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    await testBroker.session(credentials, { clientId: 'dev-1' });
    expect(testBroker.broker.sessions()).toEqual([
      expect.objectContaining({
        identity: device('dev-1'),
        clientId: 'dev-1',
        serial: credentials.serial,
        address: '127.0.0.1',
      }),
    ]);
    expect(await testBroker.event('connected')).toMatchObject({
      identity: device('dev-1'),
      serial: credentials.serial,
    });
  });

  it('may send its own certificate alone, or with it the issuing CA, or the root as well', async () => {
    await start();
    const { chain, key } = testBroker.enroll(device('dev-1'));
    const leaf = chain.slice(0, -issuing.pem.length);
    expect(leaf.match(/BEGIN/g)).toHaveLength(1);
    for (const sent of [leaf, chain, chain + root.pem]) {
      const client = await testBroker.open({ chain: sent, key });
      expect(await client.connect({ clientId: 'dev-1' })).toBe(0);
      client.destroy();
      await testBroker.event('disconnected');
      testBroker.events.length = 0;
    }
  });

  it('is accepted over TLS 1.2 as well', async () => {
    await start();
    const client = await testBroker.open(testBroker.enroll(device('dev-1')), { maxVersion: 'TLSv1.2' });
    expect(client.socket.getProtocol()).toBe('TLSv1.2');
    expect(await client.connect({ clientId: 'dev-1' })).toBe(0);
  });

  it('without a certificate is refused', async () => {
    await start();
    expect(await attempt(undefined)).toMatchObject({ code: 5, reason: 'certificate_missing' });
  });

  it('with a certificate of another authority is refused', async () => {
    await start();
    const stranger = createIssuing(createRoot('test root'), 'test issuing');
    const credentials = issue({ issuer: stranger, names: [uriOf('dev-1')], purposes: ['clientAuth'] });
    expect(await attempt(credentials)).toMatchObject({ code: 5, reason: 'certificate_untrusted' });
  });

  it('with a certificate of another authority under our root is refused', async () => {
    await start();
    const sibling = createIssuing(root, 'other issuing');
    const credentials = testBroker.enroll(device('dev-1'), { issuer: sibling });
    expect(await attempt(credentials)).toMatchObject({ code: 5, reason: 'issuer_foreign' });
  });

  it('with a certificate of a CA of the same root and the same name as the issuing CA is refused', async () => {
    await start();
    // As the key of an issuing CA that is retired could sign it.
    const namesake = { ...createIssuing(root, 'test issuing'), keyId: issuing.keyId };
    const credentials = testBroker.enroll(device('dev-1'), { issuer: namesake });
    expect(await attempt(credentials)).toMatchObject({ code: 5, reason: 'certificate_untrusted' });
  });

  it('with a certificate of the root itself is refused', async () => {
    await start();
    expect(await attempt(testBroker.enroll(device('dev-1'), { issuer: root }))).toMatchObject({
      reason: 'issuer_foreign',
    });
  });

  it('with a certificate that another device signed is refused', async () => {
    await start();
    const signer = asAuthority(testBroker.enroll(device('dev-1')), 'dev-1');
    const credentials = testBroker.enroll(device('dev-2'), { issuer: signer });
    expect(await attempt(credentials, 'dev-2')).toMatchObject({ code: 5, reason: 'certificate_untrusted' });
  });

  it('with an expired certificate is refused', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'), { notBefore: Date.now() - 9e7, notAfter: Date.now() - 1e3 });
    expect(await attempt(credentials)).toMatchObject({ code: 5, reason: 'certificate_expired' });
  });

  it('with a certificate that is not yet valid is refused', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'), { notBefore: Date.now() + 1e6 });
    expect(await attempt(credentials)).toMatchObject({ code: 5, reason: 'certificate_not_yet_valid' });
  });

  it('with a certificate that has expired by the broker clock is refused', async () => {
    await start({ now: () => Date.now() + 40 * 86_400_000 });
    expect(await attempt(testBroker.enroll(device('dev-1')))).toMatchObject({ code: 5, reason: 'certificate_expired' });
  });

  it('with a server certificate is refused', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'), { purposes: ['serverAuth'], names: [dnsName('localhost')] });
    expect(await attempt(credentials)).toMatchObject({ code: 5, reason: 'purpose_wrong' });
  });

  it.each([
    ['both purposes', { purposes: ['clientAuth', 'serverAuth'] }],
    ['no purpose', { purposes: [] }],
    ['the rights of an authority', { isAuthority: 'yes', purposes: ['clientAuth'] }],
  ] as const)('with a certificate of %s is refused', async (_, order) => {
    await start();
    expect(await attempt(testBroker.enroll(device('dev-1'), order))).toMatchObject({
      code: 5,
      reason: 'purpose_wrong',
    });
  });

  it('with a certificate that was never recorded is refused', async () => {
    await start();
    const credentials = issue({ issuer: issuing, names: [uriOf('dev-1')], purposes: ['clientAuth'] });
    expect(await attempt(credentials)).toMatchObject({ code: 5, reason: 'serial_unknown' });
  });

  it('with a revoked certificate is refused, and the refusal names its holder', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    testBroker.revokeInRegistry(device('dev-1'));
    const { code, failure } = await attempt(credentials);
    expect(code).toBe(5);
    expect(failure).toMatchObject({ reason: 'revoked', identity: device('dev-1'), serial: credentials.serial });
  });

  it.each([
    ['another device', [uriOf('dev-2')]],
    ['itself and another device', [uriOf('dev-1'), uriOf('dev-2')]],
    ['itself twice', [uriOf('dev-1'), uriOf('dev-1')]],
    ['itself and a host', [uriOf('dev-1'), dnsName('dev-1')]],
    ['a host that looks like an address of it', [dnsName('x, URI:spiffe://fleet.example/device/dev-1')]],
    ['itself in another fleet', [uriName('spiffe://other.example/device/dev-1')]],
    ['a service of its name', [uriName('spiffe://fleet.example/service/dev-1')]],
    ['itself with a NUL', [uriName('spiffe://fleet.example/device/dev-1\0.example')]],
    ['itself with a path', [uriName('spiffe://fleet.example/device/dev-1/x')]],
    ['itself with a wildcard', [uriName('spiffe://fleet.example/device/+')]],
    ['nobody', []],
  ])('whose certificate names %s is refused', async (_, names) => {
    await start();
    const result = await attempt(testBroker.enroll(device('dev-1'), { names }));
    expect(result).toMatchObject({ code: 5, reason: 'identity_mismatch' });
  });

  it('is identified by serial and URI, whatever its common names say', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'), { commonNames: ['dev-2', 'dev-3\n"admin"'] });
    expect(await testBroker.open(credentials).then((client) => client.connect({ clientId: 'dev-2' }))).toBe(2);
    await testBroker.session(credentials, { clientId: 'dev-1' });
    expect(testBroker.broker.sessions().map(({ identity }) => identity)).toEqual([device('dev-1')]);
  });

  it('is refused when the registry does not answer', async () => {
    await start({ certificateStatus: () => Promise.reject(new Error('disk on fire')) });
    expect(await attempt(testBroker.enroll(device('dev-1')))).toMatchObject({ code: 3, reason: 'registry_failed' });
  });

  it.each([
    ['+', '+'],
    ['#', '#'],
    ['a/b', 'a/b'],
    ['dev 1', 'dev 1'],
    // A client id that violates the protocol may be refused before the registry has answered.
    ['', 'dev-1'],
    ['dev-1\0', 'dev-1'],
  ])('that the registry calls %j is refused', async (id, clientId) => {
    await start();
    const credentials = testBroker.enroll(device(id), { names: [uriName(`spiffe://fleet.example/device/${id}`)] });
    expect(await attempt(credentials, clientId)).toMatchObject({ code: 5, reason: 'identity_mismatch' });
  });
});

describe('the client id', () => {
  it('of another device is refused, and the session of that device continues', async () => {
    await start();
    const victim = await testBroker.connectDevice('dev-2', { clean: false });
    await victim.subscribe({ topic: 'devices/dev-2/commands/+/+', qos: 1 });
    expect(await attempt(testBroker.enroll(device('dev-1')), 'dev-2')).toMatchObject({
      code: 2,
      reason: 'client_id_not_allowed',
    });
    expect(await victim.settled()).toEqual([]);
    expect(testBroker.broker.sessions()).toHaveLength(1);
  });

  it('must equal the device id exactly', async () => {
    await start();
    for (const clientId of ['dev-1 ', 'DEV-1', 'dev-1-2', 'dev-', '__proto__']) {
      const client = await testBroker.open(testBroker.enroll(device('dev-1')));
      expect(await client.connect({ clientId }), clientId).toBe(2);
    }
  });

  it('must not be empty', async () => {
    await start();
    expect(await attempt(testBroker.enroll(device('dev-1')), '')).toMatchObject({
      code: 2,
      reason: 'client_id_missing',
    });
  });

  it('of a device named like an inherited property is its own', async () => {
    await start();
    for (const id of ['constructor', 'toString', 'hasOwnProperty']) {
      const client = await testBroker.connectDevice(id);
      expect(await client.subscribe(`devices/${id}/commands/+/+`)).toEqual([0]);
    }
    expect(testBroker.broker.sessions()).toHaveLength(3);
  });

  it('of a service is its name, or starts with it and a hyphen', async () => {
    await start();
    const credentials = testBroker.enroll(service('dashboard'));
    for (const clientId of ['dashboard', 'dashboard-1', 'dashboard-west.2'])
      await testBroker.session(credentials, { clientId });
    for (const clientId of ['dashboard1', 'dash', 'other', 'dashboard_1']) {
      const client = await testBroker.open(credentials);
      expect(await client.connect({ clientId }), clientId).toBe(2);
    }
  });

  it('is decided by the certificate, whatever the user name says', async () => {
    await start();
    const client = await testBroker.open(testBroker.enroll(device('dev-1')));
    expect(await client.connect({ clientId: 'dev-2', username: 'dev-2' })).toBe(2);
    const own = await testBroker.open(testBroker.enroll(device('dev-1')));
    expect(await own.connect({ clientId: 'dev-1', username: 'dev-2' })).toBe(0);
    expect(testBroker.broker.sessions()[0]?.identity).toEqual(device('dev-1'));
  });
});

describe('a refused certificate', () => {
  it('is described in the log by subject, serial, names, end and address', async () => {
    const lines: Record<string, unknown>[] = [];
    const sink = new Writable({
      write(chunk, _encoding, done) {
        lines.push(JSON.parse(chunk.toString()));
        done();
      },
    });
    await start({ log: pino({ level: 'warn' }, sink) });
    const notAfter = Date.UTC(2020, 1, 2, 3, 4, 5);
    const credentials = testBroker.enroll(device('dev-1'), {
      notBefore: notAfter - 9e7,
      notAfter,
      commonNames: ['dev-1\nforged'],
    });
    await attempt(credentials);
    expect(lines).toEqual([
      expect.objectContaining({
        msg: 'connection refused',
        reason: 'certificate_expired',
        detail: 'CERT_HAS_EXPIRED',
        address: '127.0.0.1',
        serial: credentials.serial,
        san: 'URI:spiffe://fleet.example/device/dev-1',
        notAfter: '2020-02-02T03:04:05.000Z',
        subject: expect.stringMatching(/^CN=dev-1.*forged$/),
      }),
    ]);
    expect(JSON.stringify(lines)).not.toMatch(/PRIVATE|BEGIN/);
  });

  it('is logged a few times per minute and address, and counted always', async () => {
    let lines = 0;
    const sink = new Writable({
      write(_chunk, _encoding, done) {
        lines += 1;
        done();
      },
    });
    await start({ log: pino({ level: 'warn' }, sink), limits: { refusalLogsPerMinute: 3 } });
    for (let i = 0; i < 8; i += 1) await attempt(undefined);
    expect(lines).toBe(3 * LOGS_OF_ONE_BROKER);
    expect(testBroker.broker.counters()['refused.certificate_missing']).toBe(8);
  });
});

describe('the certificates of the server', () => {
  it('are replaced without closing a connection, and the rules stay the same', async () => {
    await start();
    const before = await testBroker.connectDevice('dev-1');
    const next = issue({
      issuer: issuing,
      commonNames: ['next'],
      names: [dnsName('localhost')],
      purposes: ['serverAuth'],
    });
    testBroker.broker.replaceTls({ key: next.key, cert: next.chain, ca: root.pem + issuing.pem });
    const after = await testBroker.connectDevice('dev-2');
    expect(after.socket.getPeerX509Certificate()?.subject).toBe('CN=next');
    expect(await before.settled()).toEqual([]);
    expect((await attempt(undefined)).reason).toBe('certificate_missing');
    const again = await testBroker.open(testBroker.enroll(device('dev-3')), {
      session: after.socket.getSession() as Buffer,
    });
    expect(again.socket.isSessionReused()).toBe(false);
  });

  it('are replaced together with the accepted issuers', async () => {
    await start();
    const next = createIssuing(root, 'next issuing');
    const credentials = testBroker.enroll(device('dev-1'), { issuer: next });
    const server = issue({ issuer: next, names: [dnsName('localhost')], purposes: ['serverAuth'] });
    testBroker.broker.replaceTls(
      { key: server.key, cert: server.chain, ca: root.pem + issuing.pem + next.pem },
      issuing.pem + next.pem,
    );
    await testBroker.session(credentials, { clientId: 'dev-1' });
    await testBroker.session(testBroker.enroll(device('dev-2')), { clientId: 'dev-2' });
  });

  it('are replaced, and a pending connection under a removed CA is refused', async () => {
    await start();
    const early = await testBroker.open(testBroker.enroll(device('dev-1')));
    await testBroker.connectDevice('dev-2'); // handshakes are finished in their order
    const next = createIssuing(root, 'next issuing');
    const server = issue({ issuer: next, names: [dnsName('localhost')], purposes: ['serverAuth'] });
    testBroker.broker.replaceTls({ key: server.key, cert: server.chain, ca: root.pem + next.pem }, next.pem);
    expect(await early.connect({ clientId: 'dev-1' })).toBe(5);
    expect(await testBroker.event('connect_failed')).toMatchObject({
      reason: 'issuer_foreign',
      identity: device('dev-1'),
    });
    expect(testBroker.broker.sessions().map(({ clientId }) => clientId)).toEqual(['dev-2']);
  });
});
