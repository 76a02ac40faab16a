/** The settings of a real server, in a real browser that signed in. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { OPERATOR_PASSWORD, signInByLink } from '../fixtures/sign-in.ts';

describeWithClients('the settings', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  beforeAll(async () => {
    fleet = await startFleet();
    browser = await startBrowser({ url: fleet.consoleUrl });
    await signInByLink(fleet, browser, 'ada', 'admin');
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
  });

  it('change the own password, which ends the other sessions of the operator', async () => {
    const other = await startBrowser({ url: fleet.consoleUrl });
    await signInByLink(fleet, other, 'ada');
    const { page: left } = await other.open('/audit');
    await left.getByRole('heading', { name: 'Audit' }).waitFor();

    const { page, expectSound } = await browser.open('/settings');
    // The link of the other browser set a password too, so this session ended.
    await page.getByLabel('Name').fill('ada');
    await page.getByLabel('Password', { exact: true }).fill(OPERATOR_PASSWORD);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByRole('heading', { name: 'Settings' }).waitFor();
    await page.getByRole('heading', { name: 'Password' }).waitFor();
    await expectSound('settings-account');
    await page.getByRole('button', { name: 'Change' }).click();
    const dialog = page.getByRole('dialog', { name: 'Change your password' });
    await dialog.getByLabel('New password').fill('another horse battery');
    await dialog.getByRole('button', { name: 'Change password' }).click();
    await page.getByText('Your password is changed. Your other sessions ended.').waitFor();
    await left.getByText('Your session ended.').waitFor();
    await other.close();
    await page.close();
  });

  it('create an API key that works, show it once, and revoke it', async () => {
    const { page, expectSound } = await browser.open('/settings?tab=keys');
    await page.getByRole('heading', { name: 'There is no usable API key' }).waitFor();
    await expectSound('settings-no-key');
    await page.getByRole('button', { name: 'Create key' }).click();
    const form = page.getByRole('dialog', { name: 'Create an API key' });
    await form.getByLabel('Role').selectOption('operator');
    await form.getByLabel('Valid for').first().fill('7');
    await expectSound('settings-create-key');
    await form.getByRole('button', { name: 'Create key' }).click();
    const created = page.getByRole('dialog', { name: 'Key of ada' });
    const text = (await created.locator('.copyable code').textContent()) as string;
    expect(text).toMatch(/^rollcall_/);
    await created.getByRole('button', { name: 'Done' }).click();
    expect(await page.content()).not.toContain(text);
    expect(await fleet.operator.listOperatorKeys({})).toMatchObject([{ operator: 'ada', role: 'operator' }]);
    await page.getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke key' }).click();
    await page.getByRole('heading', { name: 'There is no usable API key' }).waitFor();
    expect(await fleet.operator.listOperatorKeys({})).toMatchObject([{ state: 'revoked' }]);
    await page.close();
  });

  it('end a session of another operator, and disable and reset an operator', async () => {
    const other = await startBrowser({ url: fleet.consoleUrl });
    await signInByLink(fleet, other, 'bo', 'viewer');
    const { page: left } = await other.open('/settings?tab=sessions');
    await left.getByRole('heading', { name: 'Your sessions' }).waitFor();
    expect(await left.getByRole('link', { name: 'Operators' }).count()).toBe(0);
    await expect.poll(() => left.getByRole('button', { name: 'End' }).count()).toBe(1);

    const { page, expectSound } = await browser.open('/settings?tab=sessions');
    await page.getByText('this browser').waitFor();
    await expectSound('settings-sessions');
    await page.locator('tr', { hasText: 'bo' }).getByRole('button', { name: 'End' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click();
    await page.getByText('A session of bo ended.').waitFor();
    await left.reload();
    await left.waitForURL('**/sign-in?next=*');
    await other.close();

    await page.goto(`${fleet.consoleUrl}/settings?tab=operators`);
    await page.locator('tr', { hasText: 'bo' }).getByRole('button', { name: 'Disable' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
    await page.locator('tr', { hasText: 'bo' }).getByText('disabled').waitFor();
    await page.locator('tr', { hasText: 'bo' }).getByRole('button', { name: 'Reset' }).click();
    await page.getByRole('dialog').getByLabel('Role').selectOption('operator');
    await expectSound('settings-reset');
    await page.getByRole('dialog').getByRole('button', { name: 'Reset' }).click();
    await page.locator('tr', { hasText: 'bo' }).getByText('active').waitFor();
    expect(await fleet.operator.listOperators()).toMatchObject([
      { name: 'ada' },
      { name: 'bo', role: 'operator', state: 'active' },
    ]);
    await expectSound('settings-operators');
    await page.close();
  });

  it('keep the theme that was chosen in this browser, and say how Prometheus reads the metrics', async () => {
    const { page, expectSound } = await browser.open('/settings?tab=appearance');
    await page.getByLabel('Dark').check();
    await page.reload();
    await page.getByLabel('Dark').waitFor();
    await expect.poll(() => page.getByLabel('Dark').isChecked()).toBe(true);
    const background = 'getComputedStyle(document.body).backgroundColor';
    await expect.poll(() => page.evaluate(background)).toBe('rgb(14, 18, 23)');
    await page.getByLabel('As the system').check();
    await expect.poll(() => page.evaluate(background)).toBe('rgb(246, 247, 249)');
    await expectSound('settings-appearance');
    await page.getByRole('link', { name: 'Metrics' }).click();
    await page.getByText(`targets: ['${new URL(page.url()).host}']`).waitFor();
    await expectSound('settings-metrics');
    await page.close();
  });
});
