/** The interface of a sink's target: takes a batch, or reports that it can't now. */

import type { StoredMessage } from '../telemetry.ts';
import type { EventDigest } from './event-digest.ts';

/** A message of either journal. */
export type SinkMessage = StoredMessage<string>;

/** The journal that a sink forwards: messages of devices, or events of the fleet. */
export type SinkSource = 'telemetry' | 'events';

/** A secret that is read at each connection, so that it can be rotated. Throws when it can't be read. */
export type Secret = () => string;

/** A message that the target will never take, and its reason. */
export interface RefusedMessage {
  readonly message: SinkMessage;
  readonly reason: string;
}

/** Something that happened to the target while nothing was delivered, in words for operators. */
export interface TargetNotice {
  /** Messages that the target had are not there any more. */
  readonly isLoss: boolean;
  readonly text: string;
}

export interface Target {
  /**
   * Resolves when every message is safe there, or refused for good. Rejects when the same batch is to be tried again:
   * then some of it may have arrived. Batches come one after the other, messages in the order of the journal.
   * `digest`: of a sink with an interval, what the messages are the first of.
   */
  deliver(
    messages: readonly SinkMessage[],
    signal: AbortSignal,
    digest?: EventDigest,
  ): Promise<readonly RefusedMessage[]>;
  /** What comes next came before, and is wanted again. */
  replaying?(): void;
  /** Checks the target while there is nothing to deliver. */
  check?(): Promise<void>;
  /** What was found since the last call. */
  takeNotice?(): TargetNotice | undefined;
  /** Closes connections and files; a later delivery opens them again. */
  close(): Promise<void>;
}

/** The target can't be reached, or not be written to, now. The message names what was expected; it holds no secret. */
export class TargetDown extends Error {
  override readonly name = 'TargetDown';
  /** Milliseconds that the target requested (Retry-After). */
  readonly retryAfter: number | undefined;

  constructor(message: string, options: { readonly retryAfter?: number | undefined; readonly cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.retryAfter = options.retryAfter;
  }
}

/** One side does not accept the other's certificate: nothing was sent, and an operator has to act. */
export class TargetUntrusted extends TargetDown {}

/**
 * For targets that refuse a batch because of one message in it: halves the batch until that message is alone. `attempt`
 * resolves with undefined when all arrived, or with the reason of a refusal. Keeps the order.
 */
export async function deliverHalving(
  messages: readonly SinkMessage[],
  attempt: (part: readonly SinkMessage[]) => Promise<string | undefined>,
): Promise<readonly RefusedMessage[]> {
  const [first] = messages;
  if (first === undefined) return [];
  const reason = await attempt(messages);
  if (reason === undefined) return [];
  if (messages.length === 1) return [{ message: first, reason }];
  const middle = Math.ceil(messages.length / 2);
  const before = await deliverHalving(messages.slice(0, middle), attempt);
  return [...before, ...(await deliverHalving(messages.slice(middle), attempt))];
}
