/**
 * What the journal alone costs per message, without a network: `node bin/pinned.js test/journal/ingest.ts [DEVICES] [SECONDS] [RATE] [KEYS] [PROPERTIES]`.
 * KEYS: `none`, `counted` as the SDK's, or `random`. PROPERTIES, of MQTT 5: `none`, `format`, `type`, or `user` for all of them and two user properties. Messages of 200 bytes, RATE per second, or else so many on the way that batches are always full. Says the CPU of all
 * threads of this process, and how much of it the event loop's own thread used; less what a loop with a timer alone costs.
 * Several rounds, since a neighbour may wake up in one of them.
 */

import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as passed } from 'node:timers/promises';
import { pino } from 'pino';
import type { AcceptCallbacks, TelemetryMessage } from '../../telemetry/index.ts';
import { openTelemetry } from '../../telemetry/open.ts';
import { deviceNamed } from '../behaviour/telemetry-messages.ts';

const [devices = '500', seconds = '3', rate = '0', keys = 'none', properties = 'none'] = process.argv.slice(2);
const IN_FLIGHT = 1000;
const PAYLOAD = 200;
const ROUNDS = 5;

/** As the SDK names them, in the order in which each device counts; or as an application may. */
const keyOf: Readonly<Record<string, (sent: number) => string>> = {
  counted: (sent) => `${Math.floor(sent / ids.length)}.k3Zp0w_x`,
  random: () => randomUUID(),
};

const propertiesOf: Readonly<Record<string, Partial<TelemetryMessage>>> = {
  format: { payloadFormatIndicator: 1 },
  type: { contentType: 'application/json' },
  user: {
    payloadFormatIndicator: 1,
    contentType: 'application/json',
    userProperties: [
      ['unit', 'celsius'],
      ['firmware', '4.2.0'],
    ],
  },
};

const ids = Array.from({ length: Number(devices) }, (_, i) => deviceNamed(`device-${i}`));
const directory = mkdtempSync(join(tmpdir(), 'rollcall-ingest-'));
const telemetry = await openTelemetry({ directory, now: Date.now, log: pino({ level: 'silent' }) });

let total = 0;

/** Without messages it costs as much as a loop of timers. */
async function round(perSecond: number) {
  const end = performance.now() + Number(seconds) * 1000;
  const [before, ownBefore, began] = [process.cpuUsage(), process.threadCpuUsage(), performance.now()];
  let sent = 0;
  let waiting = 0;
  const done = Promise.withResolvers<void>();
  const send = () => {
    const device = ids[total % ids.length] as (typeof ids)[number];
    const key = keyOf[keys]?.(total);
    sent += 1;
    total += 1;
    waiting += 1;
    const payload = Buffer.allocUnsafe(PAYLOAD).fill(0x20);
    const message = {
      device,
      stream: 'load',
      receivedAt: Date.now(),
      qos: 1,
      payload,
      ...propertiesOf[properties],
    } as const;
    telemetry.submit(key === undefined ? message : { ...message, key }, one);
  };
  const one: AcceptCallbacks = {
    repeated: () => done.reject(new Error('expected a message of its own, found one that is known')),
    stored: () => {
      waiting -= 1;
      if (performance.now() >= end) waiting === 0 && done.resolve();
      else if (perSecond === 0) send();
    },
    notStored: (error) => done.reject(error),
  };
  if (perSecond === 0) for (let i = 0; i < IN_FLIGHT; i += 1) send();
  else await pace(perSecond, end, send);
  if (waiting > 0) await done.promise;
  const sum = ({ user, system }: NodeJS.CpuUsage) => user + system;
  const took = (performance.now() - began) / 1000;
  return { sent, cpu: sum(process.cpuUsage(before)), own: sum(process.threadCpuUsage(ownBefore)), took };
}

async function pace(perSecond: number, end: number, send: () => void): Promise<void> {
  let sent = 0;
  const began = performance.now();
  while (performance.now() < end) {
    const due = ((performance.now() - began) / 1000) * perSecond;
    for (; sent < due; sent += 1) send();
    await passed(0.2);
  }
}

try {
  await round(Number(rate)); // warm-up
  for (let n = 1; n <= ROUNDS; n += 1) {
    const { sent, cpu, own, took } = await round(Number(rate));
    const idle = rate === '0' ? { cpu: 0, own: 0 } : await round(1e-9);
    const { commits } = telemetry.counters();
    const per = (all: number, less: number) => ((all - less) / sent).toFixed(2);
    process.stdout.write(
      `${sent} messages: ${per(cpu, idle.cpu)} us of CPU each, ${per(own, idle.own)} of them on the event loop's thread; ` +
        `${Math.round(sent / took)} per second; ${commits} commits\n`,
    );
  }
} finally {
  await telemetry.close();
  const bytes = readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  process.stdout.write(`${(bytes / total).toFixed(1)} bytes per message on disk, ${PAYLOAD} of them payload\n`);
  rmSync(directory, { recursive: true, force: true });
}
