/** What a sink forwards to, as the forwarder sees it: takes a batch, or says that it can't now. */

import type { StoredMessage } from '../telemetry.ts';

/** A message of either journal. */
export type SinkMessage = StoredMessage<string>;

/** Which journal a sink forwards: what devices said, or what happened to the fleet. */
export type SinkSource = 'telemetry' | 'events';

/** Text that opens something: read anew at each connection, so that it can be exchanged. Throws when it can't be read. */
export type Secret = () => string;

/** A message that the target will never take, and its words about it. */
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
   */
  deliver(messages: readonly SinkMessage[], signal: AbortSignal): Promise<readonly RefusedMessage[]>;
  /** What comes next came before, and is wanted again. */
  replaying?(): void;
  /** Looks after the target while there is nothing to deliver. */
  check?(): Promise<void>;
  /** What was found out since the last call. */
  takeNotice?(): TargetNotice | undefined;
  /** Lets go of connections and files; a delivery after it opens them again. */
  close(): Promise<void>;
}

/** The target can't be reached, or not be written to, now. The message names what was expected; it holds no secret. */
export class TargetDown extends Error {
  override readonly name = 'TargetDown';
  /** Milliseconds that the target asked to be left alone. */
  readonly retryAfter: number | undefined;

  constructor(message: string, options: { readonly retryAfter?: number | undefined; readonly cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.retryAfter = options.retryAfter;
  }
}

/** One side's certificate did not count for the other: nothing was sent, and somebody has to see to it. */
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
