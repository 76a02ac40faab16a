/**
 * Whether a request of a browser comes from a page of this console. Browsers send `Origin` with every request that changes something,
 * and `Sec-Fetch-Site` (Fetch Metadata) with all. A page on another port of the same host is another origin, but has the cookie.
 */

import type { IncomingMessage } from 'node:http';

/** Why it does not, for the log; undefined when it does. The Host header was checked before. */
export function foreignOrigin({ method = 'GET', headers }: IncomingMessage): string | undefined {
  const isRead = method === 'GET' || method === 'HEAD';
  const { origin, 'sec-fetch-site': site } = headers;
  if (origin === undefined && !isRead) return 'no origin';
  if (origin !== undefined && origin !== `https://${(headers.host ?? '').toLowerCase()}`) return 'foreign origin';
  // `none`: the person opened the address.
  if (site !== undefined && site !== 'same-origin' && !(isRead && site === 'none')) return 'cross-site';
  return undefined;
}
