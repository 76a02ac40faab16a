import { parseRenewalNotice, RENEWAL_INFO_PATH, type RenewalNotice } from '@rollcall/protocol';
import { exchange, type PeerClock } from './https-exchange.ts';
import type { Credentials } from './identity-store.ts';
import type { KeyProvider } from './key-provider.ts';

/** Undefined when the server has no opinion, or is of another make. Rejects when it can't be asked. */
export async function fetchRenewalInfo(
  identity: Credentials,
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly clock?: PeerClock | undefined;
    readonly keys?: KeyProvider | undefined;
  },
): Promise<RenewalNotice | undefined> {
  const { enrollUrl, rootPem, rootCrlPem } = identity;
  const { signal, clock, keys } = options;
  const answer = await exchange(
    { url: enrollUrl, root: rootPem, rootCrl: rootCrlPem, credential: { ...identity, keys }, signal, clock },
    { method: 'GET', path: RENEWAL_INFO_PATH, maxBytes: 4_096, timeout: 30_000 },
  );
  // Without an opinion as well it tells the time, by which a renewal may not be due at all.
  const notice = answer.status === 200 ? parseRenewalNotice(answer.body.toString('utf8')) : undefined;
  const time = Date.parse(notice?.serverTime ?? String(answer.headers.date));
  if (Number.isFinite(time) && time > 0) clock?.learn(time);
  return notice;
}
