/** TLS sessions are never resumed: every connection shows its certificate, which is judged as it is now. */

import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { device, TestBroker, type TestBrokerOptions } from '../../test/fixtures/broker/test-broker.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

describe('session resumption', () => {
  /** Connects once and comes back with everything a client can save of the first TLS session. */
  async function saved(credentials: Parameters<TestBroker['open']>[0], version: 'TLSv1.2' | 'TLSv1.3') {
    const tickets: Buffer[] = [];
    const client = await testBroker.open(credentials, { minVersion: version, maxVersion: version });
    client.socket.on('session', (session) => tickets.push(session));
    await client.connect({ clientId: 'dev-1' });
    const session = client.socket.getSession();
    client.destroy();
    await client.closed;
    return [...tickets, ...(session === undefined ? [] : [session])];
  }

  async function comeBack(
    session: Buffer,
    version: 'TLSv1.2' | 'TLSv1.3',
    credentials?: Parameters<TestBroker['open']>[0],
  ) {
    const client = await testBroker.open(credentials, { session, minVersion: version, maxVersion: version });
    const code = await client.connect({ clientId: 'dev-1' });
    return { code, reused: (client.socket as TLSSocket).isSessionReused() };
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`never happens on ${version}`, async () => {
      await start();
      const credentials = testBroker.enroll(device('dev-1'));
      const sessions = await saved(credentials, version);
      expect(sessions.length).toBeGreaterThan(0);
      for (const session of sessions) {
        expect(await comeBack(session, version, credentials)).toEqual({ code: 0, reused: false });
      }
    });

    it(`does not accept a client without a certificate on ${version}`, async () => {
      await start();
      for (const session of await saved(undefined, version)) {
        expect(await comeBack(session, version)).toEqual({ code: 5, reused: false });
      }
      for (const session of await saved(testBroker.enroll(device('dev-1')), version)) {
        expect(await comeBack(session, version)).toEqual({ code: 5, reused: false });
      }
    });

    it(`does not accept a client after its revocation on ${version}`, async () => {
      await start();
      const credentials = testBroker.enroll(device('dev-1'));
      const sessions = await saved(credentials, version);
      testBroker.revokeInRegistry(device('dev-1'));
      await testBroker.broker.disconnect(device('dev-1'), 'revoked');
      for (const session of sessions) {
        expect(await comeBack(session, version, credentials)).toEqual({ code: 5, reused: false });
      }
    });

    it(`does not accept a client whose certificate was superseded since on ${version}`, async () => {
      await start();
      const dev1 = device('dev-1');
      const credentials = testBroker.enroll(dev1);
      const sessions = await saved(credentials, version);
      testBroker.certificateStatuses.set(credentials.serial, { state: 'superseded', holder: dev1, supersededAt: 1 });
      for (const session of sessions) {
        expect(await comeBack(session, version, credentials)).toEqual({ code: 5, reused: false });
      }
    });

    it(`does not accept a client that was suspended since on ${version}`, async () => {
      await start();
      const dev1 = device('dev-1');
      const credentials = testBroker.enroll(dev1);
      const sessions = await saved(credentials, version);
      testBroker.certificateStatuses.set(credentials.serial, { state: 'suspended', holder: dev1 });
      await testBroker.broker.disconnect(dev1, 'suspended');
      for (const session of sessions) {
        expect(await comeBack(session, version, credentials)).toEqual({ code: 5, reused: false });
      }
    });

    it(`does not accept a client after its certificate has expired on ${version}`, async () => {
      let late = 0;
      await start({ now: () => Date.now() + late });
      const credentials = testBroker.enroll(device('dev-1'));
      const sessions = await saved(credentials, version);
      late = 40 * 86_400_000;
      for (const session of sessions) {
        expect(await comeBack(session, version, credentials)).toEqual({ code: 5, reused: false });
      }
    });
  }
});

describe('another broker of this process', () => {
  it('does not resume a TLS session of this one', async () => {
    await start();
    const credentials = testBroker.enroll(device('dev-1'));
    const here = await testBroker.session(credentials, { clientId: 'dev-1' });
    const session = here.socket.getSession() as Buffer;
    const other = await TestBroker.start();
    try {
      const client = await other.open(credentials, { session });
      expect(client.socket.isSessionReused()).toBe(false);
      expect(await client.connect({ clientId: 'dev-1' })).toBe(5); // its registry does not know the serial
    } finally {
      await other.close();
    }
  });
});
