/** The demo: the whole product in a temporary directory, a small fleet, and the loss of one device, measured as it happens. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ConsoleClient, openConsoleClient } from '../console/client.ts';
import { NO_ENROLL_LIMITS } from '../enroll/index.ts';
import { createLogger, expectPlausibleClock, loadConfig, version } from '../server/config/index.ts';
import { startFleetServer } from '../server/index.ts';
import { type DeviceReport, SdkFleet } from '../simulator/index.ts';
import { type DemoResult, DemoScreen, describeDemo, isComplete } from './demo-screen.ts';
import { note, printResult } from './terminal.ts';

const DEVICES = 25;
/** From the last connection to the revocation: long enough to watch the table. */
const REVOKE_AFTER_MS = 4_000;
/** For the lost device to notice and to be refused once more. */
const REFUSAL_WAIT_MS = 10_000;
const REDRAW_EVERY_MS = 250;

/** True when every device enrolled and connected, messages were stored, and one device was disconnected and refused. */
export async function runDemo(seconds: number | undefined, stopped: Promise<unknown>): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-demo-'));
  try {
    const story = await play(directory, seconds, stopped);
    printResult(describeDemo(story));
    return isComplete(story);
  } finally {
    rmSync(directory, { recursive: true, force: true });
    note(`removed ${directory}`);
  }
}

async function play(directory: string, seconds: number | undefined, stopped: Promise<unknown>): Promise<DemoResult> {
  expectPlausibleClock(Date.now());
  const log = createLogger('silent');
  const server = await startFleetServer({ config: demoConfig(directory), version, now: Date.now, log });
  const operator = openConsoleClient({ socketPath: server.socket });
  const screen = new DemoScreen();
  screen.addLine(`enroll ${server.enrollUrl}, mqtt ${server.mqttUrl}, data ${directory}`);
  try {
    const { text: token } = await operator.createToken({ uses: DEVICES, ttlSeconds: 600 });
    screen.addLine(`created a bootstrap token for ${DEVICES} devices; they enroll now, each with a key of its own`);
    const watch = new FleetWatch(DEVICES);
    const fleet = await SdkFleet.start({
      devices: DEVICES,
      token,
      rate: 1,
      idPrefix: 'demo',
      ...(seconds !== undefined && { seconds }),
      onDevice: (device) => watch.see(device),
      log,
    });
    void stopped.then(() => fleet.stop());
    const redraw = setInterval(() => screen.draw(fleet.snapshot(), fleet.devices()), REDRAW_EVERY_MS);
    const revoked = await loseOne(fleet, watch, operator, screen);
    await fleet.done;
    clearInterval(redraw);
    screen.draw(fleet.snapshot(), fleet.devices());
    return {
      devices: DEVICES,
      connected: watch.everConnected.size,
      causes: causesOf(fleet.devices().filter(({ index }) => !watch.everConnected.has(index))),
      messages: fleet.snapshot().acknowledged,
      ...(revoked !== undefined && { revoked }),
    };
  } finally {
    await operator.close();
    await server.close();
  }
}

/** Revokes a connected device once all are connected, and measures what becomes of it; undefined if the run ends before. */
async function loseOne(
  fleet: SdkFleet,
  watch: FleetWatch,
  operator: ConsoleClient,
  screen: DemoScreen,
): Promise<DemoResult['revoked']> {
  let hasEnded = false;
  const ended = fleet.done.then(() => {
    hasEnded = true;
  });
  await Promise.race([watch.allConnected, ended]);
  await Promise.race([delay(REVOKE_AFTER_MS, undefined, { ref: false }), ended]);
  const lost = fleet.devices().find((device) => device.state === 'connected');
  if (hasEnded || lost?.id === undefined) return undefined;

  const began = Date.now();
  const refused = watch.refused(lost.index);
  const { sessionsClosed } = await operator.revokeDevices({ ids: [lost.id], reason: 'keyCompromise' });
  const answered = Date.now() - began;
  screen.addLine(`revoked ${lost.id}`);
  await Promise.race([refused, ended, delay(REFUSAL_WAIT_MS, undefined, { ref: false })]);
  const after = fleet.devices()[lost.index] as DeviceReport;
  const story = {
    id: lost.id,
    answered,
    sessionsClosed,
    disconnected: after.lostAt === undefined ? undefined : after.lostAt - began,
    refused: after.state === 'connection refused' ? after.since - began : undefined,
  };
  screen.addLine(
    `disconnected after ${story.disconnected ?? '?'} ms; its next connection was refused after ${story.refused ?? '?'} ms`,
  );
  return story;
}

function causesOf(devices: readonly DeviceReport[]): Record<string, number> {
  const causes: Record<string, number> = {};
  for (const { reason = 'the demo ended before its turn' } of devices) causes[reason] = (causes[reason] ?? 0) + 1;
  return causes;
}

/** Promises that resolve when reports of the fleet show a state. */
class FleetWatch {
  readonly everConnected = new Set<number>();
  readonly allConnected: Promise<void>;
  readonly #devices: number;
  readonly #onRefused = new Map<number, () => void>();
  #resolveAll: () => void = () => {};

  constructor(devices: number) {
    this.#devices = devices;
    this.allConnected = new Promise((resolve) => {
      this.#resolveAll = resolve;
    });
  }

  see(device: DeviceReport): void {
    if (device.state === 'connected') {
      this.everConnected.add(device.index);
      if (this.everConnected.size === this.#devices) this.#resolveAll();
    }
    if (device.state === 'connection refused') this.#onRefused.get(device.index)?.();
  }

  refused(index: number): Promise<void> {
    return new Promise((resolve) => this.#onRefused.set(index, resolve));
  }
}

function demoConfig(directory: string) {
  return loadConfig({
    file: undefined,
    environment: {},
    flags: [
      [['data'], directory],
      [['enroll', 'port'], 0],
      [['mqtt', 'port'], 0],
      [['console', 'port'], 0],
      // The whole fleet knocks at once, from one address.
      [['requests', 'perSecondPerAddress'], 0],
      [['enroll', 'limits'], NO_ENROLL_LIMITS],
      [['mqtt', 'limits', 'connectionsPerSecondPerAddress'], 0],
    ],
  });
}
