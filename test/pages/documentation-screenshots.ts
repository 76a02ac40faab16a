/**
 * Makes the screenshots of README.md and docs/console.md: a real server whose devices publish for some minutes, and clients
 * that are refused. Run by hand; it needs Chromium.
 *
 *     node bin/pinned.js test/pages/documentation-screenshots.ts [MINUTES]
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { operatorHeaders, startBrowser } from '../fixtures/browser.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import {
  beRefused,
  connectDevices,
  enrollWithRevokedToken,
  foreignCertificate,
  publish,
  type SampleDevice,
} from '../fixtures/sample-fleet.ts';

const DOCS = fileURLToPath(new URL('../../docs/', import.meta.url));
const SIZE = { width: 1280, height: 900 };
const TICK_MS = 1_000;

const PICTURES = [
  ['/?span=15m', 'console-overview.png'],
  ['/refused?since=15m', 'console-refused.png'],
] as const;

async function main(minutes: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-lake-'));
  const sink = { name: 'lake', kind: 'file', path: join(directory, 'messages.ndjson') };
  const fleet = await startFleet({ version: '0.1.0', settings: [[['sinks'], [sink]]] });
  try {
    const devices = await live(fleet, minutes);
    await takePictures(fleet);
    for (const { client } of devices) await client.endAsync(true);
  } finally {
    await fleet.stop();
    rmSync(directory, { recursive: true });
  }
}

/** Devices publish every few seconds; some clients come back again and again, and are refused. */
async function live(fleet: TestFleet, minutes: number): Promise<readonly SampleDevice[]> {
  const devices = [
    ...(await connectDevices(fleet, 'press', 18)),
    ...(await connectDevices(fleet, 'pump', 14)),
    ...(await connectDevices(fleet, 'gate', 8)),
  ];
  const refused = await refusedClients(fleet, devices);
  const ticks = (minutes * 60_000) / TICK_MS;
  for (let tick = 0; tick < ticks; tick += 1) {
    const due = devices.filter(({ client }, index) => client.connected && (index + tick) % 4 === 0);
    await Promise.all(due.map((device, index) => publish(device, 'climate', reading(tick, index)).catch(() => {})));
    await refused[tick % (refused.length * 7)]?.();
    await delay(TICK_MS);
  }
  return devices;
}

function reading(tick: number, index: number): string {
  const celsius = 21 + 3 * Math.sin((tick + index * 9) / 40);
  return JSON.stringify({ celsius: Number(celsius.toFixed(2)), humidity: 40 + ((tick + index) % 12) });
}

async function refusedClients(
  fleet: TestFleet,
  [thief, paused, chatty]: readonly SampleDevice[],
): Promise<readonly (() => Promise<unknown>)[]> {
  if (thief === undefined || paused === undefined || chatty === undefined) throw new Error('expected three devices');
  const earlier = foreignCertificate(fleet, 'press-07', { ca: 'Rollcall issuing CA 2024' });
  const stranger = foreignCertificate(fleet, 'valve-02');
  await fleet.operator.revokeDevices({ ids: [thief.id], reason: 'keyCompromise' });
  await fleet.operator.suspendDevices({ ids: [paused.id] });
  return [
    () => beRefused(earlier),
    () => openMqtt(thief.identity, { protocolVersion: 5 }).catch(() => {}),
    () => enrollWithRevokedToken(fleet, 'mixer-03'),
    () => chatty.client.publishAsync('devices/press-01/telemetry/climate', '{}', { qos: 1 }).catch(() => {}),
    () => openMqtt(paused.identity, { protocolVersion: 5 }).catch(() => {}),
    () => beRefused({ mqttUrl: fleet.mqttUrl }),
    () => beRefused(stranger),
  ];
}

async function takePictures(fleet: TestFleet): Promise<void> {
  const browser = await startBrowser({ url: fleet.consoleUrl, headers: operatorHeaders(fleet) });
  try {
    for (const [path, file] of PICTURES) {
      const { page } = await browser.open(path);
      await page.setViewportSize(SIZE);
      await page.getByText('Live', { exact: true }).waitFor();
      // The newest group of refusals opens.
      if (path.startsWith('/refused')) await page.locator('.refusal-row').first().click();
      await delay(TICK_MS);
      await page.screenshot({ path: join(DOCS, file) });
    }
  } finally {
    await browser.close();
  }
}

await main(Number.parseFloat(process.argv[2] ?? '12'));
