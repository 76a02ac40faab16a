/** Which outbox a device gets, from what its application says about the queue. */

import { join } from 'node:path';
import { type DeviceId, type DeviceTopic, parseDeviceTopic } from '@rollcall/protocol';
import { DeviceError } from './device-error.ts';
import type { DeviceLog } from './device-state.ts';
import { DiskOutbox } from './disk-outbox.ts';
import { journalFiles } from './journal-files.ts';
import { DEFAULT_OUTBOX_LIMITS, MemoryOutbox, type Outbox, type OutboxLimits } from './outbox.ts';
import type { DropPolicy, StreamRules, TopicRules } from './outbox-streams.ts';
import { isReplyTopic } from './reply.ts';
import type { Schedule } from './schedule.ts';
import { PRIORITIES } from './send-window.ts';

export interface QueueOptions {
  /** A directory of the queue's own, made with mode 0700. Default `queue` in the device's `dataDir`. */
  readonly directory?: string;
  /** Bytes on disk of all waiting messages, from 65,536 on. Default 64 MiB. */
  readonly bytes?: number;
  /** What gives way when the queue is full, for streams without rules of their own. Default `newest`. */
  readonly drop?: DropPolicy;
  /** Rules for single telemetry streams. Without `bytes`, a stream may take all of the queue. */
  readonly streams?: Readonly<Record<string, Partial<StreamRules>>>;
  /** The same for single types of events. */
  readonly events?: Readonly<Record<string, Partial<StreamRules>>>;
  /**
   * Messages per second at most, of those that waited when a connection begins. Default 80, below what the broker lets
   * pass by default; 0: as fast as they go.
   */
  readonly replayRate?: number;
}

export interface OutboxOptions {
  readonly dataDir?: string | undefined;
  /** `memory`: nothing is written to disk, even if there is a `dataDir`. */
  readonly queue?: QueueOptions | 'memory' | undefined;
  readonly outbox?: Partial<OutboxLimits> | undefined;
  readonly messageKeys?: MessageKeys | undefined;
}

/** Whether telemetry of QoS 1 is sent with a key that the application didn't give. */
export type MessageKeys = 'automatic' | 'none';

interface Surroundings {
  readonly deviceId: DeviceId;
  readonly now: () => number;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
}

const QUEUE_BYTES = 64 * 1024 * 1024;
const QUEUE_BYTES_MIN = 64 * 1024;
const REPLAY_RATE = 80;
const POLICIES: readonly DropPolicy[] = ['newest', 'oldest', 'keep-latest'];

/** Throws `request_invalid` for options that describe no queue, and `queue_unusable` when its directory can't be used. */
export function openOutbox(options: OutboxOptions, { deviceId, now, schedule, log }: Surroundings): Outbox {
  const limits = { ...DEFAULT_OUTBOX_LIMITS, ...options.outbox };
  const queue = options.queue === 'memory' ? undefined : options.queue;
  const directory = queue?.directory ?? (options.dataDir === undefined ? undefined : join(options.dataDir, 'queue'));
  if (options.queue === 'memory' || directory === undefined) {
    return new MemoryOutbox(limits, (topic) => isKeyed(parseDeviceTopic(topic), options));
  }
  const bytes = queue?.bytes ?? QUEUE_BYTES;
  const rulesOf = (topic: string): TopicRules => {
    const parsed = parseDeviceTopic(topic);
    const own = parsed === undefined ? RESPONSE_RULES : ownRules(parsed, queue);
    return {
      drop: own?.drop ?? queue?.drop ?? 'newest',
      bytes: own?.bytes ?? bytes,
      priority: own?.priority ?? 'normal',
      retain: parsed?.kind === 'twin',
      isKeyed: isKeyed(parsed, options),
    };
  };
  try {
    return DiskOutbox.open({
      ...{ limits, bytes, rulesOf, now, schedule, log },
      files: journalFiles(directory),
      replayRate: queue?.replayRate ?? REPLAY_RATE,
      owns: (topic) => parseDeviceTopic(topic)?.device === deviceId || isReplyTopic(topic, deviceId),
    });
  } catch (error) {
    throw new DeviceError('queue_unusable', {
      reason: `${(error as NodeJS.ErrnoException).code ?? 'unknown'} on ${directory}`,
      cause: error,
    });
  }
}

/** With a key of its own it needs no other. */
function isKeyed(topic: DeviceTopic | undefined, { messageKeys = 'automatic' }: OutboxOptions): boolean {
  return messageKeys === 'automatic' && topic?.kind === 'telemetry' && topic.key === undefined;
}

/** Also of responses to topics that a command names. */
const RESPONSE_RULES: Partial<StreamRules> = { priority: 'high' };

/** Somebody waits for an answer, and nobody for an older state of the twin. */
function ownRules(topic: DeviceTopic, queue: QueueOptions | undefined): Partial<StreamRules> | undefined {
  if (topic.kind === 'telemetry') return queue?.streams?.[topic.stream];
  if (topic.kind === 'event') return queue?.events?.[topic.type];
  if (topic.kind === 'response') return RESPONSE_RULES;
  return topic.kind === 'twin' ? { drop: 'keep-latest' } : undefined;
}

/** Throws `request_invalid`. */
export function checkOutboxOptions({ dataDir, queue, messageKeys = 'automatic' }: OutboxOptions): void {
  if (messageKeys !== 'automatic' && messageKeys !== 'none') throw invalid('expected message keys automatic or none');
  if (queue === undefined || queue === 'memory') return;
  const { bytes = QUEUE_BYTES, replayRate = REPLAY_RATE } = queue;
  if (dataDir === undefined && queue.directory === undefined) {
    throw invalid('expected a directory for the queue, since the device has none');
  }
  if (!Number.isSafeInteger(bytes) || bytes < QUEUE_BYTES_MIN) {
    throw invalid(`expected a queue of ${QUEUE_BYTES_MIN} bytes or more`);
  }
  if (!(replayRate >= 0)) throw invalid('expected a replay rate of 0 or more messages per second');
  const rules: readonly Partial<StreamRules>[] = [
    ...Object.values(queue.streams ?? {}),
    ...Object.values(queue.events ?? {}),
  ];
  for (const { drop } of [queue, ...rules]) {
    if (drop !== undefined && !POLICIES.includes(drop)) throw invalid(`expected one of ${POLICIES.join(', ')}`);
  }
  for (const { priority } of rules) {
    if (priority !== undefined && !PRIORITIES.includes(priority)) {
      throw invalid(`expected one of ${PRIORITIES.join(', ')}`);
    }
  }
}

function invalid(reason: string): DeviceError {
  return new DeviceError('request_invalid', { reason });
}
