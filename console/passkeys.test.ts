/** Passkeys: added to an account, and used to sign in without a name and to authenticate again. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Changes, TestAuthenticator } from '../test/fixtures/console/test-authenticator.ts';
import { ORIGIN, PASSWORD, signedInBrowser, TestBrowser } from '../test/fixtures/console/test-browser.ts';
import { openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
});
afterAll(() => fixture.close());

const refused = { status: 401, json: { code: 'passkey_refused' } };
let added = 0;

/** An operator who signed in and has a passkey. */
async function operatorWithPasskey(role: 'viewer' | 'admin' = 'viewer') {
  added += 1;
  fixture.clock.now += 3_600_000; // what was counted against this address is forgotten
  const name = `ada-${added}`;
  const browser = await signedInBrowser(fixture, name, role);
  const authenticator = new TestAuthenticator(ORIGIN);
  const made = await add(browser, authenticator);
  expect(made.status).toBe(200);
  return { name, browser, authenticator };
}

async function add(browser: TestBrowser, authenticator: TestAuthenticator, changes: Changes = {}) {
  const options = (await browser.post('/v1/account/passkeys/options')).json;
  const credential = authenticator.create(options, changes);
  return browser.post('/v1/account/passkeys', { name: 'laptop', credential });
}

async function signIn(authenticator: TestAuthenticator, changes: Changes = {}, browser = new TestBrowser(fixture)) {
  const options = (await browser.post('/v1/sign-in/passkey/options')).json;
  return browser.post('/v1/sign-in/passkey', { credential: authenticator.get(options, changes) });
}

describe('a passkey', () => {
  it('signs its operator in without a name, and is named in the account', async () => {
    const { name, browser, authenticator } = await operatorWithPasskey();
    expect((await browser.get('/v1/sign-in')).json.methods).toEqual(['password', 'passkey']);
    expect(await signIn(authenticator)).toMatchObject({
      status: 200,
      json: { operator: name, role: 'viewer', session: { method: 'passkey' } },
    });
    expect((await browser.get('/v1/account')).json.passkeys).toEqual([
      {
        id: authenticator.id.toString('base64url'),
        name: 'laptop',
        rpId: 'localhost',
        createdAt: expect.any(String),
        lastUsedAt: new Date(fixture.clock.now).toISOString(),
      },
    ]);
    const audit = await fixture.client.listAudit({ subject: `operator/${name}`, limit: 2 });
    expect(audit.map(({ action }) => action)).toEqual(['operator.signed_in', 'operator.passkey.added']);
  });

  it('is asked for with verification of its user, as a discoverable one, and under the name of this host', async () => {
    const { browser } = await operatorWithPasskey();
    const options = (await browser.post('/v1/account/passkeys/options')).json;
    expect(options).toMatchObject({
      rp: { id: 'localhost' },
      attestation: 'none',
      authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
      excludeCredentials: [{ type: 'public-key' }],
    });
    expect((await new TestBrowser(fixture).post('/v1/sign-in/passkey/options')).json).toMatchObject({
      rpId: 'localhost',
      userVerification: 'required',
      allowCredentials: [],
    });
    const byAddress = { host: '127.0.0.1', origin: 'https://127.0.0.1' };
    const anonymous = new TestBrowser(fixture);
    expect((await anonymous.post('/v1/sign-in/passkey/options', {}, byAddress)).status).toBe(400);
    expect((await anonymous.get('/v1/sign-in', byAddress)).json.methods).toEqual(['password']);
  });

  it.each<[string, Changes]>([
    ['of another origin', { origin: 'https://evil.example' }],
    ['of another relying party', { rpId: 'evil.example' }],
    ['with another challenge', { challenge: Buffer.alloc(54).toString('base64url') }],
    ['without verification of its user', { isVerified: false }],
  ])('%s neither signs in nor is added', async (_, changes) => {
    const { browser, authenticator } = await operatorWithPasskey();
    expect(await signIn(authenticator, changes)).toMatchObject(refused);
    expect(await add(browser, new TestAuthenticator(ORIGIN), changes)).toMatchObject(refused);
    expect((await signIn(authenticator)).status).toBe(200);
  });

  it('with the handle of another user, or unknown, does not sign in', async () => {
    const { authenticator } = await operatorWithPasskey();
    expect(await signIn(authenticator, { userHandle: 'AAAA' })).toMatchObject(refused);
    expect(await signIn(new TestAuthenticator(ORIGIN))).toMatchObject(refused);
  });

  it('whose counter does not grow was copied, and is refused', async () => {
    const { authenticator } = await operatorWithPasskey();
    expect((await signIn(authenticator, { counter: 7 })).status).toBe(200);
    expect(await signIn(authenticator, { counter: 7 })).toMatchObject(refused);
    expect((await signIn(authenticator, { counter: 8 })).status).toBe(200);
  });

  it('does not sign in after it was removed, or while its operator is disabled', async () => {
    const { name, browser, authenticator } = await operatorWithPasskey();
    await fixture.client.disableOperator({ name });
    expect(await signIn(authenticator)).toMatchObject(refused);
    const [third, other] = [await operatorWithPasskey(), await operatorWithPasskey()];
    const id = other.authenticator.id.toString('base64url');
    expect((await browser.post('/v1/account/passkeys/remove', { id })).status).toBe(401);
    await third.browser.post('/v1/reauthenticate', { password: PASSWORD });
    expect(await third.browser.post('/v1/account/passkeys/remove', { id })).toMatchObject({ status: 404 });
    expect((await other.browser.post('/v1/account/passkeys/remove', { id })).status).toBe(200);
    expect(await signIn(other.authenticator)).toMatchObject(refused);
  });

  it('signs in although other guesses from its address are limited', async () => {
    const { authenticator } = await operatorWithPasskey();
    const statuses: number[] = [];
    for (let n = 0; n < 11; n += 1) statuses.push((await signIn(new TestAuthenticator(ORIGIN))).status);
    expect(statuses).toEqual([...new Array(10).fill(401), 429]);
    expect((await signIn(authenticator)).status).toBe(200);
  });

  it('is a recent sign-in of the session of its own operator alone', async () => {
    const { browser, authenticator } = await operatorWithPasskey('admin');
    const other = await operatorWithPasskey('admin');
    fixture.clock.now += 3_600_000;
    const again = async (by: TestAuthenticator) => {
      const options = (await browser.post('/v1/reauthenticate/passkey/options')).json;
      expect(options.allowCredentials).toMatchObject([{ id: authenticator.id.toString('base64url') }]);
      return browser.post('/v1/reauthenticate/passkey', { credential: by.get(options) });
    };
    expect((await browser.post('/v1/operators', { name: 'new' })).status).toBe(403);
    expect(await again(other.authenticator)).toMatchObject(refused);
    const before = browser.cookie;
    expect((await again(authenticator)).json).toMatchObject({ operator: expect.any(String) });
    expect(browser.cookie).not.toBe(before);
    expect((await browser.post('/v1/operators', { name: `new-${added}` })).status).toBe(200);
  });
});

