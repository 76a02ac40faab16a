/** The page of telemetry, in a real browser: what real devices send, sinks, the newest messages, queries and exports. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { connectDevices, publish, type SampleDevice } from '../fixtures/sample-fleet.ts';

/** An element and RIGHT-TO-LEFT OVERRIDE. */
const HOSTILE = '<img src=x onerror=alert(1)>\u202e';

describeWithClients('the page of telemetry', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  let devices: SampleDevice[];
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-archive-'));
  beforeAll(async () => {
    const settings = [
      /** Nothing listens there. */
      { name: 'lake', kind: 'nats', url: 'nats://127.0.0.1:9' },
      { name: 'archive', kind: 'file', path: join(directory, 'messages.ndjson') },
    ];
    fleet = await startFleet({ settings: [[['sinks'], settings]] });
    browser = await startBrowser({ url: fleet.consoleUrl, headers: operatorHeaders(fleet) });
    devices = [...(await connectDevices(fleet, 'press', 5)), ...(await connectDevices(fleet, 'pump', 3))];
    for (const [index, device] of devices.entries()) {
      for (let n = 0; n <= index; n += 1) {
        await publish(device, 'climate', JSON.stringify({ celsius: 20 + n, humidity: 40 }));
      }
    }
  });
  afterAll(async () => {
    for (const { client } of devices) await client.endAsync(true);
    await browser.close();
    await fleet.stop();
    rmSync(directory, { recursive: true });
  });

  it('shows who stored most, what the journal holds and for how long', async () => {
    const { page, expectSound } = await browser.open('/telemetry');
    await page.getByText('36 messages in 1 file').waitFor();
    await page.getByText('stores at once').waitFor();
    const rows = page.getByRole('region', { name: 'Devices and what they stored' }).locator('tbody tr');
    await expect.poll(() => rows.count()).toBe(8);
    await expect.poll(() => rows.first().textContent()).toMatch(/^pump-038/);
    await publish(devices[0] as SampleDevice, 'log', 'x'.repeat(2_000));
    await page.getByRole('row', { name: /^press-01 2 / }).waitFor();
    await expect.poll(() => rows.first().textContent()).toMatch(/^press-01/);
    await page.getByRole('button', { name: 'By messages' }).click();
    await expect.poll(() => rows.first().textContent()).toMatch(/^pump-03/);
    expect(new URL(page.url()).searchParams.get('by')).toBe('messages');
    await expectSound('telemetry-storage');
    await page.close();
  });

  it('shows a sink that is down with its error, and replays and skips after the name was typed', async () => {
    const { page, expectSound } = await browser.open('/telemetry?view=sinks');
    const lake = page.getByRole('region', { name: 'lake' });
    await lake.getByText('down', { exact: true }).waitFor();
    await lake.getByText('connection refused').waitFor();
    await lake.getByText(/^37 messages, /).waitFor();
    await expectSound('telemetry-sinks');

    const archive = page.getByRole('region', { name: 'archive' });
    await archive.getByText('37 since the start').waitFor();
    await archive.getByRole('button', { name: 'Replay…' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'From a position' }).click();
    const replay = dialog.getByRole('button', { name: 'Replay', exact: true });
    expect(await replay.isDisabled()).toBe(true);
    await dialog.getByLabel(/^Type/).fill('archive');
    await expectSound('telemetry-replay');
    await replay.click();
    await page.getByText('archive forwards again').waitFor();
    await archive.getByText('74 since the start').waitFor();
    const [entry] = await fleet.operator.listAudit({ subject: 'sink/archive', limit: 1 });
    expect(entry).toMatchObject({ action: 'sink.replayed' });

    await lake.getByRole('button', { name: 'Skip a message…' }).click();
    await dialog.getByLabel(/^Type/).fill('lake');
    await dialog.getByRole('button', { name: 'Skip it' }).click();
    await page.getByText(/is a dead letter now|nothing was skipped/).waitFor();
    await page.close();
  });

  it('shows the newest messages as they are stored, of one device when asked, and none during a pause', async () => {
    const { page, expectSound } = await browser.open('/telemetry?view=live');
    await page.locator('.live.is-live').waitFor();
    const [first, second] = devices as [SampleDevice, SampleDevice];
    await publish(first, 'note', HOSTILE);
    const list = page.getByRole('list', { name: 'Newest messages' });
    await list.getByText('<img src=x onerror=alert(1)>').waitFor();
    await list.getByText('U+202E').waitFor();
    await publish(second, 'note', JSON.stringify({ long: 'y'.repeat(200_000) }));
    await list.getByText(/more characters$/).waitFor();
    expect(((await list.textContent()) ?? '').length).toBeLessThan(2_000);
    for (const device of devices) await publish(device, 'climate', '{"celsius":21.5,"humidity":44}');
    await list.locator('li').nth(9).waitFor();
    await expectSound('telemetry-live');

    await page.getByLabel('Device').fill(second.id);
    await page.getByLabel('Device').press('Enter');
    await page.getByText('Waiting for messages').waitFor();
    await page.locator('.live.is-live').waitFor();
    await publish(first, 'note', 'of the other device');
    await publish(second, 'note', 'of this device');
    await list.getByText('of this device').waitFor();
    expect(await list.locator('li').count()).toBe(1);
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByText('Paused', { exact: true }).waitFor();
    await publish(second, 'note', 'during the pause');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.locator('.live.is-live').waitFor();
    await publish(second, 'note', 'after the pause');
    await list.getByText('after the pause').waitFor();
    expect(await list.locator('li').count()).toBe(2);
    await page.close();
  });

  it('queries the messages of a device or a group, page by page, and exports them', async () => {
    const [first] = devices as [SampleDevice];
    await Promise.all(Array.from({ length: 120 }, (_, n) => publish(first, 'count', String(n))));
    const { page, expectSound } = await browser.open('/telemetry?view=query');
    await page.getByText('Name a device or a group').waitFor();
    await page.getByLabel('Device').fill(first.id);
    await page.getByLabel('Device').press('Enter');
    await page.getByLabel('Stream').fill('count');
    await page.getByLabel('Stream').press('Enter');
    await page.getByRole('heading', { name: '100 messages, and older ones' }).waitFor();
    await page.getByRole('button', { name: 'Older messages' }).click();
    await page.getByRole('heading', { name: '120 messages', exact: true }).waitFor();

    const csv = page.getByRole('link', { name: 'CSV' });
    expect(await csv.getAttribute('download')).toBe('telemetry.csv');
    // Chromium downloads without the headers that stand for signing in here.
    const file = await csv.evaluate(async (link) => (await fetch(link.getAttribute('href') ?? '')).text());
    const lines = file.trim().split('\n');
    expect(lines).toHaveLength(121);
    expect(lines[1]).toContain('press-01');
    expect(new URL(page.url()).searchParams.get('stream')).toBe('count');
    await page.goto(`${fleet.consoleUrl}/telemetry?view=query&group=pump`);
    await page.getByRole('list', { name: 'Messages' }).getByText('pump-02').first().waitFor();
    await expectSound('telemetry-query');
    await page.close();
  });
});
