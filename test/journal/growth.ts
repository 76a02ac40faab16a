/**
 * How the journal's costs grow with what it holds: `node bin/pinned.js test/journal/growth.ts [MILLIONS]`, 10 if not said.
 * At 1, 2, 5, ... million messages of 200 bytes from 10,000 devices: CPU per message taken in, the newest 100 messages of
 * one device, a day's worth of one device in the middle, the newest message of every device. Then latency at half load.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as passed } from 'node:timers/promises';
import { pino } from 'pino';
import { openTelemetry } from '../../telemetry/open.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { deviceNamed } from '../behaviour/telemetry.ts';

const millions = Number(process.argv[2] ?? 10);
const DEVICES = 10_000;
const IN_FLIGHT = 500;
const PAYLOAD = 200;
const START = Date.UTC(2030, 0, 1);
const ROUNDS = 15;

const directory = mkdtempSync(join(tmpdir(), 'rollcall-growth-'));
const ids = Array.from({ length: DEVICES }, (_, i) => deviceNamed(`device-${i}`));
let sent = 0;

function send(telemetry: Telemetry): Promise<void> {
  const n = sent;
  sent += 1;
  const payload = Buffer.alloc(PAYLOAD, 0x20);
  payload.write(`{"n":${n}}`);
  // All in one day, so that one segment has to hold it.
  const receivedAt = START + Math.floor((n / (millions * 1e6)) * 80_000_000);
  return telemetry.accept({ device: ids[n % DEVICES] as never, stream: 'load', receivedAt, qos: 1, payload });
}

async function load(telemetry: Telemetry, until: number): Promise<number> {
  const before = process.cpuUsage();
  const count = until - sent;
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (sent < until) await send(telemetry);
    }),
  );
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

async function median(act: () => Promise<unknown>): Promise<string> {
  await act();
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i += 1) {
    const before = performance.now();
    await act();
    times.push(performance.now() - before);
  }
  return (times.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] as number).toFixed(2);
}

/** Messages at a fixed rate, each timed from hand-over to acknowledgement. */
async function latency(telemetry: Telemetry, perSecond: number, seconds: number): Promise<string> {
  const times = createHistogram();
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  const waiting: Promise<void>[] = [];
  const began = performance.now();
  for (let n = 0; performance.now() - began < seconds * 1000; ) {
    const due = ((performance.now() - began) / 1000) * perSecond;
    for (; n < due; n += 1) {
      const before = performance.now();
      waiting.push(send(telemetry).then(() => times.record(Math.ceil((performance.now() - before) * 1000))));
    }
    await passed(1);
  }
  await Promise.all(waiting);
  loop.disable();
  const ms = (percent: number) => (times.percentile(percent) / 1000).toFixed(1);
  const delay = `event loop p99 ${(loop.percentile(99) / 1e6).toFixed(1)} ms, longest ${(loop.max / 1e6).toFixed(1)} ms`;
  return `${perSecond} messages/s: acknowledged p50 ${ms(50)} ms, p99 ${ms(99)} ms; ${delay}`;
}

const telemetry = await openTelemetry({ directory, now: Date.now, log: pino({ level: 'silent' }) });
try {
  const sizes = [0.1, 1, 2, 5, 10, 20, 50, 100].filter((size) => size <= millions);
  for (const size of sizes) {
    const cpu = await load(telemetry, size * 1e6);
    const device = ids[4321] as never;
    const newest = await median(() => telemetry.query({ device, limit: 100 }));
    const span = 80_000_000 / millions; // a million messages, 100 of the device
    const since = START + span * (size / 2);
    const range = await median(() => telemetry.query({ device, since, until: since + span, limit: 1000 }));
    const one = await median(() => telemetry.last(device));
    const last = await median(() => telemetry.last());
    process.stdout.write(
      `${size} million: ${cpu.toFixed(2)} us of CPU per message; newest 100 of a device ${newest} ms, a range ${range} ms; ` +
        `last of a device ${one} ms, of all ${DEVICES} ${last} ms\n`,
    );
  }
  process.stdout.write(`${await latency(telemetry, 5000, 10)}\n`);
  process.stdout.write(`${await latency(telemetry, 25_000, 10)}\n`);
} finally {
  await telemetry.close();
  rmSync(directory, { recursive: true, force: true });
}
