/** People who sign in: links, passwords, the cookie, its end, and requests of other sites. */

import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { PASSWORD, secretOf, signedInBrowser, TestBrowser } from '../test/fixtures/console/test-browser.ts';
import { openTestConsole, send, sendAndWaitForHead, type TestConsole } from '../test/fixtures/console/test-console.ts';

let fixture: TestConsole;
const logged: string[] = [];
beforeAll(async () => {
  fixture = await openTestConsole({ log: pino({ level: 'trace' }, { write: (line) => logged.push(line) }) });
});
afterAll(() => fixture.close());

const HOUR = 3_600_000;
let added = 0;
const newName = () => {
  added += 1;
  fixture.clock.now += HOUR; // what was counted against this address is forgotten
  return `ada-${added}`;
};
const refused = { status: 401, json: { code: 'sign_in_refused' } };

describe('the first set-up', () => {
  it('is asked for until an operator exists, and its link adds an admin, once', async () => {
    const fresh = await openTestConsole();
    const browser = new TestBrowser(fresh);
    expect((await browser.get('/v1/sign-in')).json).toEqual({
      needsFirstOperator: true,
      methods: ['password', 'passkey'],
      isAdmitted: false,
    });
    const url = (await fresh.console.createSetUpLink()) as string;
    expect(url).toMatch(new RegExp(`^https://localhost:${fresh.console.port}/set-up#[A-Za-z0-9_-]{43}$`));
    const secret = secretOf(url);
    expect((await browser.post('/v1/sign-in/link', { secret })).json).toEqual({
      expiresAt: new Date(fresh.clock.now + 24 * HOUR).toISOString(),
      needsCode: false,
    });
    const use = { secret, operator: 'grace', password: PASSWORD };
    expect(await browser.post('/v1/sign-in/link/use', { ...use, password: 'too short' })).toMatchObject({
      status: 422,
      json: { code: 'password_refused' },
    });
    const used = await browser.post('/v1/sign-in/link/use', use);
    expect(used).toMatchObject({
      status: 200,
      json: { operator: 'grace', role: 'admin', session: { method: 'link' } },
    });
    expect((await browser.get('/v1/sign-in')).json).toMatchObject({ needsFirstOperator: false, operator: 'grace' });
    expect(await new TestBrowser(fresh).post('/v1/sign-in/link/use', use)).toMatchObject({
      status: 404,
      json: { code: 'link_invalid' },
    });
    expect(await fresh.console.createSetUpLink()).toBeUndefined();
    const [added] = (await fresh.client.listAudit()).filter(({ action }) => action === 'operator.added');
    expect(added).toMatchObject({ actor: 'operator/grace', details: { role: 'admin', fromAddress: '127.0.0.1' } });
    await expect(fresh.client.createSignInLink({})).rejects.toMatchObject({ code: 'set_up_done' });
    await fresh.close();
  });

  it('has one link: a new one replaces the former, and an operator that was added otherwise ends it', async () => {
    const fresh = await openTestConsole();
    const browser = new TestBrowser(fresh);
    const [former, url] = [await fresh.client.createSignInLink({}), await fresh.client.createSignInLink({})];
    const invalid = { status: 404, json: { code: 'link_invalid' } };
    expect(await browser.post('/v1/sign-in/link', { secret: secretOf(former.url) })).toMatchObject(invalid);
    await fresh.client.addOperator({ name: 'bob' });
    expect(await browser.post('/v1/sign-in/link', { secret: secretOf(url.url) })).toMatchObject(invalid);
    await fresh.close();
  });
});

