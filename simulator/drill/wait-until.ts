/** Waiting for something that nobody tells: it is looked at now and then. */

const LOOK_EVERY_MS = 100;

/** False when it didn't come true in time. Throws the reason of `signal`. */
export async function waitUntil(
  isTrue: () => boolean | Promise<boolean>,
  withinMs: number,
  signal: AbortSignal,
  everyMs = LOOK_EVERY_MS,
): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    signal.throwIfAborted();
    if (await isTrue()) return true;
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