describe('a challenge', () => {
  it('is answered once, in the browser that asked for it, within five minutes', async () => {
    const { authenticator } = await operatorWithPasskey();
    const browser = new TestBrowser(fixture);
    const options = (await browser.post('/v1/sign-in/passkey/options')).json;
    const credential = authenticator.get(options);
    expect(await new TestBrowser(fixture).post('/v1/sign-in/passkey', { credential })).toMatchObject(refused);
    const stranger = new TestBrowser(fixture);
    await stranger.post('/v1/sign-in/passkey/options');
    expect(await stranger.post('/v1/sign-in/passkey', { credential })).toMatchObject(refused);
    const { cookie = '' } = browser;
    expect((await browser.post('/v1/sign-in/passkey', { credential })).status).toBe(200);
    const again = authenticator.get(options);
    expect(await browser.post('/v1/sign-in/passkey', { credential: again }, { cookie })).toMatchObject(refused);
    const late = (await stranger.post('/v1/sign-in/passkey/options')).json;
    fixture.clock.now += 5 * 60_000;
    expect(await stranger.post('/v1/sign-in/passkey', { credential: authenticator.get(late) })).toMatchObject(refused);
  });

  it('of a sign-in does not add a passkey', async () => {
    const { browser } = await operatorWithPasskey();
    const options = (await browser.post('/v1/sign-in/passkey/options')).json;
    const credential = new TestAuthenticator(ORIGIN).create(options);
    expect(await browser.post('/v1/account/passkeys', { name: 'laptop', credential })).toMatchObject(refused);
  });

  it('is no password: the password works beside passkeys', async () => {
    const { name } = await operatorWithPasskey();
    const body = { operator: name, password: PASSWORD };
    expect((await new TestBrowser(fixture).post('/v1/sign-in', body)).status).toBe(200);
  });
});