describe('a link for an operator', () => {
  it('sets a password, is used up by that, and does not set that of another operator', async () => {
    const name = newName();
    await fixture.client.addOperator({ name });
    const { url } = await fixture.client.createSignInLink({ operator: name });
    expect(url).toContain('/set-up#');
    const browser = new TestBrowser(fixture);
    const use = { secret: secretOf(url), password: PASSWORD };
    expect((await browser.post('/v1/sign-in/link', { secret: secretOf(url) })).json).toMatchObject({ operator: name });
    expect(await browser.post('/v1/sign-in/link/use', { ...use, operator: 'eve' })).toMatchObject({ status: 200 });
    expect((await browser.get('/v1/whoami')).json).toMatchObject({ actor: `operator/${name}` });
    expect((await new TestBrowser(fixture).post('/v1/sign-in/link/use', use)).status).toBe(404);
  });

  it('is not accepted after a day, or when its operator is disabled', async () => {
    const [late, disabled] = [newName(), newName()];
    for (const name of [late, disabled]) await fixture.client.addOperator({ name });
    const links = await Promise.all([late, disabled].map((operator) => fixture.client.createSignInLink({ operator })));
    await fixture.client.disableOperator({ name: disabled });
    const describeLink = (url: string) => new TestBrowser(fixture).post('/v1/sign-in/link', { secret: secretOf(url) });
    expect((await describeLink(links[1]?.url as string)).status).toBe(404);
    expect((await describeLink(links[0]?.url as string)).status).toBe(200);
    fixture.clock.now += 24 * HOUR;
    expect((await describeLink(links[0]?.url as string)).status).toBe(404);
  });
});

describe('a password', () => {
  it('signs its operator in, with the role and a cookie that scripts and other sites do not get', async () => {
    const name = newName();
    await signedInBrowser(fixture, name, 'operator');
    const browser = new TestBrowser(fixture);
    const answer = await browser.post('/v1/sign-in', { operator: name, password: PASSWORD });
    expect(answer).toMatchObject({ status: 200, json: { operator: name, role: 'operator' } });
    expect(answer.headers['set-cookie']).toEqual([
      expect.stringMatching(
        /^__Host-rollcall-session=[A-Za-z0-9_-]{43}; Path=\/; Secure; HttpOnly; SameSite=Strict; Max-Age=604800$/,
      ),
    ]);
    expect((await browser.get('/v1/whoami')).json).toMatchObject({
      actor: `operator/${name}`,
      role: 'operator',
      session: { id: answer.json.session.id, method: 'password', isRecent: true },
      csrfToken: answer.json.csrfToken,
    });
  });

  it('that is wrong is refused as one of an unknown operator, of a disabled one, and of one without a password', async () => {
    const [known, disabled, bare] = [newName(), newName(), newName()];
    await signedInBrowser(fixture, known);
    await signedInBrowser(fixture, disabled);
    await fixture.client.disableOperator({ name: disabled });
    await fixture.client.addOperator({ name: bare });
    const answers: unknown[] = [];
    for (const [operator, password] of [
      [known, 'wrong password 1'],
      ['nobody', PASSWORD],
      [disabled, PASSWORD],
      [bare, PASSWORD],
    ]) {
      fixture.clock.now += HOUR;
      const { status, json } = await new TestBrowser(fixture).post('/v1/sign-in', { operator, password });
      answers.push({ status, json: { ...json, time: '' } });
    }
    expect(answers[0]).toMatchObject(refused);
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });

  it('of more than 1,024 bytes is refused before it is hashed', async () => {
    const body = { operator: newName(), password: 'é'.repeat(513) };
    expect(await new TestBrowser(fixture).post('/v1/sign-in', body)).toMatchObject({
      status: 400,
      json: { code: 'request_invalid', detail: expect.stringContaining('1,024 bytes') },
    });
  });

  it('is the same in every Unicode form that looks the same', async () => {
    const name = newName();
    const browser = await signedInBrowser(fixture, name);
    expect((await browser.post('/v1/account/password', { password: 'Ångström ﬁt 2030' })).status).toBe(200);
    const decomposed = 'Ångström fit 2030'.normalize('NFD');
    const signIn = { operator: name, password: decomposed };
    expect((await new TestBrowser(fixture).post('/v1/sign-in', signIn)).status).toBe(200);
  });

  it('that is changed ends all other sessions of the operator', async () => {
    const name = newName();
    const [one, two] = [await signedInBrowser(fixture, name), new TestBrowser(fixture)];
    await two.post('/v1/sign-in', { operator: name, password: PASSWORD });
    expect((await one.post('/v1/account/password', { password: 'another good password' })).status).toBe(200);
    expect([(await one.get('/v1/account')).status, (await two.get('/v1/account')).status]).toEqual([200, 401]);
    expect(await two.post('/v1/sign-in', { operator: name, password: PASSWORD })).toMatchObject(refused);
  });
});

