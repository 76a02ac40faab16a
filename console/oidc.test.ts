/** Signing in with a real OpenID provider over TLS, and each way in which that is refused. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RedirectedBrowser } from '../test/fixtures/console/redirected-browser.ts';
import { openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';
import { CLIENT_ID, CLIENT_SECRET, startOidcProvider, type TestOidcProvider } from '../test/fixtures/oidc-provider.ts';
import type { OidcOptions } from './auth/oidc/oidc-options.ts';

const HOUR = 3_600_000;
const CALLBACK = '/v1/sign-in/oidc/callback';

let provider: TestOidcProvider;
let fixture: TestConsole;
const open: TestConsole[] = [];

async function openConsole(changes: Partial<OidcOptions> = {}, clock = Date.now()): Promise<TestConsole> {
  const opened: TestConsole[] = [];
  provider = await startOidcProvider(() => `https://localhost:${opened[0]?.console.port}${CALLBACK}`);
  const oidc: OidcOptions = {
    issuer: provider.issuer,
    clientId: CLIENT_ID,
    clientSecret: () => CLIENT_SECRET,
    scopes: ['openid', 'profile'],
    nameClaim: 'preferred_username',
    roleClaim: 'roles',
    roles: { viewer: ['staff'], operator: ['fleet-operators'], admin: ['fleet-admins'] },
    require: {},
    operators: 'create',
    sessionMs: 8 * HOUR,
    ca: provider.ca,
    ...changes,
  };
  const found = await openTestConsole({ options: { oidc } });
  found.clock.now = clock;
  opened.push(found);
  open.push(found);
  return found;
}

const consoleOrigin = () => `https://localhost:${fixture.console.port}`;
const newBrowser = () => new RedirectedBrowser({ origin: consoleOrigin(), ca: `${provider.ca}\n${fixture.tls.cert}` });
const ada = (claims: object = { roles: ['staff', 'fleet-admins'] }) => ({
  sub: 'account-1',
  claims: { preferred_username: 'Ada', ...claims },
});
const roleOf = async (name: string) => (await fixture.client.listOperators()).find((each) => each.name === name)?.role;

beforeEach(async () => {
  fixture = await openConsole();
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

describe('an operator who signs in with the identity provider', () => {
  it('is added at the first sign-in with the role of the claim, and signed in', async () => {
    provider.account = ada();
    const browser = newBrowser();
    expect(await browser.signIn()).toBe('/');
    expect([await browser.operator(), await browser.methods()]).toEqual(['ada', expect.arrayContaining(['oidc'])]);
    expect(await fixture.client.listOperators()).toMatchObject([
      { name: 'ada', role: 'admin', createdBy: 'server/oidc' },
    ]);
    const [session] = await fixture.client.listOperatorSessions();
    expect(session).toMatchObject({ operator: 'ada', method: 'oidc' });
    const actions = (await fixture.client.listAudit({ limit: 10 })).map(({ action }) => action);
    expect(actions.slice(0, 3)).toEqual(['operator.signed_in', 'operator.identity.linked', 'operator.added']);
    expect(await newBrowser().signIn()).toBe('/');
    expect(await fixture.client.listOperators()).toHaveLength(1);
  });

  it('has another role from the next sign-in on, and none without one', async () => {
    provider.account = ada();
    await newBrowser().signIn();
    provider.account = ada({ roles: 'staff' });
    expect(await newBrowser().signIn()).toBe('/');
    expect(await roleOf('ada')).toBe('viewer');
    provider.account = ada({ roles: ['gardeners'] });
    const browser = newBrowser();
    expect(await browser.signIn()).toBe('/sign-in?refused=oidc_no_access');
    expect(await browser.operator()).toBeUndefined();
    provider.account = ada({});
    expect(await newBrowser().signIn()).toBe('/sign-in?refused=oidc_no_access');
  });

  it('is signed out after the time of such sessions', async () => {
    provider.account = ada();
    const browser = newBrowser();
    await browser.signIn();
    fixture.clock.now += 8 * HOUR - 60_000;
    expect(await browser.operator()).toBe('ada');
    fixture.clock.now += 60_000;
    expect(await browser.operator()).toBeUndefined();
  });

  it('is the one of its account, whatever name the account gets, and no other account gets its name', async () => {
    provider.account = ada();
    await newBrowser().signIn();
    provider.account = { ...ada(), claims: { preferred_username: 'lovelace', roles: ['staff'] } };
    const browser = newBrowser();
    await browser.signIn();
    expect(await browser.operator()).toBe('ada');
    provider.account = { ...ada(), sub: 'account-2' };
    expect(await newBrowser().signIn()).toBe('/sign-in?refused=oidc_no_access');
    await fixture.client.addOperator({ name: 'grace', role: 'admin' });
    provider.account = { sub: 'account-3', claims: { preferred_username: 'grace', roles: ['fleet-admins'] } };
    expect(await newBrowser().signIn()).toBe('/sign-in?refused=oidc_no_access');
    expect(await fixture.client.listOperators()).toHaveLength(2);
  });

  it('that is disabled here is refused', async () => {
    provider.account = ada();
    await newBrowser().signIn();
    await fixture.client.disableOperator({ name: 'ada' });
    expect(await newBrowser().signIn()).toBe('/sign-in?refused=operator_disabled');
  });

  it('has signed in recently only when the provider asked anew', async () => {
    provider.account = ada();
    const browser = newBrowser();
    await browser.signIn();
    fixture.clock.now += 6 * 60_000;
    await browser.signIn(); // the provider knows the browser: the person did nothing
    const sessions = await fixture.client.listOperatorSessions();
    const ages = sessions.map(({ authenticatedAt }) => fixture.clock.now - Date.parse(authenticatedAt));
    expect(Math.min(...ages)).toBeGreaterThan(5 * 60_000);
  });

  it('can be asked anew', async () => {
    provider.account = ada();
    const browser = newBrowser();
    await browser.signIn();
    expect(await browser.signIn('/v1/sign-in/oidc?again=true')).toBe('/');
  });
});

describe('an answer of the identity provider', () => {
  beforeEach(() => {
    provider.account = ada();
  });

  it('is refused in a browser that did not ask for it, and with another state', async () => {
    const browser = newBrowser();
    const answer = await browser.begin();
    for (const [other, url] of [
      [newBrowser(), answer],
      [browser, answer.replace(/state=[^&]*/, `state=${'x'.repeat(43)}`)],
    ] as const) {
      expect((await other.get(url)).location).toBe(`${consoleOrigin()}/sign-in?refused=oidc_refused`);
      expect(await other.operator()).toBeUndefined();
    }
    expect(provider.tokenRequests).toBe(0);
    expect(await fixture.client.listOperators()).toEqual([]);
  });

  it('works once: its cookie is removed, and its code is not accepted again', async () => {
    const browser = newBrowser();
    const answer = await browser.begin();
    const cookies = new Map(browser.cookies.get(consoleOrigin()));
    expect((await browser.get(answer)).location).toBe(`${consoleOrigin()}/`);
    expect((await browser.get(answer)).location).toBe(`${consoleOrigin()}/sign-in?refused=oidc_refused`);
    const copy = newBrowser();
    copy.cookies.set(consoleOrigin(), cookies);
    expect((await copy.get(answer)).location).toBe(`${consoleOrigin()}/sign-in?refused=oidc_refused`);
    expect(await copy.operator()).toBeUndefined();
    expect(provider.tokenRequests).toBe(2);
  });

  it('is refused with another issuer, and without one', async () => {
    for (const change of ['iss=https%3A%2F%2Fevil.example', '']) {
      const browser = newBrowser();
      const answer = (await browser.begin()).replace(/iss=[^&]*/, change);
      expect((await browser.get(answer)).location).toBe(`${consoleOrigin()}/sign-in?refused=oidc_refused`);
    }
    expect(provider.tokenRequests).toBe(0);
  });

  it('is refused when the ID token has ended', async () => {
    const browser = newBrowser();
    const answer = await browser.begin();
    fixture.clock.now += 5 * 60_000;
    expect((await browser.get(answer)).location).toBe(`${consoleOrigin()}/sign-in?refused=oidc_refused`);
    expect(provider.tokenRequests).toBe(1);
    expect(await browser.operator()).toBeUndefined();
  });

  it('is refused after ten minutes', async () => {
    const browser = newBrowser();
    const answer = await browser.begin();
    fixture.clock.now += 10 * 60_000;
    expect((await browser.get(answer)).location).toBe(`${consoleOrigin()}/sign-in?refused=oidc_refused`);
    expect(provider.tokenRequests).toBe(0);
  });

  it('that says no is refused', async () => {
    provider.account = undefined;
    expect(await newBrowser().signIn()).toBe('/sign-in?refused=oidc_refused');
  });
});

