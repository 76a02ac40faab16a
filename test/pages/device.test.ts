/** The page of one device of a real server, in a real browser, with a real device behind it. */

import type { Device } from '@rollcall/device-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ConsoleBrowser } from '../fixtures/browser.ts';
import { type BrowserFleet, startBrowserFleet } from '../fixtures/browser-fleet.ts';
import { closed, openMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

describeWithClients('the page of a device', ['chromium'], () => {
  let fleet: BrowserFleet;
  let browser: ConsoleBrowser;
  let gateway: Device;
  beforeAll(async () => {
    fleet = await startBrowserFleet();
    browser = await fleet.browser('operator');
    gateway = await fleet.openDevice('gw-1', { group: 'gateways', labels: { site: 'hall-3' } });
    await fleet.openDevice('press-1', { group: 'presses', labels: { gateway: 'gw-1' } });
  });
  afterAll(() => fleet.stop());

  it('shows what a device is, where it comes from and what happened to it, and follows it', async () => {
    const { page, expectSound } = await browser.open('/devices/gw-1');
    await page.getByRole('link', { name: 'site=hall-3' }).waitFor();
    await page.getByRole('link', { name: 'press-1' }).waitFor();
    await page
      .getByRole('link', { name: /^token [0-9a-f]{16}$/ })
      .first()
      .waitFor();
    const events = page.getByRole('list', { name: 'Events, newest first' });
    await events.getByText('Enrolled').waitFor();
    await expectSound('device');
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Disconnect' }).click();
    await page.getByRole('heading', { name: 'Proof: 1 device disconnected' }).waitFor();
    const since = page.getByRole('list', { name: 'Events since the operation, newest first' });
    await since.getByText('Disconnected').waitFor();
    await since.getByText('Connected', { exact: true }).waitFor();
    await gateway.renew();
    await events.getByText('Certificate renewed').waitFor();
    await page.getByRole('cell', { name: /renewed from/ }).waitFor();
    await page.close();
  });

  it('revokes a connected device, and shows who confirmed that its session ended, and that it cannot come back', async () => {
    const identity = await fleet.enroll('lost-1', { labels: { site: 'hall-3' } });
    const lost = await openMqtt(identity);
    const ended = closed(lost);
    const { page, expectSound } = await browser.open('/devices/lost-1');
    await page.getByText('online').first().waitFor();
    await page.getByRole('button', { name: 'Revoke' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Reason').selectOption('keyCompromise');
    await dialog.getByLabel('Type lost-1 to confirm').fill('lost-1');
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    const proof = page.getByRole('region', { name: 'Proof: 1 device revoked' });
    await proof.getByText('1 broker', { exact: true }).waitFor();
    await ended;
    const since = page.getByRole('list', { name: 'Events since the operation, newest first' });
    await since.getByText('Disconnected').waitFor();
    await expect(openMqtt(identity)).rejects.toThrow();
    await since.getByText('Connection refused').waitFor();
    await expectSound('device-revoked');
    expect(await page.getByRole('button', { name: 'Revoke' }).count()).toBe(0);
    expect(await fleet.operator.showDevice({ id: 'lost-1' as never })).toMatchObject({
      ...{ status: 'revoked', revocationReason: 'keyCompromise', online: false },
    });
    await page.close();
  });

  it('says that there is no such device', async () => {
    const { page } = await browser.open('/devices/nobody');
    await page.getByRole('heading', { name: 'There is no such device' }).waitFor();
    await page.close();
  });

  it('lets a viewer act on nothing', async () => {
    const { page, faults } = await (await fleet.browser('viewer')).open('/devices/gw-1?act=revoke');
    await page.getByRole('link', { name: 'site=hall-3' }).waitFor();
    for (const name of ['Revoke', 'Suspend', 'Delete', 'Disconnect', 'Quarantine']) {
      expect(await page.getByRole('button', { name }).count()).toBe(0);
    }
    expect(await page.getByRole('dialog').count()).toBe(0);
    expect(faults).toEqual([]);
  });
});
