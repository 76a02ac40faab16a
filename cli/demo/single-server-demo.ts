/** The demo: the whole product in a temporary directory, a small fleet, and the loss of one device, measured as it happens. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { NO_ENROLL_LIMITS } from '../../enroll/index.ts';
import { expectPlausibleClock, version } from '../../server/config/index.ts';
import { createLogger, loadConfig } from '../../server/config/load.ts';
import { startFleetServer } from '../../server/index.ts';
import { note, printResult } from '../terminal.ts';
import { DemoFleet } from './demo-fleet.ts';
import { type DemoResult, DemoScreen, describeDemo, isComplete, REDRAW_EVERY_MS } from './demo-screen.ts';
import { type LostDevice, revokeOne, untilWatched } from './lost-device.ts';

const DEVICES = 25;

export interface SingleServerOptions {
  readonly seconds: number | undefined;
  readonly workers: number;
}

/** True when every device enrolled and connected, messages were stored, and one device was disconnected and refused. */
export async function runDemo(options: SingleServerOptions, stopped: Promise<unknown>): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-demo-'));
  try {
    const story = await play(directory, options, stopped);
    printResult(describeDemo(story));
    return isComplete(story);
  } finally {
    rmSync(directory, { recursive: true, force: true });
    note(`removed ${directory}`);
  }
}

async function play(
  directory: string,
  { seconds, workers }: SingleServerOptions,
  stopped: Promise<unknown>,
): Promise<DemoResult> {
  expectPlausibleClock(Date.now());
  const log = createLogger('silent');
  const config = demoConfig(directory, workers);
  const server = await startFleetServer({ config, version, now: Date.now, log });
  const operator = openConsoleClient({ socketPath: server.socket });
  const screen = new DemoScreen();
  screen.addLine(`enroll ${server.enrollUrl}, mqtt ${server.mqttUrl}, data ${directory}`);
  try {
    const { text: token } = await operator.createToken({ uses: DEVICES, ttlSeconds: 600 });
    screen.addLine(`created a bootstrap token for ${DEVICES} devices; they enroll now, each with a key of its own`);
    const fleet = await DemoFleet.start([{ devices: DEVICES, token, idPrefix: 'demo' }], { seconds, log });
    void stopped.then(() => fleet.stop());
    const draw = () => screen.drawDevices(fleet.counts(), fleet.devices());
    const redraw = setInterval(draw, REDRAW_EVERY_MS);
    const revoked = await loseOne(fleet, operator, screen, workers);
    await fleet.done;
    clearInterval(redraw);
    draw();
    const { everConnected, acknowledged } = fleet.counts();
    return {
      devices: DEVICES,
      connected: everConnected,
      causes: fleet.causesOfNever(),
      messages: acknowledged,
      ...(revoked !== undefined && { revoked }),
    };
  } finally {
    await operator.close();
    await server.close();
  }
}

/** Revokes a connected device once all are connected, and measures what becomes of it; undefined if the run ends before. */
async function loseOne(
  fleet: DemoFleet,
  operator: ConsoleClient,
  screen: DemoScreen,
  workers: number,
): Promise<LostDevice | undefined> {
  if (!(await untilWatched(fleet))) return undefined;
  if (workers > 1) {
    const nodes = await operator.listNodes();
    screen.addLine(`sessions of each worker: ${nodes.map(({ name, sessions }) => `${name} ${sessions}`).join(', ')}`);
  }
  const id = fleet.devices().find(({ state }) => state === 'connected')?.id;
  if (id === undefined) return undefined;
  const lost = await revokeOne(fleet, id, operator, () => screen.addLine(`revoked ${id}`));
  screen.addLine(
    `disconnected after ${lost.disconnected ?? '?'} ms; its next connection was refused after ${lost.refused ?? '?'} ms`,
  );
  return lost;
}

function demoConfig(directory: string, workers: number) {
  return loadConfig({
    file: undefined,
    environment: {},
    flags: [
      [['data'], directory],
      [['enroll', 'port'], 0],
      [['mqtt', 'port'], 0],
      [['mqtt', 'workers'], workers],
      [['console', 'port'], 0],
      // The whole fleet knocks at once, from one address.
      [['requests', 'perSecondPerAddress'], 0],
      [['enroll', 'limits'], NO_ENROLL_LIMITS],
      [['mqtt', 'limits', 'connectionsPerSecondPerAddress'], 0],
    ],
  });
}
