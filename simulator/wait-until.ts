/** Waits for a condition that nothing announces, by looking at it again and again. */

import { setTimeout as delay } from 'node:timers/promises';

const CHECK_EVERY_MS = 100;

export interface WaitOptions {
  /** Milliseconds. */
  readonly within: number;
  /** Its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds between two looks. */
  readonly every?: number;
}

/** False when the condition did not come true in time. */
export async function waitUntil(
  isTrue: () => boolean | Promise<boolean>,
  { within, signal, every = CHECK_EVERY_MS }: WaitOptions,
): Promise<boolean> {
  const deadline = performance.now() + within;
  for (;;) {
    signal?.throwIfAborted();
    if (await isTrue()) return true;
    if (performance.now() > deadline) return false;
    await delay(every);
  }
}
