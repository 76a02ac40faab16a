/** Passkeys and authenticator apps on the pages of real servers, from the link that `rollcall serve` prints on. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret, TOTP } from 'otpauth';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { PROGRAM } from '../fixtures/program.ts';
import { inTerminal } from '../fixtures/pseudo-terminal.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { OPERATOR_PASSWORD, signInByLink } from '../fixtures/sign-in.ts';
import { addVirtualAuthenticator } from '../fixtures/virtual-authenticator.ts';

const FREE_PORTS = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0'];
const MINUTE_MS = 60_000;

describeWithClients('the first operator of a new server', ['chromium', 'python3'], () => {
  it('comes by the printed link, adds a passkey, and signs in with it alone', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'rollcall-first-'));
    const terminal = inTerminal(
      [process.execPath, PROGRAM, 'serve', '--data', join(directory, 'data'), ...FREE_PORTS],
      {
        environment: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
      },
    );
    const link = new URL(await terminal.untilPrinted(/https:\/\/localhost:\d+\/set-up#[\w-]{43}/));
    const browser = await startBrowser({ url: link.origin });
    try {
      const { page, expectSound } = await browser.open('/');
      await addVirtualAuthenticator(page);
      await page.goto(link.href);
      await page.getByLabel('Name').fill('ada');
      await page.getByLabel('Password', { exact: true }).fill(OPERATOR_PASSWORD);
      await page.getByRole('button', { name: 'Add me and sign in' }).click();
      await page.getByRole('button', { name: 'Add a passkey' }).click();
      const dialog = page.getByRole('dialog', { name: 'Add a passkey' });
      await dialog.getByLabel('Name').fill('work laptop');
      await dialog.getByRole('button', { name: 'Add' }).click();
      await page.getByText('for localhost, added').waitFor();
      await expectSound('set-up-passkey');
      await page.getByRole('button', { name: 'Open the console' }).click();
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
      await page.getByRole('heading', { name: 'Overview' }).waitFor();
      await page.goto(`${link.origin}/settings?tab=sessions`);
      await page.locator('tr', { hasText: 'this browser' }).getByText('passkey', { exact: true }).waitFor();
    } finally {
      await browser.close();
      terminal.type('\u0003');
      await terminal.ended;
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describeWithClients('a second factor', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  let ahead = 0;
  const now = () => Date.now() + ahead;
  beforeAll(async () => {
    fleet = await startFleet({ now });
    browser = await startBrowser({ url: fleet.consoleUrl.replace('127.0.0.1', 'localhost') });
    await signInByLink(fleet, browser, 'ada', 'admin');
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
  });

  it('of an app is set up by its QR code, and asked for beside the password from then on', async () => {
    const { page, expectSound } = await browser.open('/settings');
    await page.getByRole('button', { name: 'Set up' }).click();
    await page.getByRole('button', { name: 'Show the QR code' }).click();
    await page.getByRole('img', { name: 'The secret as a QR code' }).waitFor();
    const secret = (await page.getByRole('dialog').locator('.copyable code').textContent()) as string;
    await expectSound('settings-totp');
    const app = new TOTP({ secret: Secret.fromBase32(secret) });
    await page.getByRole('textbox', { name: 'Code' }).fill(app.generate({ timestamp: now() }));
    await page.getByRole('button', { name: 'Turn it on' }).click();
    const codes = page.getByRole('dialog', { name: 'Recovery codes' });
    await codes.waitFor();
    const [first = ''] = ((await codes.locator('.copyable code').textContent()) ?? '').split('\n');
    await codes.getByRole('button', { name: 'I stored them' }).click();
    await page.getByText('10 recovery codes are left.').waitFor();

    await signOut(page);
    await signIn(page, 'ada');
    await page.getByRole('textbox', { name: 'Code' }).waitFor();
    await page.getByRole('textbox', { name: 'Code' }).fill('000000');
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByText('The name, the password or the code is not right.').waitFor();
    await expectSound('sign-in-code', { refusals: true });
    ahead += MINUTE_MS;
    await page.getByRole('textbox', { name: 'Code' }).fill(app.generate({ timestamp: now() }));
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByRole('heading', { name: 'Settings' }).waitFor();

    await signOut(page);
    await signIn(page, 'ada');
    await page.getByRole('textbox', { name: 'Code' }).fill(first);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByText('9 recovery codes are left.').waitFor();
    await page.getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('button', { name: 'Set up' }).waitFor();
    await page.close();
  });

  it('by a passkey is enough for an act that needs a recent sign-in: a revocation of several devices', async () => {
    for (const id of ['press-1', 'press-2']) await fleet.enroll(id);
    const { page, expectSound } = await browser.open('/settings');
    await addVirtualAuthenticator(page);
    await page.getByRole('button', { name: 'Add a passkey' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Add' }).click();
    await page.getByText('for localhost, added').waitFor();
    await expectSound('settings-passkey');

    ahead += 6 * MINUTE_MS;
    await page.getByRole('link', { name: 'Devices' }).click();
    await page.getByRole('checkbox', { name: 'Select all devices that are loaded' }).check();
    await page.getByRole('button', { name: 'Revoke' }).click();
    await page.getByLabel('Type revoke-2 to confirm').fill('revoke-2');
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    const confirmation = page.getByRole('dialog', { name: 'Confirm that it is you' });
    await confirmation.waitFor();
    expect(await fleet.operator.listDevices({ status: 'revoked' })).toEqual([]);
    await expectSound('reauthentication-passkey', { refusals: true });
    await confirmation.getByRole('button', { name: 'Use a passkey' }).click();
    await page.getByText('Proof: 2 devices revoked').waitFor();
    const [entry] = await fleet.operator.listAudit({ action: 'device.revoked' });
    expect(entry).toMatchObject({
      actor: 'operator/ada',
      details: { fromAddress: '127.0.0.1' },
    });
    await page.close();
  });
});

type Page = Awaited<ReturnType<ConsoleBrowser['open']>>['page'];

async function signOut(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
}

async function signIn(page: Page, name: string): Promise<void> {
  await page.goto(new URL('/sign-in?next=/settings', page.url()).href);
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password', { exact: true }).fill(OPERATOR_PASSWORD);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}
