/** A second factor beside the password: TOTP of an authenticator app, and recovery codes. */

import { Secret, TOTP } from 'otpauth';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PASSWORD, secretOf, signedInBrowser, TestBrowser } from '../test/fixtures/console/test-browser.ts';
import { openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';
import { canonicalRecoveryCode, makeRecoveryCodes } from './auth/recovery-codes.ts';
import { totpStep } from './auth/totp.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
});
afterAll(() => fixture.close());

const STEP = 30_000;
const refused = { status: 401, json: { code: 'sign_in_refused' } };
let added = 0;

/** What the app on a phone computes. */
function appOf(url: string) {
  const secret = Secret.fromBase32(new URL(url).searchParams.get('secret') ?? '');
  const codeAt = (timestamp: number) => new TOTP({ secret, digits: 6, period: 30 }).generate({ timestamp });
  return { code: () => codeAt(fixture.clock.now), codeAt };
}

/** An operator with a confirmed secret. The time step of the confirmation has passed. */
async function operatorWithTotp() {
  added += 1;
  fixture.clock.now += 3_600_000; // what was counted against this address is forgotten
  const name = `ada-${added}`;
  const browser = await signedInBrowser(fixture, name);
  const { url } = (await browser.post('/v1/account/totp')).json;
  const app = appOf(url);
  const confirmed = await browser.post('/v1/account/totp/confirm', { code: app.code() });
  const codes: string[] = confirmed.json.recoveryCodes;
  fixture.clock.now += STEP;
  const signIn = (code?: string, password = PASSWORD) =>
    new TestBrowser(fixture).post('/v1/sign-in', { operator: name, password, ...(code !== undefined && { code }) });
  return { name, browser, app, codes, signIn, url };
}

