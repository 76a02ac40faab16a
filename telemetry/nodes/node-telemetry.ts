/**
 * The intake of one node: a thread that receives messages itself. Its batches go to the thread that writes the journal without the
 * keeper, and come back from there as acknowledged. What the keeper needs of them it gets in few reports (`node-reports.ts`). The keeper
 * tells which devices are held, and whether the disk has space.
 */

import type { MessagePort } from 'node:worker_threads';
import { type DeviceId, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import {
  type AppendAnswer,
  type AppendCalls,
  type Batch,
  Channel,
  type DiskState,
  expectDiskSpace,
} from '../../storage/index.ts';
import { BatchSender } from '../batch-sender.ts';
import { Intake, type IntakeCounters } from '../intake.ts';
import type { Telemetry } from '../telemetry.ts';
import type { KeeperCalls, NodeCalls, NodeConnection } from './node-calls.ts';
import { NodeReports } from './node-reports.ts';
import { NodeShares } from './node-shares.ts';
import { NodeStreams } from './node-streams.ts';

export interface NodeTelemetryOptions {
  /** From `connectNode()` of the thread that opened the journal, once. */
  readonly connection: NodeConnection;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** What a node does with messages: the same as the thread that opened the journal, without queries. */
export interface NodeTelemetry extends Pick<Telemetry, 'accept' | 'submit' | 'onPressure'> {
  readonly shares: Pick<NodeShares, 'isHeld' | 'listen'>;
  readonly streams: Pick<NodeStreams, 'admit' | 'max' | 'load' | 'release'>;
  /** Of this node alone. */
  counters(): IntakeCounters;
  /** Stores what waits, reports it to the keeper, and closes both ports. */
  close(): Promise<void>;
}

/** What a batch that was under way when the other side ended may or may not be. */
function endedProblem(): Problem {
  return new Problem('internal', { reason: 'the worker of the journal ended' });
}

/** The ports of the connection are not in use before. */
export function openNodeTelemetry({ connection, now, log }: NodeTelemetryOptions): NodeTelemetry {
  const { limits, maxStreams, shares: settings } = connection;
  const failed = (error: unknown, name: string) => log.error({ err: error, call: name }, 'a call of telemetry failed');
  const keeper = new Channel<KeeperCalls, NodeCalls>(connection.keeper, { name: 'telemetry', failed });
  const journalOver = (port: MessagePort) =>
    new Channel<AppendCalls, Record<never, never>>(port, { name: 'the journal', failed, endedProblem });

  let disk: DiskState = connection.disk;
  let journal = journalOver(connection.journal);
  const append = async (batch: Batch, transfer: readonly ArrayBuffer[]): Promise<AppendAnswer> =>
    journal.call('append', batch, transfer);
  const batches = new BatchSender(append, log);
  const shares = new NodeShares(settings.held);
  const streams = new NodeStreams({
    max: maxStreams,
    read: (devices) => keeper.call('streams', devices),
    admitted: (device, stream) => keeper.tell('streamAdmitted', { device, stream }),
  });
  const reports = new NodeReports({
    ...settings,
    counters: () => intake.counters(),
    newestPosition: () => batches.newestPosition,
    send: (report) => keeper.call('report', report),
  });
  const intake = new Intake<DeviceId>({
    limits,
    now,
    log,
    observeCommit: (seconds) => reports.observeCommit(seconds),
    write: async (messages) => {
      expectDiskSpace(disk);
      reports.expectConfirmed();
      if (journal.hasEnded) {
        journal = journalOver(await keeper.call('journal', undefined));
        batches.forgetNames();
      }
      const appended = await batches.send(messages);
      reports.stored(messages, appended.repeated);
      return appended;
    },
  });
  intake.onPressure(() => reports.soon());

  keeper.handle('disk', (state): undefined => {
    disk = state;
  });
  keeper.handle('held', (names): undefined => shares.set(names));
  keeper.handle('deviceHeld', ({ device, isHeld }): undefined => shares.setDevice(device, isHeld));
  keeper.handle('streamsCounted', () => streams.counted());

  let closing: Promise<void> | undefined;
  const close = async () => {
    await intake.close();
    await reports.close();
    journal.close();
    keeper.close();
  };
  return {
    accept: (message) => intake.accept(message),
    submit: (message, callbacks) => intake.submit(message, callbacks),
    onPressure: (listener) => intake.onPressure(listener),
    shares,
    streams,
    counters: () => intake.counters(),
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
