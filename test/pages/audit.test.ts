/** The audit page of a real server, in a real browser. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { type ConsoleBrowser, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const HOSTILE = 'devices/<img src=x onerror=alert(1)>/\u202Ereversed';

describeWithClients('the audit page', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  beforeAll(async () => {
    fleet = await startFleet();
    const key = readFileSync(join(fleet.data, 'operator.key'), 'utf8').trim();
    browser = await startBrowser({ url: fleet.consoleUrl, headers: { authorization: `Bearer ${key}` } });
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
  });

  it('says what to do first where nothing was changed yet', async () => {
    const { page, expectSound } = await browser.open('/audit?action=policy');
    await page.getByRole('heading', { name: 'No entry matches' }).waitFor();
    await expectSound('audit-empty');
  });

  it('lists who did what, newest first, and filters by the address of the page', async () => {
    await fleet.enroll('press-1');
    await fleet.enroll('press-2');
    await fleet.operator.revokeDevices({ ids: ['press-2'], reason: 'keyCompromise' });
    const { page, expectSound } = await browser.open('/audit');
    const entries = page.locator('.entries > li');
    await entries.first().waitFor();
    expect(await entries.first().innerText()).toContain('Certificate revoked');

    await page.getByLabel('To what').fill('press-2');
    await page.getByLabel('To what').press('Enter');
    await page.waitForURL('**/audit?subject=press-2');
    await page.getByLabel('Did what').selectOption('Device revoked');
    await page.waitForURL(/action=device\.revoked/);
    await expect.poll(() => entries.count()).toBe(1);
    expect(await entries.innerText()).toContain('device/press-2');

    await entries.locator('summary').click();
    await page.getByText('the machine, by the operator socket').waitFor();
    await page.getByText('keyCompromise').waitFor();
    expect(await page.getByRole('link', { name: 'device press-2' }).getAttribute('href')).toBe('/devices/press-2');
    await expectSound('audit-entry');

    const linked = await browser.open(new URL(page.url()).pathname + new URL(page.url()).search);
    await linked.page.getByText('keyCompromise').waitFor();
  });

  it('shows the operator, the API key and the address behind a request of the network', async () => {
    await fleet.operator.addOperator({ name: 'ada', role: 'operator' });
    const { text } = await fleet.operator.createOperatorKey({ operator: 'ada', role: 'operator' });
    const ca = readFileSync(join(fleet.data, 'trust-bundle.pem'), 'utf8');
    const remote = openConsoleClient({ url: fleet.consoleUrl, operatorKey: text, ca });
    await remote.createToken({});
    await remote.close();
    const { page } = await browser.open('/audit?actor=ada');
    await page.locator('summary', { hasText: 'Bootstrap token created' }).click();
    await page.getByText(/^by the API key /).waitFor();
    await page.locator('.entry-details code', { hasText: '127.0.0.1' }).waitFor();
  });

  it('lists a page of entries at a time, and shows new ones without being asked', async () => {
    for (let n = 0; n < 101; n += 1) await fleet.operator.createToken({});
    const { page } = await browser.open('/audit?action=token.minted');
    const entries = page.locator('.entries > li');
    await expect.poll(() => entries.count()).toBe(100);
    await page.getByRole('button', { name: 'Older entries' }).click();
    await expect.poll(() => entries.count()).toBeGreaterThan(100);
    const before = await entries.count();
    await fleet.operator.createToken({});
    await expect.poll(() => entries.count()).toBe(before + 1);
  });

  it('verifies the chain, says the result in words, and exports every entry', async () => {
    const { page, expectSound } = await browser.open('/audit?action=device.revoked');
    await page.getByRole('button', { name: 'Verify' }).click();
    await page.getByText(/^The audit is intact: \d+ entries, none changed, and none missing\.$/).waitFor();
    const { head, entries } = await fleet.operator.verifyAudit();
    await page.getByText(`${head.id}:${head.hash}`).waitFor();
    await expectSound('audit-verified');
    const exported = await page.getByRole('link', { name: 'Export' }).getAttribute('href');
    // A download of Chromium has none of the headers that the fixture adds.
    const lines = await page.evaluate(async (url) => (await fetch(url)).text(), exported as string);
    expect(lines.trim().split('\n')).toHaveLength(entries);
  });

  it('shows text of strangers as text, with direction characters by their code points', async () => {
    await fleet.operator.setPolicy({ kind: 'group', name: 'strange', publish: [HOSTILE] });
    const { page, faults } = await browser.open('/audit?action=policy');
    await page.locator('summary').first().click();
    const shown = page.locator('.entry-details pre');
    await shown.waitFor();
    expect(await shown.innerText()).toContain('<img src=x onerror=alert(1)>/U+202Ereversed');
    expect(faults).toEqual([]);
  });

  it('shows times in the time zone of the reader, and UTC on hover', async () => {
    const { page } = await browser.open('/audit?action=policy');
    const time = page.locator('.entries time').first();
    const at = (await time.getAttribute('datetime')) as string;
    expect(await time.getAttribute('title')).toBe(`${at} (UTC)`);
    const hour = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium', timeZone: 'Europe/Berlin' });
    expect(await time.innerText()).toContain(hour.format(Date.parse(at)));
  });
});
