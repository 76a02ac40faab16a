/** A passkey that a real browser makes and uses, with its virtual authenticator, on a real server. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, startBrowser } from '../fixtures/browser.ts';
import { secretOf } from '../fixtures/console/test-browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const PASSWORD = 'correct horse battery staple';

/** Of a page of the console: sends a request as its pages do, and calls the browser's own WebAuthn. */
const PAGE_FUNCTIONS = `
  let csrf;
  globalThis.send = async (path, body = {}) => {
    const headers = { 'content-type': 'application/json', ...(csrf && { 'x-csrf-token': csrf }) };
    const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) });
    const json = await response.json();
    csrf = json.csrfToken ?? csrf;
    return { status: response.status, json };
  };
  globalThis.addPasskey = async () => {
    const { json } = await send('/v1/account/passkeys/options');
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(json);
    const credential = (await navigator.credentials.create({ publicKey })).toJSON();
    return send('/v1/account/passkeys', { name: 'laptop', credential });
  };
  globalThis.usePasskey = async (path) => {
    const { json } = await send(path + '/options');
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(json);
    const credential = (await navigator.credentials.get({ publicKey })).toJSON();
    return send(path, { credential });
  };
`;

describeWithClients('a passkey of a browser', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  beforeAll(async () => {
    fleet = await startFleet();
    browser = await startBrowser({ url: fleet.consoleUrl.replace('127.0.0.1', 'localhost') });
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
  });

  it('is added by the first operator, signs in without a name, and is a recent sign-in', async () => {
    const { url } = await fleet.operator.createSignInLink({});
    const { page, faults } = await browser.open('/sign-in');
    const devtools = await browser.context.newCDPSession(page);
    await devtools.send('WebAuthn.enable');
    const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2',
        transport: 'internal',
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
      },
    });
    const run = (expression: string) => page.evaluate(expression) as Promise<{ status: number; json: object }>;
    await page.evaluate(PAGE_FUNCTIONS);
    const setUp = { secret: secretOf(url), operator: 'ada', password: PASSWORD };
    expect(await run(`send('/v1/sign-in/link/use', ${JSON.stringify(setUp)})`)).toMatchObject({ status: 200 });
    expect(await run('addPasskey()')).toMatchObject({ status: 200, json: { name: 'laptop', rpId: 'localhost' } });
    expect(await run(`send('/v1/sign-out')`)).toMatchObject({ status: 200 });

    expect(await run(`usePasskey('/v1/sign-in/passkey')`)).toMatchObject({
      status: 200,
      json: { operator: 'ada', role: 'admin', session: { method: 'passkey' } },
    });
    expect(await run(`usePasskey('/v1/reauthenticate/passkey')`)).toMatchObject({ status: 200 });
    expect(await run(`send('/v1/operators', { name: 'bob' })`)).toMatchObject({ status: 200 });

    await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
    await expect(run(`usePasskey('/v1/sign-in/passkey')`)).rejects.toThrow('NotAllowedError');
    expect(faults).toEqual([]);
    await page.close();
  });
});
