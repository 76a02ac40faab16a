/** The page of refusals, in a real browser, while real clients are refused by a real server. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import {
  beRefused,
  connectDevices,
  enrollWithRevokedToken,
  foreignCertificate,
  type SampleDevice,
} from '../fixtures/sample-fleet.ts';

/** An element, RIGHT-TO-LEFT OVERRIDE, and 10,000 characters. */
const HOSTILE = ['<img src=x onerror=alert(1)>', '\u202eevil', 'x'.repeat(10_000)];

describeWithClients('the page of refusals', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  let devices: SampleDevice[];
  beforeAll(async () => {
    fleet = await startFleet();
    browser = await startBrowser({ url: fleet.consoleUrl, headers: operatorHeaders(fleet) });
    devices = await connectDevices(fleet, 'press', 4);
  });
  afterAll(async () => {
    for (const { client } of devices) await client.endAsync(true);
    await browser.close();
    await fleet.stop();
  });

  it('shows a handshake with a foreign certificate live, with its certificate, the failed check and what mends it', async () => {
    const { page } = await browser.open('/refused');
    await page.getByText('Nothing was refused in this time').waitFor();
    await page.getByText('Live', { exact: true }).waitFor();
    const stranger = foreignCertificate(fleet, 'press-09');
    await beRefused(stranger);
    const row = page.getByRole('button', { name: /^press-09 untrusted certificate/ });
    await row.waitFor();
    expect(await row.textContent()).toContain('the chain of the certificate ends at a root that is not of this fleet');
    expect(await row.textContent()).toContain('1 ×');
    await beRefused(stranger);
    await row.getByText('2 ×').waitFor();

    await row.click();
    await page.getByText('rollcall token create --device press-09').waitFor();
    await page.getByText('CN=Acme factory CA').waitFor();
    await page.getByText('within its dates').waitFor();
    expect(await page.getByRole('link', { name: 'Open press-09' }).getAttribute('href')).toBe('/devices/press-09');
    expect(new URL(page.url()).searchParams.get('open')).toMatch(/^[\w-]{16}$/);
    await page.reload();
    await page.getByText('CN=Acme factory CA').waitFor();
    await page.close();
  });

  it('shows a refused topic, an enrollment and a revoked device live, counts them, and filters them by the address', async () => {
    const { page, expectSound } = await browser.open('/refused?since=1h');
    await page.getByText('Live', { exact: true }).waitFor();
    const [first, second, third] = devices as [SampleDevice, SampleDevice, SampleDevice];
    await first.client.publishAsync('devices/press-02/telemetry/climate', '1', { qos: 1 }).catch(() => {});
    const topic = page.getByRole('button', { name: /^press-01 device no rule of the policy allows the topic/ });
    await topic.waitFor();
    await fleet.operator.revokeDevices({ ids: [second.id as never], reason: 'keyCompromise' });
    await openMqtt(second.identity, { protocolVersion: 5 }).catch(() => {});
    await fleet.operator.suspendDevices({ ids: [third.id as never] });
    await openMqtt(third.identity, { protocolVersion: 5 }).catch(() => {});
    await enrollWithRevokedToken(fleet, 'mixer-03');
    await beRefused({ mqttUrl: fleet.mqttUrl });
    await page.getByRole('button', { name: /^mixer-03 asks for this id the token was revoked/ }).waitFor();
    await page.getByRole('button', { name: /^127\.0\.0\.1 address the client presented no certificate/ }).waitFor();
    await topic.click();
    await page.getByText('rollcall policy explain press-01 publish TOPIC').waitFor();
    await page.getByText('devices/press-02/telemetry/climate').waitFor();
    await expectSound('refused');

    await page.getByLabel('Device').fill('press-02');
    await page.getByLabel('Device').press('Enter');
    await page.getByRole('heading', { name: '1 refusal in 1 group' }).waitFor();
    await page.getByRole('button', { name: /^press-02 device the certificate, or its device, was revoked/ }).waitFor();
    expect(new URL(page.url()).searchParams.get('device')).toBe('press-02');
    await page.close();
  });

  it('shows a hostile certificate bounded and as text', async () => {
    await beRefused(foreignCertificate(fleet, 'press-66', { names: HOSTILE }));
    const { page, expectSound, faults } = await browser.open('/refused?device=press-66');
    await page.getByRole('button', { name: /^press-66/ }).click();
    await page.getByText(/<img src=x onerror=alert\(1\)/).waitFor();
    expect(await page.locator('img[src="x"]').count()).toBe(0);
    const text = (await page.locator('main').textContent()) ?? '';
    expect(text).not.toContain('\u202e');
    expect(text.length).toBeLessThan(5_000);
    expect(faults).toEqual([]);
    await expectSound('refused-hostile');
  });
});
