/**
 * Work of the browser's main thread on the page of devices, with 10,000 devices loaded and 200 changes a second: operations on
 * stored devices, which reach the page as events. Chromium counts the time (CDP, `Performance.getMetrics`).
 *
 *     node bin/pinned.js test/bench/devices-page.ts [seconds]
 */

import type { DeviceId } from '@rollcall/protocol';
import type { CDPSession, Page } from 'playwright-core';
import { type BrowserFleet, startBrowserFleet } from '../fixtures/browser-fleet.ts';

const DEVICES = 10_000;
const CHANGES_PER_SECOND = 200;
/** Operations a second; each changes so many devices that the sum is reached. */
const OPERATIONS = 10;

const idOf = (n: number) => `fill-${String(n).padStart(8, '0')}` as DeviceId;

type Metrics = Readonly<Record<string, number>>;

async function metricsOf(session: CDPSession): Promise<Metrics> {
  const { metrics } = await session.send('Performance.getMetrics');
  return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
}

/** `choose`: the devices of one operation, by its number. Every second one takes back what the one before it did. */
async function change(fleet: BrowserFleet, seconds: number, choose: (operation: number) => readonly DeviceId[]) {
  const start = performance.now();
  for (let n = 0; n < seconds * OPERATIONS; n += 1) {
    const late = start + (n * 1_000) / OPERATIONS - performance.now();
    if (late > 0) await new Promise((resolve) => setTimeout(resolve, late));
    const ids = [...choose(n - (n % 2))];
    if (n % 2 === 0) await fleet.operator.suspendDevices({ ids, confirm: 'yes' });
    else await fleet.operator.resumeDevices({ ids, confirm: 'yes' });
  }
  return (performance.now() - start) / 1_000;
}

async function loadAll(page: Page): Promise<void> {
  const last = page.getByRole('link', { name: idOf(DEVICES - 1) });
  while ((await last.count()) === 0) {
    await page.keyboard.press('End');
    await page.waitForTimeout(50);
  }
  await page.keyboard.press('Home');
  await page.getByRole('link', { name: idOf(0) }).waitFor();
}

const seconds = Number(process.argv[2] ?? 10);
const fleet = await startBrowserFleet({ stored: DEVICES });
const { page } = await (await fleet.browser('viewer')).open('/devices');
await loadAll(page);
const session = await page.context().newCDPSession(page);
// CPU time of the thread: on a busy machine the time by the clock contains waits for a core.
await session.send('Performance.enable', { timeDomain: 'threadTicks' });
const perOperation = CHANGES_PER_SECOND / OPERATIONS;

async function measure(name: string, work: () => Promise<number>): Promise<void> {
  const before = await metricsOf(session);
  const took = await work();
  const after = await metricsOf(session);
  const perSecond = (metric: string) => ((((after[metric] ?? 0) - (before[metric] ?? 0)) / took) * 1_000).toFixed(1);
  const parts = ['TaskDuration', 'ScriptDuration', 'LayoutDuration', 'RecalcStyleDuration'];
  process.stdout.write(`${name}: ${parts.map((part) => `${part} ${perSecond(part)}`).join(', ')} ms a second\n`);
}

await measure('no change', async () => {
  await page.waitForTimeout(seconds * 1_000);
  return seconds;
});
await measure('of any devices', () =>
  change(fleet, seconds, (operation) =>
    Array.from({ length: perOperation }, (_, n) => idOf((operation * 997 + n * 37) % DEVICES)),
  ),
);
await measure('of the devices on the screen', () =>
  change(fleet, seconds, () => Array.from({ length: perOperation }, (_, n) => idOf(n))),
);
await fleet.stop();
process.exit(0);
