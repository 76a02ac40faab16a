/** The overview of a real server, in a real browser. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

describeWithClients('the overview', ['chromium'], () => {
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

  it('shows the state of the server', async () => {
    const { page, expectSound } = await browser.open('/');
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    await page.getByText('ok', { exact: true }).waitFor();
    expect(await page.title()).toBe('Overview · Rollcall');
    await expectSound('overview');
  });
});
