/** Waits for what the broker does to its own state, or for bytes that a raw client gathered: neither has an event. */

/** Asks every 5 ms; ends with the test that waits. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5));
}
