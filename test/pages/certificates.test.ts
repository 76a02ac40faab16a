/** Certificates and CAs on the pages of a real server, in a real browser: what expires, a rotation, one certificate. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { requestRenewal } from '../../device-sdk/enrollment.ts';
import { type ConsoleBrowser, operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { makeCertificate } from '../fixtures/console/test-console.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { roleHeader } from '../fixtures/operator-headers.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

describeWithClients('the page of certificates', ['chromium'], () => {
  const files = mkdtempSync(join(tmpdir(), 'rollcall-console-'));
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  let kept: StoredIdentity;
  let lost: StoredIdentity;
  beforeAll(async () => {
    fleet = await startFleet({
      settings: [
        [['certificateStatus', 'listen'], true],
        [['certificateStatus', 'port'], 0],
        // A certificate that no rotation replaces: the browser trusts its key.
        [['certificates', 'files', 'console'], await certificateFiles(files)],
      ],
    });
    browser = await startBrowser({ url: fleet.consoleUrl, headers: operatorHeaders(fleet) });
    kept = await fleet.enroll('press-1');
    lost = await fleet.enroll('press-2');
    await fleet.mint({ ttlSeconds: 20 * 86_400 });
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
    rmSync(files, { recursive: true });
  });

  it('shows what expires by week and kind, and lists it', async () => {
    const { page, expectSound } = await browser.open('/certificates');
    // Lifetimes are spread, so that the two may end in different weeks.
    const week = page.getByRole('link', { name: /^Week of .*: [12] devices/ }).first();
    await week.waitFor();
    await page.getByRole('row', { name: /in 20 days Token group\/default/ }).waitFor();
    await expectSound('certificates');
    await week.click();
    await page
      .getByRole('link', { name: /^press-[12]$/ })
      .first()
      .waitFor();
    await page.getByLabel('Kind').selectOption('token');
    await page.getByText('1', { exact: true }).first().waitFor();
    expect(new URL(page.url()).searchParams.get('kind')).toBe('token');
    await page.close();
  });

  it('asks the devices of a group to renew earlier', async () => {
    const { page } = await browser.open('/certificates');
    await page.getByRole('button', { name: 'Ask to renew' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Group').fill('default');
    await dialog.getByRole('button', { name: 'Ask to renew' }).click();
    await page.getByText(/^2 devices and 0 certificates of services are asked to renew/).waitFor();
    expect((await fleet.operator.renewalStatus({})).pulled).toBe(2);
    await page.close();
  });

  it('replaces the issuing CA stage by stage, with whom each stage would strand before it is done', async () => {
    const session = await connectMqtt(lost);
    const { page, expectSound } = await browser.open('/certificates?view=ca');
    await page.getByText('No replacement is under way').waitFor();
    await page.getByRole('button', { name: 'Prepare an issuing CA' }).click();
    await confirm(page, 'prepare issuing', 'Prepare');
    expect(await states()).toEqual(['active', 'prepared']);
    await expectSound('ca-prepared');

    await page.getByRole('button', { name: /^Activate issuing CA/ }).click();
    await page.getByText('Every device and service trusts a root that stands above it.').waitFor();
    await confirm(page, /^activate [0-9a-f]{8}$/, 'Activate');
    expect(await states()).toEqual(['outgoing', 'active']);

    await page.getByRole('button', { name: /^Taint issuing CA/ }).click();
    await confirm(page, /^taint [0-9a-f]{8}$/, 'Taint');
    await page.getByText('2 devices and services have no other valid certificate yet.').waitFor();

    await requestRenewal(memoryIdentityStore(), kept);
    await page.getByRole('button', { name: /^Retire issuing CA/ }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('1 device or service would have no valid certificate').waitFor();
    await dialog.getByRole('link', { name: 'device press-2' }).waitFor();
    await expectSound('ca-retire');
    const end = closed(session);
    await confirm(page, 'retire and strand 1', 'Retire');
    expect(await states()).toEqual(['retired', 'active']);
    await end;
    await page.getByText('No replacement is under way').waitFor();
    await page.close();
  });

  it('shows the revocation lists and the address of OCSP', async () => {
    await fetch(`${fleet.certificateStatusUrl}/crl/issuing.crl`);
    const { page, expectSound } = await browser.open('/certificates?view=status');
    await page.getByText(`${fleet.certificateStatusUrl}/ocsp`).waitFor();
    await expect.poll(() => page.getByRole('row').filter({ hasText: 'valid' }).count()).toBe(2);
    await expectSound('certificate-status');
    await page.close();
  });

  it('finds a certificate by its serial as openssl prints it, and revokes it while its holder has another', async () => {
    const device = await fleet.enroll('press-3');
    await requestRenewal(memoryIdentityStore(), device);
    const [first, second] = (await fleet.operator.showDevice({ id: 'press-3' })).certificates;
    const serial = first?.serial as string;
    const { page, expectSound } = await browser.open('/certificates?view=find');
    const pairs = serial.toUpperCase().padStart(40, '0').match(/../g)?.join(':');
    await page.getByLabel('Serial').fill(`serial=${pairs}`);
    await page.getByRole('button', { name: 'Find' }).click();
    await page.getByRole('link', { name: 'device press-3' }).waitFor();
    await page.getByRole('button', { name: 'Revoke this certificate' }).click();
    await page
      .getByRole('dialog')
      .getByLabel(/to confirm$/)
      .fill(serial.slice(0, 8));
    await expectSound('certificate-revoke');
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await page.getByText('revoked', { exact: true }).waitFor();
    await expectSound('certificate');
    const { certificates } = await fleet.operator.showDevice({ id: 'press-3' });
    expect(certificates.map(({ status }) => status)).toEqual(['revoked', 'good']);
    expect(certificates[1]?.serial).toBe(second?.serial);
    await page.getByLabel('Serial').fill('abc123');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.getByText('certificate_unknown').waitFor();
    await page.close();
  });

  it('leaves the steps of a rotation to admins, and has no buttons that act for a viewer', async () => {
    for (const role of ['operator', 'viewer'] as const) {
      const other = await startBrowser({ url: fleet.consoleUrl, headers: await roleHeader(fleet, role) });
      const { page, faults } = await other.open('/certificates?view=ca');
      await page.getByText('No replacement is under way').waitFor();
      expect(await page.locator('main').getByRole('button').count()).toBe(0);
      await page.goto(`${fleet.consoleUrl}/certificates`);
      await page.getByRole('table').waitFor();
      const askers = () => page.getByRole('button', { name: 'Ask to renew' }).count();
      await expect.poll(askers).toBe(role === 'operator' ? 1 : 0);
      expect(faults).toEqual([]);
      await other.close();
    }
  });

  async function states() {
    return (await fleet.operator.listCas()).filter(({ role }) => role === 'issuing').map(({ state }) => state);
  }
});

async function certificateFiles(directory: string): Promise<{ readonly cert: string; readonly key: string }> {
  const { cert, key } = await makeCertificate('console');
  const paths = { cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem') };
  writeFileSync(paths.cert, cert);
  writeFileSync(paths.key, key, { mode: 0o600 });
  return paths;
}

/** Types what the dialog asks for, which has to be as expected, and waits until it is done. */
async function confirm(page: Page, typed: string | RegExp, action: string): Promise<void> {
  const dialog = page.getByRole('dialog');
  const wanted = (await dialog.locator('label code').textContent()) ?? '';
  expect(wanted).toMatch(typed);
  await dialog.getByLabel(/to confirm$/).fill(wanted);
  await dialog.getByRole('button', { name: action, exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
}
