/**
 * Turns single messages into batches, so that many share one commit. A promise settles only after the commit of its
 * batch: fulfilled when the batch is on disk, rejected when it is not. Does not know how a batch is stored.
 */

import { Problem } from '../contract/problem.ts';
import type { TelemetryMessage } from './telemetry.ts';

/** How long the first message of a batch waits for others. */
const WINDOW_MS = 2;

/** A batch is committed at once when it holds so many messages, or so many bytes of payload. */
const MOST_MESSAGES = 512;
const MOST_BYTES = 1_048_576;

interface Batch {
  readonly messages: TelemetryMessage[];
  /** One promise for all of them: they share one fate. */
  readonly stored: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
  bytes: number;
}

export class GroupCommit {
  readonly #commit: (messages: readonly TelemetryMessage[]) => void;
  #open: Batch | undefined;

  /** `commit` stores a batch before it returns, or throws. */
  constructor(commit: (messages: readonly TelemetryMessage[]) => void) {
    this.#commit = commit;
  }

  /** Rejects with Problem `internal` for a message that no journal can hold; it must not spoil the batch of others. */
  accept(message: TelemetryMessage): Promise<void> {
    if (!isStorable(message)) {
      return Promise.reject(new Problem('internal', { reason: 'expected a telemetry message, found another shape' }));
    }
    this.#open ??= this.#begin();
    const batch = this.#open;
    batch.messages.push(message);
    batch.bytes += message.payload.byteLength;
    if (batch.messages.length >= MOST_MESSAGES || batch.bytes >= MOST_BYTES) this.flush();
    return batch.stored;
  }

  /** Commits what is waiting, now. Never throws: whoever waits is told. */
  flush(): void {
    const batch = this.#open;
    if (batch === undefined) return;
    this.#open = undefined;
    clearTimeout(batch.timer);
    try {
      this.#commit(batch.messages);
    } catch (error) {
      batch.reject(error);
      return;
    }
    batch.resolve();
  }

  #begin(): Batch {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    return {
      messages: [],
      stored: promise,
      resolve,
      reject,
      timer: setTimeout(() => this.flush(), WINDOW_MS),
      bytes: 0,
    };
  }
}

function isStorable({ device, stream, receivedAt, qos, payload }: TelemetryMessage): boolean {
  return (
    typeof device === 'string' &&
    typeof stream === 'string' &&
    Number.isSafeInteger(receivedAt) &&
    (qos === 0 || qos === 1 || qos === 2) &&
    payload instanceof Uint8Array
  );
}
