/** Simulations that are started on the page of a real server, which runs them as processes of their own. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsoleBrowser, operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { roleHeader } from '../fixtures/operator-headers.ts';
import { isGone } from '../fixtures/processes.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const A_RUN_MS = 180_000;

describeWithClients('the page of simulations', ['chromium'], () => {
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

  it('starts a ready scenario, shows it while it runs, and its result', { timeout: 2 * A_RUN_MS }, async () => {
    const { page, expectSound } = await browser.open('/simulations');
    await page.getByText('too large to run beside a fleet').first().waitFor();
    expect(await page.getByRole('button', { name: 'Start steady-10k' }).count()).toBe(0);
    await expectSound('simulations');
    await page.getByRole('button', { name: 'Start smoke' }).click();
    await page.getByText('running', { exact: true }).waitFor();
    await page.getByText(/^Second \d+ of 8: \d+ of 22 devices connected/).waitFor({ timeout: A_RUN_MS });
    await expectSound('simulation-running');
    await page.getByText('9 of 9 assertions hold').waitFor({ timeout: A_RUN_MS });
    await page.getByText('passed', { exact: true }).waitFor();
    await expectSound('simulation-result');
    await page.getByRole('link', { name: 'All simulations' }).click();
    await page.getByRole('table').getByText('passed').waitFor();
    await page.close();
    // Nothing of it reached this server.
    expect(await fleet.operator.listDevices({})).toEqual([]);
    expect(await fleet.operator.listAudit({ action: 'simulation' })).toMatchObject([
      { actor: 'operator/key', action: 'simulation.started', details: { scenario: 'smoke' } },
    ]);
  });

  it('runs one at a time, and stops it with its temporary server', { timeout: A_RUN_MS }, async () => {
    const started = await fleet.operator.startSimulation({ scenario: 'clones' });
    await expect(fleet.operator.startSimulation({ scenario: 'smoke' })).rejects.toMatchObject({
      code: 'simulation_running',
    });
    const { page } = await browser.open(`/simulations?run=${started.id}`);
    await page.getByText(/^Second \d+ of 30/).waitFor({ timeout: A_RUN_MS });
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('stopped', { exact: true }).waitFor({ timeout: A_RUN_MS });
    await page.close();
    expect(readdirSync(join(fleet.data, 'simulations'))).toHaveLength(2);
  });

  it('starts nothing but the ready scenarios that fit beside a fleet', async () => {
    const { operator } = fleet;
    for (const scenario of ['../smoke', '--help', 'nowhere.yaml']) {
      await expect(operator.startSimulation({ scenario })).rejects.toMatchObject({ code: 'scenario_unknown' });
    }
    for (const scenario of ['steady-10k', 'disk-full']) {
      await expect(operator.startSimulation({ scenario })).rejects.toMatchObject({ code: 'scenario_not_startable' });
    }
    await expect(operator.showSimulation({ id: '0123456789abcdef' })).rejects.toMatchObject({
      code: 'simulation_unknown',
    });
  });

  it('shows a viewer the results, and nothing that starts', async () => {
    const other = await startBrowser({ url: fleet.consoleUrl, headers: await roleHeader(fleet, 'viewer') });
    const { page } = await other.open('/simulations');
    await page.getByText('quick', { exact: true }).first().waitFor();
    expect(await page.getByRole('button', { name: /^Start/ }).count()).toBe(0);
    await page.getByRole('link', { name: 'smoke' }).click();
    await page.getByText('9 of 9 assertions hold').waitFor();
    await other.close();
  });

  it('ends a running simulation with the server', { timeout: A_RUN_MS }, async () => {
    const own = await startFleet();
    const { id } = await own.operator.startSimulation({ scenario: 'clones' });
    const resultFile = `${id}.result`;
    await expect.poll(() => runningWith(resultFile), { timeout: A_RUN_MS }).toBe(1);
    await own.stop();
    expect(runningWith(resultFile)).toBe(0);
  });
});

/** Processes with an argument that ends so. */
function runningWith(ending: string): number {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && !isGone(Number(name)))
    .filter((pid) => argumentsOf(pid).some((argument) => argument.endsWith(ending))).length;
}

function argumentsOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