describe('a session', () => {
  it('ends when its operator signs out, and its cookie is not accepted again', async () => {
    const browser = await signedInBrowser(fixture, newName());
    const { cookie = '' } = browser;
    const stream = await sendAndWaitForHead(fixture, {
      listener: 'tcp',
      path: '/v1/telemetry/follow',
      headers: { host: 'localhost', cookie },
    });
    expect((await browser.post('/v1/sign-out')).status).toBe(200);
    const chunks: string[] = [];
    for await (const chunk of stream) chunks.push(String(chunk));
    expect(JSON.parse(chunks.join(''))).toMatchObject({ code: 'operator_required' });
    expect(browser.cookie).toBeUndefined();
    expect((await browser.get('/v1/account', { cookie })).status).toBe(401);
  });

  it('ends after 8 hours without a request, and after 7 days in any case', async () => {
    const browser = await signedInBrowser(fixture, newName());
    for (let hours = 0; hours < 7 * 24 - 7; hours += 7) {
      fixture.clock.now += 7 * HOUR;
      expect([hours, (await browser.get('/v1/account')).status]).toEqual([hours, 200]);
    }
    fixture.clock.now += 7 * HOUR;
    expect((await browser.get('/v1/account')).status).toBe(401);
    const idle = await signedInBrowser(fixture, newName());
    fixture.clock.now += 8 * HOUR;
    expect((await idle.get('/v1/account')).status).toBe(401);
  });

  it('ends the streams that it opened when it ends without requests', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const other = await openTestConsole();
    const { cookie = '' } = await signedInBrowser(other, 'ada');
    const headers = { host: 'localhost', cookie };
    const stream = await sendAndWaitForHead(other, { listener: 'tcp', path: '/v1/telemetry/follow', headers });
    vi.advanceTimersByTime(60_000);
    await other.say('dev-1', 'temp', '1');
    other.clock.now += 8 * HOUR;
    vi.advanceTimersByTime(60_000);
    const chunks: string[] = [];
    for await (const chunk of stream) chunks.push(String(chunk));
    const lines = chunks.join('').trim().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ stream: 'temp' }, { code: 'operator_required' }]);
    await other.close();
  });

  it('ends when its operator is disabled or reset, and a reset removes the password', async () => {
    const [one, two] = [newName(), newName()];
    const browsers = [await signedInBrowser(fixture, one), await signedInBrowser(fixture, two)];
    await fixture.client.disableOperator({ name: one });
    await fixture.client.resetOperator({ name: two });
    for (const browser of browsers) expect((await browser.get('/v1/account')).status).toBe(401);
    for (const operator of [one, two]) {
      expect(await new TestBrowser(fixture).post('/v1/sign-in', { operator, password: PASSWORD })).toMatchObject(
        refused,
      );
    }
  });

  it('ends when somebody signs in again with the same browser', async () => {
    const [first, second] = [newName(), newName()];
    const browser = await signedInBrowser(fixture, first);
    await signedInBrowser(fixture, second);
    const { cookie = '' } = browser;
    expect((await browser.post('/v1/sign-in', { operator: second, password: PASSWORD })).status).toBe(200);
    expect((await browser.get('/v1/account')).json).toMatchObject({ operator: second });
    expect((await browser.get('/v1/account', { cookie })).status).toBe(401);
    expect(await fixture.client.listOperatorSessions({ operator: first })).toEqual([]);
  });

  it('is listed to its operator, and to admins all are', async () => {
    const [viewer, admin] = [newName(), newName()];
    const browsers = [await signedInBrowser(fixture, viewer), await signedInBrowser(fixture, admin, 'admin')] as const;
    const own = (await browsers[0].get('/v1/operator-sessions')).json;
    expect(own).toMatchObject([
      { operator: viewer, address: '127.0.0.1', userAgent: 'Test Browser 1', method: 'link', isCurrent: true },
    ]);
    expect(await browsers[0].get(`/v1/operator-sessions?operator=${admin}`)).toMatchObject({ status: 403 });
    const all: { id: string; operator: string }[] = (await browsers[1].get('/v1/operator-sessions')).json;
    expect(all.map(({ operator }) => operator)).toEqual(expect.arrayContaining([viewer, admin]));
    const ofAdmin = all.find(({ operator }) => operator === admin)?.id as string;
    expect(await browsers[0].post(`/v1/operator-sessions/${ofAdmin}/end`)).toMatchObject({
      status: 404,
      json: { code: 'session_unknown' },
    });
    expect((await browsers[1].post(`/v1/operator-sessions/${own[0].id}/end`)).status).toBe(200);
    expect((await browsers[0].get('/v1/account')).status).toBe(401);
  });

  it('is renewed when its operator authenticates again, and only its new cookie counts as recent', async () => {
    const browser = await signedInBrowser(fixture, newName(), 'admin');
    fixture.clock.now += HOUR;
    const add = (name: string, headers = {}) => browser.post('/v1/operators', { name }, headers);
    const late = { status: 403, json: { code: 'reauthentication_required' } };
    expect(await add('late-1')).toMatchObject(late);
    const former = { cookie: browser.cookie as string, 'x-csrf-token': browser.csrfToken as string };
    expect(await browser.post('/v1/reauthenticate', { password: 'wrong password 1' })).toMatchObject(refused);
    expect((await browser.post('/v1/reauthenticate', { password: PASSWORD })).status).toBe(200);
    expect(browser.cookie).not.toBe(former.cookie);
    expect((await browser.get('/v1/account', { cookie: former.cookie })).status).toBe(200);
    expect(await add('late-1', former)).toMatchObject(late);
    fixture.clock.now += 31_000;
    expect((await browser.get('/v1/account', { cookie: former.cookie })).status).toBe(401);
    expect((await add('late-1')).status).toBe(200);
    fixture.clock.now += 5 * 60_000;
    expect(await add('late-2')).toMatchObject(late);
  });

  it('must be recent to revoke several devices, and not for one', async () => {
    for (const id of ['dev-1', 'dev-2', 'dev-3']) await fixture.enroll(id);
    const browser = await signedInBrowser(fixture, newName(), 'operator');
    fixture.clock.now += HOUR;
    expect((await browser.post('/v1/devices/revoke', { ids: ['dev-1'], reason: 'unspecified' })).status).toBe(200);
    const several = { ids: ['dev-2', 'dev-3'], reason: 'keyCompromise', confirm: 'yes' };
    expect(await browser.post('/v1/devices/revoke', several)).toMatchObject({
      status: 403,
      json: { code: 'reauthentication_required' },
    });
    expect((await browser.post('/v1/devices/suspend', { ids: several.ids, confirm: 'yes' })).status).toBe(200);
    await browser.post('/v1/reauthenticate', { password: PASSWORD });
    expect((await browser.post('/v1/devices/revoke', several)).status).toBe(200);
  });

  it('puts its operator, its id, how it began and the address into the audit', async () => {
    const name = newName();
    const browser = await signedInBrowser(fixture, name, 'operator');
    await browser.post('/v1/tokens');
    const { json } = await browser.get('/v1/whoami');
    expect(await fixture.client.listAudit({ limit: 1 })).toMatchObject([
      {
        actor: `operator/${name}`,
        action: 'token.minted',
        details: { session: json.session.id, signedInBy: 'link', fromAddress: '127.0.0.1' },
      },
    ]);
  });
});

