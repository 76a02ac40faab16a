/**
 * Keys that the server gives a message by itself, to store it once. They begin with a sign that no level of a topic can hold, so
 * that no device can write one, and are kept in blocks alone: whoever reads messages sees those that devices wrote.
 */

export const SERVER_KEY_PREFIX = '/';

/** The key that readers see. */
export function visibleKey(key: string | undefined): string | undefined {
  return key?.startsWith(SERVER_KEY_PREFIX) === true ? undefined : key;
}