describe('the configuration of the identity provider', () => {
  it.each([
    ['a path into objects', { roleClaim: 'realm_access.roles' }, { realm_access: { roles: ['fleet-operators'] } }, '/'],
    ['a required claim', { require: { hd: ['example.com'] } }, { roles: ['staff'], hd: 'example.com' }, '/'],
    ['a required claim that is missing', { require: { hd: ['example.com'] } }, { roles: ['staff'] }, 'oidc_no_access'],
    [
      'an e-mail address that is not verified',
      { nameClaim: 'email' },
      { roles: ['staff'], email: 'ada@example.com' },
      'oidc_no_access',
    ],
    [
      'an e-mail address that is verified',
      { nameClaim: 'email' },
      { roles: ['staff'], email: 'ada@example.com', email_verified: true },
      '/',
    ],
    ['a name that no operator may have', {}, { roles: ['staff'], preferred_username: 'unix' }, 'oidc_refused'],
    ['only existing operators', { operators: 'existing' }, { roles: ['staff'] }, 'oidc_no_access'],
    ['another client secret', { clientSecret: () => 'another' }, { roles: ['staff'] }, 'oidc_refused'],
  ] as const)('decides on %s', async (_, changes, claims, outcome) => {
    fixture = await openConsole(changes as Partial<OidcOptions>);
    provider.account = ada(claims);
    const found = await newBrowser().signIn();
    expect(found).toBe(outcome === '/' ? '/' : `/sign-in?refused=${outcome}`);
  });

  it('lets an operator that was added before sign in, with one account', async () => {
    fixture = await openConsole({ operators: 'existing' });
    await fixture.client.addOperator({ name: 'ada', role: 'viewer' });
    provider.account = ada();
    expect(await newBrowser().signIn()).toBe('/');
    expect(await roleOf('ada')).toBe('admin');
    provider.account = { ...ada(), sub: 'account-2' };
    expect(await newBrowser().signIn()).toBe('/sign-in?refused=oidc_no_access');
  });

  it('of a provider that is down or not trusted leads back to the sign-in page, and works later', async () => {
    fixture = await openConsole({ ca: fixture.tls.cert });
    expect((await newBrowser().get(`${consoleOrigin()}/v1/sign-in/oidc`)).location).toBe(
      `${consoleOrigin()}/sign-in?refused=oidc_unavailable`,
    );
    fixture = await openConsole();
    const browser = newBrowser();
    provider.account = ada();
    const answer = await browser.begin();
    await provider.close();
    expect((await browser.get(answer)).location).toBe(`${consoleOrigin()}/sign-in?refused=oidc_unavailable`);
  });

  it('that is absent answers as any path that does not exist', async () => {
    const other = await openTestConsole();
    open.push(other);
    fixture = other;
    expect((await newBrowser().get(`${consoleOrigin()}/v1/sign-in/oidc`)).status).toBe(404);
  });
});