describe('a request with the cookie', () => {
  const crossSite = { status: 403, json: { code: 'cross_site_refused' } };

  it.each<[string, Readonly<Record<string, string>>]>([
    ['without a CSRF token', { 'x-csrf-token': '' }],
    ['with the CSRF token of another session', { 'x-csrf-token': 'A'.repeat(43) }],
    ['from another origin', { origin: 'https://evil.example' }],
    ['from another port of the same host', { origin: 'https://localhost:9999', 'sec-fetch-site': 'same-site' }],
    ['from a page without an origin', { origin: 'null' }],
    ['from another site, as the browser says', { 'sec-fetch-site': 'cross-site' }],
  ])('%s changes nothing', async (_, headers) => {
    const name = newName();
    const browser = await signedInBrowser(fixture, name, 'operator');
    const before = await fixture.client.listTokens();
    expect(await browser.post('/v1/tokens', {}, headers)).toMatchObject(crossSite);
    expect(await fixture.client.listTokens()).toEqual(before);
    expect((await browser.post('/v1/tokens')).status).toBe(200);
  });

  it('and a key counts as one with the key alone', async () => {
    const browser = await signedInBrowser(fixture, newName(), 'viewer');
    const withKey = (key: string) => browser.get('/v1/operators', { authorization: `Bearer ${key}` });
    expect((await withKey(fixture.operatorKey)).status).toBe(200);
    expect((await withKey('A'.repeat(43))).status).toBe(401);
    expect((await browser.get('/v1/operators')).status).toBe(403);
  });

  it('twice is not accepted', async () => {
    const browser = await signedInBrowser(fixture, newName());
    const { cookie = '' } = browser;
    expect((await browser.get('/v1/account', { cookie: `${cookie}; ${cookie}` })).status).toBe(401);
    expect((await browser.get('/v1/account', { cookie: `theme=dark; ${cookie}` })).status).toBe(200);
  });
});

