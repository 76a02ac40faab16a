/**
 * CPU per durable message with the intake in threads of its own, beside the intake on the main thread: the same devices, divided between
 * the threads. Bursts alternate, and a ratio is computed inside a round, so that noise hits all alike. All threads of the process count,
 * the devices among them.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MessageChannel, Worker } from 'node:worker_threads';
import { pino } from 'pino';
import { Channel } from '../../storage/index.ts';
import { type EmbeddedTelemetry, openTelemetry } from '../../telemetry/open.ts';
import { type IntakeLoad, publishThrough } from './intake-load.ts';
import type { IntakeThreadCalls, IntakeThreadData } from './intake-thread.ts';

export interface IntakesLoad extends Omit<IntakeLoad, 'prefix'> {
  /** Threads of each burst; 0: the intake is on the main thread. */
  readonly threads: readonly number[];
  readonly rounds: number;
  readonly warmUps: number;
}

/** One burst of each number of threads. */
export interface IntakeBurst {
  /** Microseconds per message. */
  readonly cpu: number;
  readonly perSecond: number;
  /** Messages in a commit of the file. */
  readonly perCommit: number;
  /** Part of the time in which the event loop of the main thread was busy. */
  readonly mainBusy: number;
}

interface Intakes {
  publish(load: Omit<IntakeLoad, 'prefix'>): Promise<void>;
  commits(): number;
  close(): Promise<void>;
}

/** The bursts by the number of threads; those of one round have the same index. */
export async function measureIntakes(load: IntakesLoad): Promise<ReadonlyMap<number, readonly IntakeBurst[]>> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-intakes-'));
  const opened = new Map<number, Intakes>();
  const bursts = new Map<number, IntakeBurst[]>(load.threads.map((threads) => [threads, []]));
  try {
    for (const threads of load.threads) opened.set(threads, await openIntakes(join(directory, `${threads}`), threads));
    for (let round = -load.warmUps; round < load.rounds; round += 1) {
      for (let place = 0; place < load.threads.length; place += 1) {
        const threads = load.threads[(place + Math.abs(round)) % load.threads.length] as number;
        const burst = await measure(opened.get(threads) as Intakes, load);
        if (round >= 0) bursts.get(threads)?.push(burst);
      }
    }
    return bursts;
  } finally {
    for (const intakes of opened.values()) await intakes.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measure(intakes: Intakes, load: IntakesLoad): Promise<IntakeBurst> {
  const commits = intakes.commits();
  const began = performance.now();
  const before = process.cpuUsage();
  const loop = performance.eventLoopUtilization();
  await intakes.publish(load);
  const { user, system } = process.cpuUsage(before);
  const seconds = (performance.now() - began) / 1000;
  return {
    cpu: (user + system) / load.messages,
    perSecond: load.messages / seconds,
    perCommit: load.messages / (intakes.commits() - commits),
    mainBusy: performance.eventLoopUtilization(loop).utilization,
  };
}

async function openIntakes(directory: string, threads: number): Promise<Intakes> {
  const telemetry = await openTelemetry({
    directory,
    now: Date.now,
    log: pino({ level: 'warn' }),
    nodes: threads,
  });
  const commits = () => telemetry.counters().commits;
  if (threads === 0) {
    const publish = (load: Omit<IntakeLoad, 'prefix'>) => publishThrough(telemetry, { ...load, prefix: 'main' });
    return { publish, commits, close: () => telemetry.close() };
  }
  const nodes = await Promise.all(Array.from({ length: threads }, () => startThread(telemetry)));
  return {
    publish: async ({ devices, inFlight, messages }) => {
      const each = { devices: devices / threads, inFlight, messages: messages / threads };
      await Promise.all(nodes.map(({ calls }, i) => calls.call('publish', { ...each, prefix: `thread-${i}` })));
    },
    commits,
    close: async () => {
      for (const { calls, worker } of nodes) {
        await calls.call('close', undefined);
        await worker.terminate();
      }
      await telemetry.close();
    },
  };
}

async function startThread(telemetry: EmbeddedTelemetry) {
  const { connection, transfer } = await telemetry.connectNode();
  const { port1, port2: control } = new MessageChannel();
  const workerData: IntakeThreadData = { connection, control };
  const program = new URL('intake-thread.ts', import.meta.url);
  const worker = new Worker(program, { workerData, transferList: [...transfer, control] });
  const calls = new Channel<IntakeThreadCalls, Record<never, never>>(port1, {
    name: 'the intake',
    failed: (error) => {
      throw error;
    },
  });
  return { calls, worker };
}
