/** Signing in with an identity provider, in a real browser with a real server and a real provider. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { type ConsoleBrowser, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { CLIENT_ID, CLIENT_SECRET, startOidcProvider } from '../fixtures/oidc-provider.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

describeWithClients('signing in with an identity provider', ['chromium'], () => {
  it('the sign-in page leads to the provider and back, and an account without a role is told so', async () => {
    const directory = temporaryDirectory();
    const [secret, ca] = [join(directory, 'secret'), join(directory, 'ca.pem')];
    const fleets: TestFleet[] = [];
    const consoleUrl = () => `https://localhost:${new URL(fleets[0]?.consoleUrl ?? '').port}`;
    const provider = await startOidcProvider(() => `${consoleUrl()}/v1/sign-in/oidc/callback`);
    writeFileSync(secret, CLIENT_SECRET, { mode: 0o600 });
    writeFileSync(ca, provider.ca);
    const oidc = { issuer: provider.issuer, clientId: CLIENT_ID, clientSecretFile: secret, caFile: ca };
    const roles = { admin: ['fleet-admins'] };
    fleets.push(
      await startFleet({ settings: [[['console', 'oidc'], { ...oidc, scopes: ['openid', 'profile'], roles }]] }),
    );
    onTestFinished(() => fleets[0]?.stop());
    const browser: ConsoleBrowser = await startBrowser({ url: consoleUrl(), otherSites: [provider.issuer] });
    onTestFinished(() => browser.close());

    provider.account = { sub: 'b7', claims: { preferred_username: 'eve' } };
    const { page, expectSound } = await browser.open('/devices');
    await page.getByRole('link', { name: 'Sign in with the identity provider' }).click();
    await page.getByText('has no access here').waitFor();
    await expectSound('sign-in-oidc-no-access', { refusals: true });

    await browser.context.clearCookies();
    provider.account = { sub: 'f3', claims: { preferred_username: 'ada', roles: ['fleet-admins'] } };
    await page.goto(`${consoleUrl()}/devices?group=press`);
    await page.getByRole('link', { name: 'Sign in with the identity provider' }).click();
    await page.waitForURL('**/devices?group=press');
    expect(await page.locator('.account').innerText()).toMatch(/^ada\nadmin\n/);
    const cookies = await browser.context.cookies(consoleUrl());
    expect(cookies.map(({ name, sameSite, httpOnly, secure }) => ({ name, sameSite, httpOnly, secure }))).toEqual([
      { name: '__Host-rollcall-session', sameSite: 'Strict', httpOnly: true, secure: true },
    ]);
    await page.reload();
    await page.getByRole('heading', { name: 'Devices' }).waitFor();
  });
});
