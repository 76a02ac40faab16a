/** A thread with an intake of its own and devices that publish through it, for `intakes.ts`. */

import { isMainThread, type MessagePort, workerData } from 'node:worker_threads';
import { pino } from 'pino';
import { Channel } from '../../storage/index.ts';
import type { NodeConnection } from '../../telemetry/index.ts';
import { openNodeTelemetry } from '../../telemetry/index.ts';
import { type IntakeLoad, publishThrough } from './intake-load.ts';

export interface IntakeThreadCalls {
  readonly publish: { readonly input: IntakeLoad; readonly output: undefined };
  readonly close: { readonly input: undefined; readonly output: undefined };
}

export interface IntakeThreadData {
  readonly connection: NodeConnection;
  readonly control: MessagePort;
}

if (isMainThread) throw new Error('expected to run in a worker thread');
const { connection, control } = workerData as IntakeThreadData;
const telemetry = openNodeTelemetry({ connection, now: Date.now, log: pino({ level: 'warn' }) });
const channel = new Channel<Record<never, never>, IntakeThreadCalls>(control, {
  name: 'the measurement',
  failed: (error) => {
    throw error;
  },
});
channel.handle('publish', async (load) => {
  await publishThrough(telemetry, load);
  return undefined;
});
channel.handle('close', async () => {
  await telemetry.close();
  return undefined;
});
