/**
 * Grows a journal and measures, at several sizes, the cost of messages and the time of queries. Messages of 200 bytes from
 * 10,000 devices, all of one day, so that they fill one segment after the other. Gives no verdict.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as passed } from 'node:timers/promises';
import type { DeviceId } from '@rollcall/protocol';
import { pino } from 'pino';
import { exportText } from '../../console/telemetry-export.ts';
import type { AcceptCallbacks, Telemetry } from '../../telemetry/index.ts';
import { openTelemetry } from '../../telemetry/open.ts';
import { deviceNamed } from '../behaviour/telemetry-messages.ts';

export const DEVICES = 10_000;
const IN_FLIGHT = 500;
const PAYLOAD = 200;
const START = Date.UTC(2030, 0, 1);
const SPAN_MS = 80_000_000;
const ROUNDS = 15;

/** Medians in milliseconds; each query runs once before it is measured. */
export interface Stage {
  readonly messages: number;
  /** Microseconds of all threads, of messages since the stage before. */
  readonly cpuPerMessage: number;
  /** The newest 100 of one device. */
  readonly newest: number;
  /** Some 100 messages of one device, of a stretch of time in the middle. */
  readonly range: number;
  readonly lastOfOne: number;
  readonly lastOfAll: number;
}

export class GrowingJournal {
  readonly telemetry: Telemetry;
  readonly #directory: string;
  readonly #most: number;
  readonly #ids = Array.from({ length: DEVICES }, (_, i) => deviceNamed(`device-${i}`));
  #sent = 0;

  /** Use `open()`. */
  constructor(telemetry: Telemetry, directory: string, most: number) {
    this.telemetry = telemetry;
    this.#directory = directory;
    this.#most = most;
  }

  /** For so many messages at most. */
  static async open(most: number): Promise<GrowingJournal> {
    const directory = mkdtempSync(join(tmpdir(), 'rollcall-growth-'));
    const telemetry = await openTelemetry({ directory, now: Date.now, log: pino({ level: 'silent' }) });
    return new GrowingJournal(telemetry, directory, most);
  }

  async close(): Promise<void> {
    await this.telemetry.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async growTo(messages: number): Promise<Stage> {
    const cpuPerMessage = await this.#load(messages);
    const { telemetry } = this;
    const device = this.#ids[4321] as DeviceId;
    const span = (SPAN_MS / this.#most) * 1e6; // as long as a million messages took, 100 of them of the device
    const since = START + (SPAN_MS * (messages / 2)) / this.#most;
    return {
      messages,
      cpuPerMessage,
      newest: await median(() => telemetry.query({ device, limit: 100 })),
      range: await median(() => telemetry.query({ device, since, until: since + span, limit: 1000 })),
      lastOfOne: await median(() => telemetry.last(device)),
      lastOfAll: await median(() => telemetry.last()),
    };
  }

  /** Messages per second, as lines of NDJSON, of the oldest so many. */
  async exportRate(messages: number): Promise<number> {
    const began = performance.now();
    let bytes = 0;
    let count = 0;
    const pages = this.telemetry.pages({});
    const some = async function* () {
      for await (const page of pages) {
        yield page;
        count += page.length;
        if (count >= messages) return;
      }
    };
    for await (const text of exportText(some(), 'ndjson')) bytes += text.length;
    if (bytes === 0) throw new Error('expected messages to export, found none');
    return count / ((performance.now() - began) / 1000);
  }

  /** Messages at a fixed rate, each timed from hand-over to acknowledgement; milliseconds. */
  async latency(perSecond: number, seconds: number) {
    const times = createHistogram();
    const loop = monitorEventLoopDelay({ resolution: 1 });
    loop.enable();
    const began = performance.now();
    let waiting = 0;
    for (let n = 0; performance.now() - began < seconds * 1000; ) {
      const due = ((performance.now() - began) / 1000) * perSecond;
      for (; n < due; n += 1) {
        const before = performance.now();
        waiting += 1;
        this.#send(() => {
          waiting -= 1;
          times.record(Math.ceil((performance.now() - before) * 1000));
        });
      }
      await passed(1);
    }
    while (waiting > 0) await passed(1);
    loop.disable();
    const of = (percent: number) => times.percentile(percent) / 1000;
    return { p50: of(50), p99: of(99), loopP99: loop.percentile(99) / 1e6, loopLongest: loop.max / 1e6 };
  }

  #send(stored: () => void): void {
    const n = this.#sent;
    this.#sent += 1;
    const payload = Buffer.alloc(PAYLOAD, 0x20);
    payload.write(`{"n":${n}}`);
    const receivedAt = START + Math.min(SPAN_MS, Math.floor((n / this.#most) * SPAN_MS));
    const device = this.#ids[n % DEVICES] as DeviceId;
    const waiting: AcceptCallbacks = {
      stored,
      repeated: stored,
      notStored: (error) => {
        throw error;
      },
    };
    this.telemetry.submit({ device, stream: 'load', receivedAt, qos: 1, payload }, waiting);
  }

  async #load(until: number): Promise<number> {
    const count = until - this.#sent;
    const done = Promise.withResolvers<void>();
    const before = process.cpuUsage();
    let left = count;
    const next = () => {
      left -= 1;
      if (this.#sent < until) this.#send(next);
      else if (left === 0) done.resolve();
    };
    for (let i = 0; i < Math.min(IN_FLIGHT, count); i += 1) this.#send(next);
    await done.promise;
    const { user, system } = process.cpuUsage(before);
    return (user + system) / count;
  }
}

async function median(query: () => Promise<unknown>): Promise<number> {
  await query();
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i += 1) {
    const before = performance.now();
    await query();
    times.push(performance.now() - before);
  }
  return times.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] as number;
}
