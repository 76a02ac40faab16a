/** The page of one device of a real server, in a real browser, with a real device behind it. */

import type { Device } from '@rollcall/device-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ConsoleBrowser } from '../fixtures/browser.ts';
import { type BrowserFleet, startBrowserFleet } from '../fixtures/browser-fleet.ts';
import { closed, openMqtt } from '../fixtures/mqtt.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

/** What a stranger could send: markup, an override of the direction, an escape. */
const HOSTILE = {
  html: '<img src=x onerror="globalThis.isRun=true">',
  text: 'press\u202Egpj.exe',
  escape: '\u001b[2J',
};

describeWithClients('the page of a device', ['chromium'], () => {
  let fleet: BrowserFleet;
  let browser: ConsoleBrowser;
  let gateway: Device;
  beforeAll(async () => {
    fleet = await startBrowserFleet({ settings: [[['mqtt', 'limits', 'packet'], '2MiB']] });
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
    await expect.poll(() => page.getByRole('button', { name: 'Revoke' }).count()).toBe(0);
    expect(await fleet.operator.showDevice({ id: 'lost-1' as never })).toMatchObject({
      ...{ status: 'revoked', revocationReason: 'keyCompromise', online: false },
    });
    await page.close();
  });

  it('draws a number of the payloads, live, and shows what is in them as text', async () => {
    const { page, expectSound } = await browser.open('/devices/gw-1?tab=telemetry');
    await page.getByRole('heading', { name: 'This device has sent no telemetry' }).waitFor();
    await (await gateway.publish('climate', { celsius: 21.5, humidity: 40 })).acknowledged;
    await page.getByRole('img', { name: /^\/celsius of climate: 1 points?, the last one 21.5$/ }).waitFor();
    await page.getByLabel('Field').selectOption('/humidity');
    await (await gateway.publish('climate', { celsius: 22, humidity: 60 })).acknowledged;
    await page.getByRole('img', { name: /^\/humidity of climate: .* the last one (50|60)$/ }).waitFor();
    expect(Object.fromEntries(new URL(page.url()).searchParams)).toEqual({ tab: 'telemetry', field: '/humidity' });
    await page.reload();
    await page.getByRole('img', { name: /^\/humidity of climate: / }).waitFor();
    await expectSound('device-telemetry');
    await page.close();
  });

  it('shows markup, control characters and a payload of a megabyte as text, and nothing of it runs', async () => {
    const client = await openMqtt(await fleet.enroll('sly-2'));
    const { page, expectSound } = await browser.open('/devices/sly-2?tab=telemetry');
    const publish = (stream: string, payload: string) =>
      client.publishAsync(`devices/sly-2/telemetry/${stream}`, payload, { qos: 1 });
    await publish('note', JSON.stringify({ ...HOSTILE, [HOSTILE.html]: 7 }));
    await publish('large', JSON.stringify({ text: 'x'.repeat(1_000_000) }));
    await publish('bytes', HOSTILE.escape);
    const messages = page.getByRole('region', { name: 'Last messages' });
    await messages.getByText('<img src=x onerror=').first().waitFor();
    await messages.getByText('U+202E').waitFor();
    await messages.getByText('U+001B').waitFor();
    await messages.getByText(/^600 of 1,000,\d{3} characters/).waitFor();
    await messages.getByRole('button', { name: 'More' }).click();
    await messages.getByText(/^50,000 of 1,000,\d{3} characters/).waitFor();
    await page.getByLabel('Field').selectOption(`/${HOSTILE.html}`);
    await page.getByRole('img', { name: `/${HOSTILE.html} of note: 1 points, the last one 7` }).waitFor();
    expect(await page.locator('main img').count()).toBe(0);
    expect((await messages.textContent())?.length).toBeLessThan(60_000);
    expect(await page.evaluate('globalThis.isRun')).toBeUndefined();
    await expectSound('device-hostile');
    await page.close();
  });

  it('sends a command and shows the reply, or the problem', async () => {
    gateway.onCommand('reboot', ({ payload }) => ({ rebooting: true, note: HOSTILE.html, got: String(payload) }));
    const { page, expectSound } = await browser.open('/devices/gw-1?tab=commands');
    await page.getByRole('textbox', { name: 'Command' }).fill('reboot');
    await page.getByLabel('Payload').fill('{"delay":');
    await expect.poll(() => page.getByRole('button', { name: 'Send' }).isDisabled()).toBe(true);
    await page.getByLabel('Payload').fill('{"delay":5}');
    await page.getByRole('button', { name: 'Send' }).click();
    const commands = page.getByRole('region', { name: 'Commands of this page' });
    await commands.getByText('answered').waitFor();
    await commands.getByText('"rebooting": true').waitFor();
    await expectSound('device-commands');
    await page.goto(new URL('/devices/gw-1?tab=audit', page.url()).href);
    await page.getByText('Command sent').waitFor();
    await page.close();
  });

  it('compares the twin, and changes the desired state unless somebody else did', async () => {
    gateway.twin.report({ interval: 60, unit: 'C' } as never);
    const { page, expectSound } = await browser.open('/devices/gw-1?tab=twin');
    await page.getByRole('row', { name: 'interval – 60 reported only' }).waitFor();
    await page.getByRole('button', { name: 'Change the desired state' }).click();
    const text = page.getByLabel(/^Desired state, in place of version 0$/);
    await text.waitFor();
    await expectSound('device-twin-change');
    await fleet.operator.replaceDesired({ id: 'gw-1' as never, state: { interval: 45 } });
    await text.fill('{"interval":30}');
    await page.getByRole('button', { name: 'Set the desired state' }).click();
    await page.getByText('twin_version_conflict').waitFor();
    expect((await fleet.operator.showTwin({ id: 'gw-1' as never })).desired?.state).toEqual({ interval: 45 });
    await page.getByRole('button', { name: /^Begin again from version / }).click();
    await page.getByLabel(/^Desired state, in place of version [1-9]/).fill('{"interval":30}');
    await page.getByRole('button', { name: 'Set the desired state' }).click();
    await page.getByRole('row', { name: 'interval 30 60 pending' }).waitFor();
    await page.close();
  });

  it('answers what it may do by its policy', async () => {
    const { page, expectSound } = await browser.open('/devices/gw-1?tab=rights');
    await page.getByText('its own telemetry').waitFor();
    await page.getByLabel('Topic').fill('devices/press-1/telemetry/x');
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.getByText('Refused: no rule allows it').waitFor();
    await page.getByLabel('Topic').fill('devices/gw-1/telemetry/x');
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.getByText('Allowed by the rule').waitFor();
    await expectSound('device-rights');
    await page.close();
  });

  it('shows what was refused to it, as it happens, with what mends it', async () => {
    const identity = await fleet.enroll('sly-1');
    const client = await openMqtt(identity);
    const { page, expectSound } = await browser.open('/devices/sly-1?tab=refusals');
    await page.getByRole('heading', { name: 'Nothing was refused in the last seven days' }).waitFor();
    await client.publishAsync('devices/gw-1/telemetry/x', '1').catch(() => {});
    await page.getByRole('button', { name: /publish_denied/ }).click();
    await page.getByText('What mends it').waitFor();
    await page.getByText('devices/gw-1/telemetry/x').first().waitFor();
    await expectSound('device-refusals');
    await page.close();
  });

  it('shows what happened after it was loaded and before its events could be followed', async () => {
    const identity = await fleet.enroll('sly-3');
    const follow = '**/v1/events/follow*';
    const mayFollow = Promise.withResolvers<void>();
    await browser.context.route(follow, async (route) => {
      await mayFollow.promise;
      await route.continue();
    });
    const { page } = await browser.open('/devices/sly-3?tab=refusals');
    await page.getByRole('heading', { name: 'Nothing was refused in the last seven days' }).waitFor();
    const client = await openMqtt(identity);
    await client.publishAsync('devices/gw-1/telemetry/x', '1').catch(() => {});
    const refused = () => fleet.operator.listEvents({ device: 'sly-3' as never, type: 'security.acl_denied' });
    await expect.poll(refused).toHaveLength(1);
    mayFollow.resolve();
    await page.getByRole('button', { name: /publish_denied/ }).waitFor();
    await browser.context.unroute(follow);
    await page.close();
  });

  it('changes group and labels unless they were changed since they were read', async () => {
    const { page, expectSound } = await browser.open('/devices/press-1?tab=settings');
    const labels = page.getByRole('textbox', { name: 'Labels' });
    await labels.waitFor();
    await expect.poll(() => labels.inputValue()).toBe('gateway=gw-1');
    await expectSound('device-settings');
    await fleet.operator.setDevice({ id: 'press-1' as never, labels: { line: '4' } });
    await labels.fill('gateway=gw-1 hall=3');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('precondition_failed').waitFor();
    await page.getByRole('button', { name: 'Read them again' }).click();
    await expect.poll(() => labels.inputValue()).toBe('gateway=gw-1 line=4');
    await labels.fill('hall=3');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Group and labels were changed.').waitFor();
    expect((await fleet.operator.showDevice({ id: 'press-1' as never })).labels).toEqual({ hall: '3' });
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
