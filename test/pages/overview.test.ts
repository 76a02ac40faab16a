/** The overview of a real server, in a real browser, while real devices connect and are refused. */

import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { beRefused, connectDevices, foreignCertificate, publish, type SampleDevice } from '../fixtures/sample-fleet.ts';

/** Nothing listens there. */
const AWAY = { name: 'lake', kind: 'nats', url: 'nats://127.0.0.1:9' };

describeWithClients('the overview', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  beforeAll(async () => {
    fleet = await startFleet({ settings: [[['sinks'], [AWAY]]] });
    browser = await startBrowser({ url: fleet.consoleUrl, headers: operatorHeaders(fleet) });
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
  });

  it('leads from no device to the first one, which appears without a reload', async () => {
    const { page, expectSound } = await browser.open('/');
    await page.getByRole('button', { name: 'Create a token' }).click();
    const command = page.locator('.copyable code');
    await command.waitFor();
    const text = (await command.textContent()) ?? '';
    expect(text).toMatch(/^rollcall device enroll --out device --token - <<'TOKEN'\nrc1\./);
    expect(await page.title()).toBe('Overview · Rollcall');
    await expectSound('overview-first-device');

    const token = text.split('\n')[1] ?? '';
    await connectMqtt(await enrollOnce(memoryIdentityStore(), { token, deviceId: 'first-1' }));
    await page.getByRole('link', { name: /^Connected 1 of 1 device$/ }).waitFor();
    await expect.poll(() => page.getByText('Connect the first device').count()).toBe(0);
  });

  it('shows numbers, charts and what needs attention, each with a way to what explains it', async () => {
    const { page, expectSound } = await browser.open('/?span=15m');
    await page.getByText('Live', { exact: true }).waitFor();
    const devices = await connectDevices(fleet, 'press', 6);
    for (let n = 0; n < 5; n += 1) {
      await Promise.all(devices.map((device) => publish(device, 'climate', '{"celsius":21.5}')));
    }
    await beRefused(foreignCertificate(fleet, 'press-09'));
    await page.getByRole('link', { name: 'Connected 6 of 7 devices' }).waitFor();
    const refused = page.getByRole('link', { name: 'Refused in the last hour 1 1 connection' });
    await refused.waitFor();
    expect(await refused.getAttribute('href')).toBe('/refused?since=1h');
    const sinks = page.getByRole('link', { name: 'Sinks 0 of 1 up lake is down' });
    await sinks.waitFor();
    expect(await sinks.getAttribute('href')).toBe('/telemetry?view=sinks');
    await page.reload();
    await page.getByText(/^lake is down: /).waitFor();
    await expect.poll(() => page.locator('canvas').count()).toBe(4);
    expect(await page.getByRole('button', { name: '15 minutes' }).getAttribute('aria-pressed')).toBe('true');
    await expectSound('overview');
    await endAll(devices);
  });
});

async function endAll(devices: readonly SampleDevice[]): Promise<void> {
  for (const { client } of devices) await client.endAsync(true);
}
