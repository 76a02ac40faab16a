/** Services on the pages of a real server, in a real browser, with an application that connects. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openServiceDirectory } from '@rollcall/service-sdk/credentials';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { freshKey, writeTestCsr } from '../fixtures/enroll/test-csr.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { roleHeader } from '../fixtures/operator-headers.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

describeWithClients('the pages of services', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  beforeAll(async () => {
    fleet = await startFleet();
    browser = await startBrowser({ url: fleet.consoleUrl, headers: operatorHeaders(fleet) });
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
  });

  it('say what a service is, and the command that issues one, while there is none', async () => {
    const { page, expectSound } = await browser.open('/services');
    await page.getByRole('heading', { name: 'There is no service yet' }).waitFor();
    await expectSound('services-none');
    await page.close();
  });

  it('issue a certificate for a pasted request, with the files that a service directory has', async () => {
    const { page, expectSound } = await browser.open('/services');
    await page.getByRole('button', { name: 'Issue a certificate' }).click();
    const form = page.getByRole('dialog');
    await form.getByLabel('Name').fill('dashboard');
    await form.getByText('-subj /CN=dashboard').waitFor();
    const keys = freshKey();
    await form.getByLabel('Certificate request').fill(pem('CERTIFICATE REQUEST', writeTestCsr(keys)));
    await expectSound('services-issue');
    await form.getByRole('button', { name: 'Issue', exact: true }).click();

    const result = page.getByRole('dialog', { name: 'Certificate of dashboard' });
    await result.getByText('service.json').waitFor();
    await expectSound('services-issued');
    const directory = join(temporaryDirectory(), 'dashboard');
    mkdirSync(directory, { mode: 0o700 });
    const texts = await result.locator('.copyable code').allTextContents();
    for (const [index, file] of ['cert.pem', 'ca.pem', 'service.json'].entries()) {
      writeFileSync(join(directory, file), texts[index] as string);
    }
    const keyPem = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    writeFileSync(join(directory, 'key.pem'), keyPem, { mode: 0o600 });
    expect(await openServiceDirectory(directory)).toBeDefined();
    const [certificatePem, rootPem] = texts as [string, string];
    await connectMqtt({ deviceId: 'dashboard', mqttUrl: fleet.mqttUrl, keyPem, certificatePem, rootPem });

    await result.getByRole('button', { name: 'Done' }).click();
    await page.getByRole('link', { name: 'dashboard', exact: true }).click();
    await page.getByRole('heading', { name: 'Live sessions: 1' }).waitFor();
    await page.getByRole('link', { name: 'the built-in policy of services' }).waitFor();
    await expectSound('service');
    await page.close();
  });

  it('show what the server refuses, and change nothing', async () => {
    const before = await fleet.operator.listServices();
    const { page } = await browser.open('/services?dialog=issue');
    await page.getByLabel('Name').fill('broken');
    await page.getByLabel('Certificate request').fill('-----BEGIN CERTIFICATE REQUEST-----\nno\n-----END');
    await page.getByRole('dialog').getByRole('button', { name: 'Issue', exact: true }).click();
    await page.getByRole('alert').getByText('csr_malformed').waitFor();
    expect(await fleet.operator.listServices()).toEqual(before);
    await page.close();
  });

  it('revoke a service with its live sessions after its name was typed', async () => {
    const panel = await issueService(fleet, 'panel');
    const session = await connectMqtt(panel);
    const { page, expectSound } = await browser.open('/services/panel');
    await page.getByRole('button', { name: 'Revoke' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('Its live session ends.').waitFor();
    await dialog.getByLabel('Type panel to confirm').fill('panel');
    const end = closed(session);
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    await page.getByText(/^Service panel is revoked; 1 live session closed/).waitFor();
    await end;
    await page.getByRole('heading', { name: 'It is not connected' }).waitFor();
    await expectSound('service-revoked');
    await page.goto(`${fleet.consoleUrl}/services?show=all`);
    await page.getByRole('row', { name: /^panel revoked/ }).waitFor();
    await expectSound('services');
    await page.close();
  });

  it('have no buttons that act for a viewer', async () => {
    await fleet.operator.issueService({
      name: 'viewed' as never,
      csrPem: pem('CERTIFICATE REQUEST', writeTestCsr()),
    });
    const viewer = await startBrowser({ url: fleet.consoleUrl, headers: await roleHeader(fleet, 'viewer') });
    const { page, faults } = await viewer.open('/services?dialog=issue');
    await page.getByRole('link', { name: 'viewed', exact: true }).click();
    await page.getByRole('heading', { name: 'It is not connected' }).waitFor();
    expect(await page.locator('main').getByRole('button').count()).toBe(0);
    expect(await page.getByRole('dialog').count()).toBe(0);
    expect(faults).toEqual([]);
    await viewer.close();
  });
});

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