describe('signing in', () => {
  it('is not possible from a page of another site, or without an origin', async () => {
    const body = { operator: newName(), password: PASSWORD };
    const browser = new TestBrowser(fixture);
    expect((await browser.post('/v1/sign-in', body, { origin: 'https://evil.example' })).status).toBe(403);
    const headers = { host: 'localhost' };
    const order = {
      listener: 'tcp',
      method: 'POST',
      path: '/v1/sign-in',
      headers,
      body: JSON.stringify(body),
    } as const;
    expect((await send(fixture, order)).status).toBe(403);
  });

  it('is not possible over the unix socket', async () => {
    await expect(fixture.client.signIn({ operator: 'ada', password: PASSWORD })).rejects.toMatchObject({
      code: 'request_invalid',
    });
    await expect(fixture.client.showAccount()).rejects.toMatchObject({ code: 'session_required' });
  });

  it('is limited by address and by name, and open to the operator on a network that it used before', async () => {
    const name = newName();
    await signedInBrowser(fixture, name);
    fixture.clock.now += HOUR;
    const attempt = async (operator: string, password: string) =>
      (await new TestBrowser(fixture).post('/v1/sign-in', { operator, password })).status;
    const unknown: number[] = [];
    for (let n = 0; n < 11; n += 1) unknown.push(await attempt('nobody', 'wrong password 1'));
    expect(unknown).toEqual([...new Array(10).fill(401), 429]);
    expect(await attempt('other', 'wrong password 1')).toBe(429);
    expect(await attempt(name, PASSWORD)).toBe(200);
  });

  it('that was refused is in the audit of an operator that exists', async () => {
    const name = newName();
    await signedInBrowser(fixture, name);
    await new TestBrowser(fixture).post('/v1/sign-in', { operator: name, password: 'wrong password 1' });
    await new Promise(setImmediate);
    expect(await fixture.client.listAudit({ subject: `operator/${name}`, limit: 1 })).toMatchObject([
      { action: 'operator.signed_in', outcome: 'refused', details: { fromAddress: '127.0.0.1' } },
    ]);
  });
});

it('no password, cookie, CSRF token or link is in the log', async () => {
  const browser = await signedInBrowser(fixture, newName());
  const secrets = [PASSWORD, 'wrong password 1', browser.cookie?.split('=')[1], browser.csrfToken];
  const text = logged.join('');
  expect(text).toContain('sign-in refused');
  for (const secret of secrets) expect(text).not.toContain(secret as string);
});