describe('the code of an authenticator app', () => {
  it('is the one of RFC 6238, for the current time step and the one before and after it', () => {
    const secret = Buffer.from('12345678901234567890'); // the test vectors of the RFC, their last six digits
    expect([totpStep(secret, '287082', 59_000), totpStep(secret, '081804', 1_111_111_109_000)]).toEqual([
      1, 37_037_036,
    ]);
    expect([29, 30, 89, 119, 120].map((seconds) => totpStep(secret, '287082', seconds * 1_000))).toEqual([
      1,
      1,
      1,
      undefined,
      undefined,
    ]);
    expect(totpStep(secret, '287083', 59_000)).toBeUndefined();
  });

  it('is not asked for before it is confirmed, and then with every password', async () => {
    fixture.clock.now += 3_600_000;
    const browser = await signedInBrowser(fixture, 'grace');
    const { secret, url } = (await browser.post('/v1/account/totp')).json;
    expect(secret).toMatch(/^[A-Z2-7]{32}$/);
    expect(url).toMatch(/^otpauth:\/\/totp\/Rollcall:grace%40localhost\?issuer=Rollcall&secret=[A-Z2-7]{32}&/);
    const signIn = (code?: string) =>
      new TestBrowser(fixture).post('/v1/sign-in', { operator: 'grace', password: PASSWORD, code });
    expect((await signIn()).status).toBe(200);
    expect((await browser.get('/v1/account')).json).toMatchObject({ totp: 'unconfirmed', recoveryCodes: 0 });
    expect(await browser.post('/v1/account/totp/confirm', { code: '000000' })).toMatchObject({
      status: 422,
      json: { code: 'code_refused' },
    });
    const app = appOf(url);
    const { json } = await browser.post('/v1/account/totp/confirm', { code: app.code() });
    expect(new Set(json.recoveryCodes).size).toBe(10);
    expect((await browser.get('/v1/account')).json).toMatchObject({ totp: 'confirmed', recoveryCodes: 10 });
    expect(await signIn()).toMatchObject({ status: 401, json: { code: 'code_required' } });
    fixture.clock.now += STEP;
    expect(await signIn(app.code())).toMatchObject({ status: 200, json: { session: { method: 'password+totp' } } });
  });

  it('is not accepted twice, and neither is an earlier one after it', async () => {
    const { app, signIn } = await operatorWithTotp();
    const [earlier, current] = [app.codeAt(fixture.clock.now), app.codeAt(fixture.clock.now + STEP)];
    fixture.clock.now += STEP;
    expect((await signIn(current)).status).toBe(200);
    expect(await signIn(current)).toMatchObject(refused);
    expect(await signIn(earlier)).toMatchObject(refused);
    fixture.clock.now += STEP;
    expect((await signIn(`${app.code().slice(0, 3)} ${app.code().slice(3)}`)).status).toBe(200);
  });

  it('does not show by its answer that the password is wrong', async () => {
    const { app, signIn } = await operatorWithTotp();
    expect(await signIn(app.code(), 'wrong password 1')).toMatchObject(refused);
    expect(await signIn('000000')).toMatchObject(refused);
  });

  it('is needed beside a link for a forgotten password, and to authenticate again', async () => {
    const { name, app, browser } = await operatorWithTotp();
    expect((await browser.post('/v1/reauthenticate', { password: PASSWORD })).json).toMatchObject({
      code: 'code_required',
    });
    expect((await browser.post('/v1/reauthenticate', { password: PASSWORD, code: app.code() })).status).toBe(200);
    fixture.clock.now += STEP;
    const { url } = await fixture.client.createSignInLink({ operator: name });
    const secret = secretOf(url);
    const other = new TestBrowser(fixture);
    expect((await other.post('/v1/sign-in/link', { secret })).json).toMatchObject({ needsCode: true });
    const use = { secret, password: 'another good password' };
    expect((await other.post('/v1/sign-in/link/use', use)).json).toMatchObject({ code: 'code_required' });
    expect(await other.post('/v1/sign-in/link/use', { ...use, code: '000000' })).toMatchObject(refused);
    expect((await other.post('/v1/sign-in/link/use', { ...use, code: app.code() })).status).toBe(200);
  });

  it('is not asked for any more when the secret was removed, which needs a recent sign-in', async () => {
    const { browser, app, signIn, codes } = await operatorWithTotp();
    fixture.clock.now += 3_600_000;
    expect((await browser.post('/v1/account/totp/remove')).json).toMatchObject({ code: 'reauthentication_required' });
    await browser.post('/v1/reauthenticate', { password: PASSWORD, code: app.code() });
    expect((await browser.post('/v1/account/totp/remove')).status).toBe(200);
    expect((await browser.get('/v1/account')).json).toMatchObject({ totp: 'none', recoveryCodes: 0 });
    expect((await signIn()).status).toBe(200);
    expect((await browser.post('/v1/account/recovery-codes')).json).toMatchObject({ code: 'totp_unknown' });
    expect(codes).toHaveLength(10);
  });

  it('is removed with a reset, after which a link sets a password again', async () => {
    const { name, signIn } = await operatorWithTotp();
    await fixture.client.resetOperator({ name });
    expect(await signIn()).toMatchObject(refused);
    const { url } = await fixture.client.createSignInLink({ operator: name });
    const use = { secret: secretOf(url), password: PASSWORD };
    expect((await new TestBrowser(fixture).post('/v1/sign-in/link/use', use)).status).toBe(200);
  });
});

describe('a recovery code', () => {
  it('signs in once, as it is typed, and is counted in the audit', async () => {
    const { name, codes, signIn, browser } = await operatorWithTotp();
    const [first = '', second = ''] = codes;
    expect(first).toMatch(/^[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3}$/);
    const typed = first.toUpperCase().replaceAll('-', ' ');
    expect(await signIn(typed)).toMatchObject({ status: 200, json: { session: { method: 'password+recovery' } } });
    expect(await signIn(first)).toMatchObject(refused);
    expect(await signIn('aaaa-aaaa-aaaa-aaaa')).toMatchObject(refused);
    expect((await browser.get('/v1/account')).json).toMatchObject({ recoveryCodes: 9 });
    const audit = await fixture.client.listAudit({ subject: `operator/${name}`, limit: 10 });
    expect(audit).toContainEqual(
      expect.objectContaining({ action: 'operator.recovery.used', details: { left: 9, fromAddress: '127.0.0.1' } }),
    );
    await browser.post('/v1/account/recovery-codes');
    expect(await signIn(second)).toMatchObject(refused);
  });

  it('has 80 random bits', () => {
    const codes = makeRecoveryCodes().map(canonicalRecoveryCode);
    expect(codes.every((code) => code.length === 16)).toBe(true);
    expect(new Set(codes).size).toBe(codes.length);
  });
});
