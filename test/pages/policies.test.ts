/** Policies on the pages of a real server, in a real browser: what a change takes from a real device, and its rollback. */

import { DEFAULT_DEVICE_POLICY } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { roleHeader } from '../fixtures/operator-headers.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const TELEMETRY = 'devices/press-1/telemetry/temperature';
const press = { kind: 'group', name: 'press' } as const;

describeWithClients('the pages of policies', ['chromium'], () => {
  let fleet: TestFleet;
  let browser: ConsoleBrowser;
  beforeAll(async () => {
    fleet = await startFleet();
    browser = await startBrowser({ url: fleet.consoleUrl, headers: operatorHeaders(fleet) });
    await fleet.enroll('valve-1');
  });
  afterAll(async () => {
    await browser.close();
    await fleet.stop();
  });

  it('list the scopes with whom each decides for, and answer whether an identity may use a topic', async () => {
    const { page, expectSound } = await browser.open('/policies');
    await page.getByRole('row', { name: /group\/default built-in 1/ }).waitFor();
    await page.getByLabel('Device or service').fill('valve-1');
    await page.getByLabel('Topic').fill('devices/valve-2/telemetry/x');
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.getByText('Refused: no rule allows it').waitFor();
    await expectSound('policies');
    await page.reload();
    await page.getByText('Refused: no rule allows it').waitFor();
    await page.getByRole('button', { name: 'New policy' }).click();
    await page.getByLabel('Name').fill('press');
    await page.getByRole('button', { name: 'Edit its rules' }).click();
    await page.getByText('This begins with the default that applies now.').waitFor();
    await page.close();
  });

  it('change the rights of a connected device at once, and a rollback gives them back', async () => {
    await fleet.operator.setPolicy({ ...press, ...mutable(DEFAULT_DEVICE_POLICY) });
    const device = await fleet.enroll('press-1', { group: 'press' });
    const session = await connectMqtt(device, { protocolVersion: 5 });
    await session.subscribeAsync('devices/press-1/commands/+/+');
    await session.publishAsync(TELEMETRY, '1', { qos: 1 });

    const { page, expectSound } = await browser.open('/policies/group/press');
    await page.getByText('its own telemetry').waitFor();
    await expectSound('policy');
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.getByLabel('Publish').fill('devices/${device.id}/events/+\ndevices/#/x');
    await page.getByText('devices/#/x: expected a topic filter').waitFor();
    const review = page.getByRole('button', { name: 'Review and save' });
    expect(await review.isDisabled()).toBe(true);
    await expectSound('policy-edit');
    await page.getByLabel('Publish').fill('devices/${device.id}/events/+');
    await page.getByLabel('Subscribe').fill('devices/${device.id}/twin/desired');
    await page.getByText('Every rule can be applied').waitFor();
    await review.click();
    const dialog = page.getByRole('dialog', { name: 'Save the policy' });
    await dialog.getByText('press-1 loses devices/press-1/commands/+/+').waitFor();
    await dialog.getByLabel('Type group/press to confirm').fill('group/press');
    await expectSound('policy-review');
    expect((await fleet.operator.showPolicy(press)).policy.publish).toHaveLength(4);
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.getByText('The policy is saved').waitFor();
    await expect(session.publishAsync(TELEMETRY, '2', { qos: 1 })).rejects.toThrow();

    await page.getByRole('link', { name: 'History' }).click();
    await page.getByRole('table').getByRole('button').nth(1).click();
    await page.getByRole('heading', { name: /^Version \d+ compared$/ }).waitFor();
    await expectSound('policy-history');
    await page.getByRole('button', { name: /^Roll back to version/ }).click();
    await page.getByRole('dialog').getByText('No live session would end').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Roll back' }).click();
    await page.getByText('applies again').waitFor();
    await session.publishAsync(TELEMETRY, '3', { qos: 1 });
    const [newest] = await fleet.operator.listPolicyVersions({ ...press, limit: 1 });
    expect(newest).toMatchObject({ restores: expect.any(Number), actor: 'operator/key' });
    await page.close();
  });

  it('refuse to save over a change of another operator, change nothing, and compare with what is set now', async () => {
    const { page, faults } = await browser.open('/policies/group/valves?edit=yes');
    await page.getByLabel('Publish').fill('mine/${device.id}');
    await page.getByText('Every rule can be applied').waitFor();
    const theirs = await fleet.operator.setPolicy({ kind: 'group', name: 'valves', publish: ['theirs'] });
    await page.getByRole('button', { name: 'Review and save' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.getByText('precondition_failed').waitFor();
    expect(await fleet.operator.showPolicy({ kind: 'group', name: 'valves' })).toEqual(theirs);
    await dialog.getByRole('button', { name: 'Compare with what is set now' }).click();
    await dialog.getByText('removed: − theirs').waitFor();
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.getByText('The policy is saved').waitFor();
    await expect.poll(() => faults).toEqual([expect.stringContaining('412')]);
    await page.close();
  });

  it('change the certificate profile of a group, and set an earlier one again', async () => {
    const { page, expectSound } = await browser.open('/policies/group/press?tab=profile');
    await page.getByRole('button', { name: 'Edit profile' }).click();
    await page.getByLabel('Lifetime in days').fill('7');
    await page.getByLabel('Ed25519').check();
    await page.getByRole('button', { name: 'Save profile' }).click();
    await page.getByText('7 days', { exact: true }).waitFor();
    await fleet.operator.setGroupProfile({ group: 'press' as never });
    await page.reload();
    await page.getByRole('button', { name: 'Set again' }).nth(1).click();
    await page.getByText('7 days', { exact: true }).waitFor();
    expect((await fleet.operator.showGroupProfile({ group: 'press' as never })).profile).toEqual({
      lifetimeSeconds: 604_800,
      keys: ['Ed25519'],
    });
    await expectSound('policy-profile');
    await page.close();
  });

  it('have no buttons that act for a viewer', async () => {
    const viewer = await startBrowser({ url: fleet.consoleUrl, headers: await roleHeader(fleet, 'viewer') });
    const { page, faults } = await viewer.open('/policies/group/press?edit=yes');
    await page.getByText('its own telemetry').waitFor();
    expect(await page.locator('main').getByRole('button').count()).toBe(0);
    await page.goto(`${fleet.consoleUrl}/policies/group/press?tab=profile`);
    await page.getByRole('heading', { name: 'Certificate profile' }).waitFor();
    expect(await page.locator('main').getByRole('button').count()).toBe(0);
    expect(faults).toEqual([]);
    await viewer.close();
  });
});

/** The lists as a request has them. */
function mutable({ connect, publish, subscribe, receive, retain }: typeof DEFAULT_DEVICE_POLICY) {
  const lists = { connect, publish, subscribe, receive, retain };
  return Object.fromEntries(Object.entries(lists).map(([verb, rules]) => [verb, [...rules]]));
}
