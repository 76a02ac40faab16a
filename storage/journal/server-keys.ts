/**
 * Keys that the server gives a message to store it once. They begin with `/`, which no topic level can contain, so no device can send
 * one. Readers get only the keys that devices sent.
 */

export const SERVER_KEY_PREFIX = '/';

/** The key as readers get it. */
export function visibleKey(key: string | undefined): string | undefined {
  return key?.startsWith(SERVER_KEY_PREFIX) === true ? undefined : key;
}
