/** Bootstrap tokens on the pages of a real server, in a real browser, with devices that enroll. */

import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { roleHeader } from '../fixtures/operator-headers.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

describeWithClients('the pages of tokens', ['chromium'], () => {
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

  it('say what a token is for while there is none', async () => {
    const { page, expectSound } = await browser.open('/tokens');
    await page.getByRole('heading', { name: 'There is no token yet' }).waitFor();
    await expectSound('tokens-none');
    await page.close();
  });

  it('create a token with which a real device enrolls, and show who came in by it', async () => {
    const { page, expectSound } = await browser.open('/tokens');
    await page.getByRole('button', { name: 'Create token' }).click();
    const form = page.getByRole('dialog', { name: 'Create a token' });
    await form.getByLabel('Devices').fill('3');
    await form.getByLabel('Valid for').first().fill('2');
    await form.getByLabel('Unit of').selectOption('hours');
    await form.getByLabel('Group').fill('press');
    await form.getByLabel('Labels').fill('site=north\nline=4');
    await expectSound('tokens-create');
    await form.getByRole('button', { name: 'Create token' }).click();

    const result = page.getByRole('dialog', { name: /^Token [0-9a-f]{16}$/ });
    const text = (await result.locator('.copyable code').first().textContent()) ?? '';
    await result.getByRole('img', { name: 'The token as a QR code' }).waitFor();
    expect(await result.textContent()).toContain(`sudo rollcall-device enroll --token - <<'TOKEN'\n${text}\nTOKEN`);
    await expectSound('tokens-created');

    const press = await enrollOnce(memoryIdentityStore(), { token: text, deviceId: 'press-1' });
    expect(press.deviceId).toBe('press-1');
    const [token] = await fleet.operator.listTokens();
    expect(token).toMatchObject({ maxUses: 3, uses: 1, group: 'press', labels: { site: 'north', line: '4' } });
    expect(Date.parse(token?.expiresAt ?? '') - Date.parse(token?.mintedAt ?? '')).toBe(7_200_000);

    await result.getByRole('link', { name: 'Open the token' }).click();
    await page.getByText('1 of 3', { exact: true }).waitFor();
    await page.getByRole('link', { name: 'press-1' }).waitFor();
    await expectSound('token');
    await page.getByRole('link', { name: 'Certificates (1)' }).click();
    await page.getByText('enrollment', { exact: true }).waitFor();
    expect(await page.getByRole('table').textContent()).not.toContain(text);
    await page.close();
  });

  it('show what the server refuses in the form, and change nothing', async () => {
    const before = await fleet.operator.listTokens();
    const { page, faults } = await browser.open('/tokens?dialog=create');
    await page.getByRole('dialog').getByLabel('Group').fill('no group');
    await page.getByRole('dialog').getByRole('button', { name: 'Create token' }).click();
    await page.getByRole('alert').getByText('request_invalid').waitFor();
    expect(await fleet.operator.listTokens()).toEqual(before);
    await expect.poll(() => faults).toEqual([expect.stringContaining('400')]);
    await page.close();
  });

  it('revoke a token, and everything that came in by it after a typed confirmation', async () => {
    const token = await fleet.mint({ uses: 5 });
    const [valve] = await Promise.all(
      ['valve-1', 'valve-2'].map((deviceId) => enrollOnce(memoryIdentityStore(), { token, deviceId })),
    );
    const session = await connectMqtt(valve as NonNullable<typeof valve>);
    const id = token.split('.')[1] as string;
    const { page, expectSound } = await browser.open(`/tokens/${id}`);
    await page.getByRole('button', { name: 'Act on its devices' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('valve-1, valve-2').waitFor();
    const act = dialog.getByRole('button', { name: 'Revoke 2 devices' });
    expect(await act.isDisabled()).toBe(true);
    await dialog.getByLabel('Type revoke 2 to confirm').fill('revoke 2');
    await expectSound('token-devices');
    const end = closed(session);
    await act.click();
    await page.getByRole('heading', { name: 'Proof: 2 devices revoked' }).waitFor();
    await end;
    await page.getByText('revoked', { exact: true }).first().waitFor();
    expect(await fleet.operator.showIssuedFrom({ id })).toMatchObject({
      token: { state: 'void' },
      devices: [{ status: 'revoked' }, { status: 'revoked' }],
    });
    await expectSound('token-revoked');
    await page.close();
  });

  it('have no buttons that act for a viewer', async () => {
    await fleet.mint();
    const viewer = await startBrowser({ url: fleet.consoleUrl, headers: await roleHeader(fleet, 'viewer') });
    const { page, expectSound, faults } = await viewer.open('/tokens?dialog=create&state=all');
    await page.getByRole('table').waitFor();
    await expectSound('tokens');
    await page.getByRole('table').getByRole('link').last().click();
    await page.getByRole('heading', { name: 'Issued from it' }).waitFor();
    expect(await page.locator('main').getByRole('button').count()).toBe(0);
    expect(await page.getByRole('dialog').count()).toBe(0);
    expect(faults).toEqual([]);
    await viewer.close();
  });
});
