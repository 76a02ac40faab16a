/** The list of devices of a real server, in a real browser, with real devices that come and go. */

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ConsoleBrowser } from '../fixtures/browser.ts';
import { type BrowserFleet, startBrowserFleet } from '../fixtures/browser-fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const STORED = 2_000;
const LAST = 'press-9';

/** What no request could set, but a changed registry could hold. */
const HOSTILE = { site: 'north', note: '<img src=x onerror="globalThis.isRun=true">', turned: 'a\u202Eb\u0007' };

describeWithClients('the list of devices', ['chromium'], () => {
  let fleet: BrowserFleet;
  let browser: ConsoleBrowser;
  beforeAll(async () => {
    fleet = await startBrowserFleet({ stored: STORED, labels: HOSTILE });
    browser = await fleet.browser('operator');
    await fleet.enroll(LAST, { labels: { site: 'north' } });
  });
  afterAll(() => fleet.stop());

  const row = (page: Page, id: string) =>
    page.getByRole('row').filter({ has: page.getByRole('link', { name: id, exact: true }) });
  const rows = (page: Page) => page.locator('.device-body [role=row]');

  it('shows a device that enrolls and connects, and that it went, without being loaded again', async () => {
    const { page, expectSound } = await browser.open('/devices?label=site%3Dhall-3');
    await page.getByRole('heading', { name: 'No device matches' }).waitFor();
    await expectSound('devices-none');
    const device = await fleet.openDevice('press-1', { group: 'presses', labels: { site: 'hall-3' } });
    await row(page, 'press-1').getByText('online').waitFor();
    await page.getByText('1 device matches').waitFor();
    await device.close();
    await row(page, 'press-1').getByText('now').waitFor();
    await page.close();
  });

  it('has only the rows on the screen in the document, loads more while one scrolls, tells how many there are, and is at the same place after the way back', async () => {
    const { page } = await browser.open('/devices?label=site%3Dnorth');
    await page.getByText(`${(STORED + 1).toLocaleString('en')} devices match`).waitFor();
    await row(page, 'fill-00000000').waitFor();
    expect(await rows(page).count()).toBeLessThan(80);
    expect(await page.getByRole('table', { name: 'Devices' }).getAttribute('aria-rowcount')).toBe(String(STORED + 2));
    await expect
      .poll(async () => {
        await page.keyboard.press('End');
        return row(page, LAST).count();
      })
      .toBe(1);
    expect(await rows(page).count()).toBeLessThan(80);
    expect(await row(page, LAST).getAttribute('aria-rowindex')).toBe(String(STORED + 2));
    await page.getByRole('link', { name: LAST }).click();
    await page.getByRole('heading', { name: LAST }).waitFor();
    await page.goBack();
    await row(page, LAST).waitFor();
    expect(await page.evaluate('scrollY')).toBeGreaterThan(50_000);
    await page.keyboard.press('Home');
    await row(page, 'fill-00000000').waitFor();
    await page.close();
  });

  it('finds devices by what is typed, and by filters and an order that are in the address', async () => {
    const { page } = await browser.open('/devices');
    await page.getByRole('searchbox', { name: 'Search devices' }).fill('00000042');
    await page.getByText('1 device matches').waitFor();
    expect(new URL(page.url()).search).toBe('?text=00000042');
    await page.getByRole('searchbox', { name: 'Search devices' }).fill('site=north');
    await page.keyboard.press('Enter');
    await page.getByText('2,001 devices match').waitFor();
    await page.getByRole('button', { name: 'More filters' }).click();
    await page.getByLabel('Group', { exact: true }).fill('group-7');
    await page.keyboard.press('Enter');
    await page.getByText('20 devices match').waitFor();
    await page.getByRole('button', { name: 'Device', exact: true }).click();
    await expect.poll(() => rows(page).first().getByRole('link').textContent()).toBe('fill-00001907');
    expect(Object.fromEntries(new URL(page.url()).searchParams)).toEqual({
      ...{ label: 'site=north', group: 'group-7', reverse: 'true' },
    });
    await page.reload();
    await expect.poll(() => rows(page).first().getByRole('link').textContent()).toBe('fill-00001907');
    expect(await page.getByRole('columnheader', { name: 'Device', exact: true }).getAttribute('aria-sort')).toBe(
      'descending',
    );
    await page.getByRole('button', { name: 'Remove the filter Group group-7' }).click();
    await page.getByText('2,001 devices match').waitFor();
    await page.goto(new URL('/devices?address=nonsense', page.url()).href);
    await page.getByRole('alert').getByText('request_invalid').waitFor();
    await page.close();
  });

  it('suspends all devices that match after a dry run, and revokes them after what is typed', async () => {
    const { page, expectSound } = await browser.open('/devices?group=group-8');
    await page.getByText('20 devices match').waitFor();
    await row(page, 'fill-00000008').getByRole('checkbox').check();
    await row(page, 'fill-00000208')
      .getByRole('checkbox')
      .click({ modifiers: ['Shift'] });
    await page.getByText('3 selected').waitFor();
    await expectSound('devices');
    await page.getByRole('button', { name: 'Suspend' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('3 devices change.').waitFor();
    await dialog.getByRole('button', { name: 'Suspend' }).click();
    await dialog.getByText('Proof: 3 devices suspended').waitFor();
    await dialog.getByText('1 broker', { exact: true }).waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await row(page, 'fill-00000008').getByText('suspended').waitFor();

    await page.getByRole('checkbox', { name: 'Select all devices that are loaded' }).check();
    await page.getByText('20 selected').waitFor();
    await page.getByRole('button', { name: 'Resume' }).click();
    await dialog.getByText('3 devices change; 17 of the selected are in a status that this does not change.').waitFor();
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Revoke' }).click();
    await dialog.getByText('20 devices change.').waitFor();
    await dialog.getByLabel('Reason').selectOption('keyCompromise');
    const revoke = dialog.getByRole('button', { name: 'Revoke' });
    expect(await revoke.isDisabled()).toBe(true);
    await dialog.getByLabel('Type revoke-20 to confirm').fill('revoke-20');
    await expectSound('devices-revoke');
    await revoke.click();
    await dialog.getByText('Proof: 20 devices revoked').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await expect.poll(() => rows(page).getByText('revoked').count()).toBe(20);
    const revoked = await fleet.operator.listDevices({ group: 'group-8' as never, status: 'revoked' });
    expect(revoked.map(({ revocationReason }) => revocationReason)).toEqual(Array(20).fill('keyCompromise'));
    await page.close();
  });

  it('changes group and labels of the selected devices', async () => {
    const { page } = await browser.open('/devices?group=group-9');
    await row(page, 'fill-00000009').getByRole('checkbox').check();
    await row(page, 'fill-00000109').getByRole('checkbox').check();
    await page.getByRole('button', { name: 'Settings' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Labels').fill('site= line=4');
    await dialog.getByRole('button', { name: 'Change' }).click();
    await dialog.getByText('2 devices changed').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await row(page, 'fill-00000109').getByText('line=4').waitFor();
    expect((await fleet.operator.listDevices({ label: 'line=4' })).map(({ labels }) => labels)).toEqual([
      { line: '4' },
      { line: '4' },
    ]);
    await page.close();
  });

  it('shows hostile labels as text, in the list and on the page of the device', async () => {
    const { page, faults } = await browser.open('/devices?text=fill-00000000');
    for (const open of [() => {}, () => page.getByRole('link', { name: 'fill-00000000' }).click()]) {
      await open();
      await page.getByText('note=<img src=x onerror=').first().waitFor();
      await page.getByText('U+202E').first().waitFor();
      await page.getByText('U+0007').first().waitFor();
      expect(await page.locator('main img').count()).toBe(0);
    }
    expect(await page.evaluate('globalThis.isRun')).toBeUndefined();
    expect(faults).toEqual([]);
    await page.close();
  });

  it('lets a viewer select nothing', async () => {
    const { page, faults } = await (await fleet.browser('viewer')).open('/devices');
    await row(page, 'fill-00000000').waitFor();
    expect(await page.getByRole('checkbox').count()).toBe(0);
    expect(faults).toEqual([]);
  });
});
