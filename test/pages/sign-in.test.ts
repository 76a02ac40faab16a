/** Signing in and out on the pages of a real server, in a real browser, without a key. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const PASSWORD = 'correct horse battery';
const MINUTE_MS = 60_000;

describeWithClients('signing in', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  let ahead = 0;
  beforeAll(async () => {
    fleet = await startFleet({ now: () => Date.now() + ahead });
    browser = await startBrowser({ url: localUrl(fleet) });
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
  });

  const pathOf = (url: string) => url.slice(new URL(url).origin.length);

  it('begins with the link of the server, by which the first operator becomes an admin', async () => {
    const first = await browser.open('/devices?group=press');
    await first.page.waitForURL('**/sign-in?next=%2Fdevices%3Fgroup%3Dpress');
    await first.page.getByText('There is no operator yet.').waitFor();
    await first.expectSound('sign-in-no-operator');
    await first.page.close();

    const { url } = await fleet.operator.createSignInLink({});
    const { page, expectSound } = await browser.open(pathOf(url));
    await page.getByRole('heading', { name: 'Welcome to Rollcall' }).waitFor();
    expect(pathOf(page.url())).toBe('/set-up');
    await page.goBack();
    await page.goForward();
    expect(page.url()).not.toContain('#');
    await page.getByRole('heading', { name: 'This page needs a link' }).waitFor();
    await page.goto(url);
    await page.getByRole('heading', { name: 'Welcome to Rollcall' }).waitFor();
    await expectSound('set-up');
    await page.getByLabel('Name').fill('ada');
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Add me and sign in' }).click();
    await page.getByRole('heading', { name: 'You are signed in' }).waitFor();
    await expectSound('set-up-done');
    await page.getByRole('button', { name: 'Open the console' }).click();
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    expect(await page.locator('.account').innerText()).toMatch(/^ada\nadmin\n/);
    expect(await fleet.operator.listOperators()).toMatchObject([{ name: 'ada', role: 'admin' }]);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL('**/sign-in');
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    expect(await page.getByText('Your session ended').count()).toBe(0);
    await page.close();

    const again = await browser.open(pathOf(url));
    await again.page.getByText('It was used already, was replaced by a newer one, or has expired.').waitFor();
    await again.expectSound('set-up-used-link', { refusals: true });
    await again.page.close();
  });

  it('says in words that a password is wrong, and goes on to the page that was wanted', async () => {
    const { page, expectSound } = await browser.open('/audit?action=operator');
    await page.getByLabel('Name').fill('ada');
    await page.getByLabel('Password', { exact: true }).fill('wrong horse battery');
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByText('The name, the password or the code is not right.').waitFor();
    await expectSound('sign-in-refused', { refusals: true });
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByLabel('Password', { exact: true }).press('Enter');
    await page.waitForURL('**/audit?action=operator');
    await page.locator('summary', { hasText: 'ada' }).first().waitFor();
    await page.close();
  });

  it('leads to no other site afterwards', async () => {
    for (const next of ['//evil.example', '/\\evil.example', 'https://evil.example', 'javascript:alert(1)']) {
      const { page } = await browser.open(`/sign-in?next=${encodeURIComponent(next)}`);
      await page.getByRole('heading', { name: 'Overview' }).waitFor();
      expect(pathOf(page.url())).toBe('/');
      await page.close();
    }
  });

  it('is asked for again when the session was ended elsewhere, and the page comes back', async () => {
    const { page, expectSound } = await browser.open('/audit?action=operator');
    await page.getByRole('heading', { name: 'Audit' }).waitFor();
    for (const { id } of await fleet.operator.listOperatorSessions({})) await fleet.operator.endOperatorSession({ id });
    await page.getByText('Your session ended. Sign in again to go on where you were.').waitFor();
    await expectSound('sign-in-ended', { refusals: true });
    await signIn(page, 'ada');
    await page.waitForURL('**/audit?action=operator');
    await page.close();
  });

  it('is asked for again before an act that needs a recent one, which then is done', async () => {
    ahead += 6 * MINUTE_MS;
    const { page, expectSound } = await browser.open('/settings?tab=operators');
    await page.getByRole('button', { name: 'Add operator' }).click();
    await page.getByLabel('Name').fill('bo');
    await page.getByRole('button', { name: 'Add and make a link' }).click();
    const dialog = page.getByRole('dialog', { name: 'Confirm that it is you' });
    await dialog.waitFor();
    await expectSound('reauthentication', { refusals: true });
    await dialog.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await dialog.getByRole('button', { name: 'Continue' }).click();
    const link = page.getByRole('dialog', { name: 'Link for bo' });
    await link.waitFor();
    const url = (await link.locator('.copyable code').textContent()) as string;
    await expectSound('settings-link', { refusals: true });
    expect(await fleet.operator.listOperators()).toMatchObject([{ name: 'ada' }, { name: 'bo', role: 'operator' }]);
    await page.close();

    const invited = await startBrowser({ url: localUrl(fleet) });
    const own = await invited.open(pathOf(url));
    await own.page.getByRole('heading', { name: 'Set your password' }).waitFor();
    expect(await own.page.getByLabel('Name').inputValue()).toBe('bo');
    await own.page.getByLabel('Password', { exact: true }).fill('short');
    await own.page.getByRole('button', { name: 'Set the password and sign in' }).click();
    await own.page.getByText('Choose a password of 12 characters or more.').waitFor();
    await own.page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await own.page.getByRole('button', { name: 'Set the password and sign in' }).click();
    await own.page.getByRole('button', { name: 'Open the console' }).click();
    await own.page.getByText('operator', { exact: true }).waitFor();
    await invited.close();
  });

  it('waits after many wrong passwords, and says for how long', async () => {
    const other = await startBrowser({ url: localUrl(fleet) });
    const { page, expectSound } = await other.open('/sign-in');
    await page.getByLabel('Name').fill('cy');
    const wait = page.getByText(/^Too many attempts failed\. Wait \d+ s, then try again\./);
    await page.getByLabel('Password', { exact: true }).fill('wrong horse battery');
    for (let attempt = 0; attempt < 40 && (await wait.count()) === 0; attempt += 1) {
      const answered = page.waitForResponse('**/v1/sign-in');
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await answered;
      await page.locator('.notice.bad').waitFor();
      await page.getByRole('button', { name: 'Sign in', exact: true, disabled: false }).waitFor();
    }
    await wait.waitFor();
    await expectSound('sign-in-limited', { refusals: true });
    await other.close();
  });
});

/** By the name in the links. */
function localUrl({ consoleUrl }: TestFleet): string {
  return consoleUrl.replace('127.0.0.1', 'localhost');
}

type Page = Awaited<ReturnType<ConsoleBrowser['open']>>['page'];

async function signIn(page: Page, name: string): Promise<void> {
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}
