/**
 * Detects two holders of one client id: live sessions that displace each other again and again. A device that reconnects once, or
 * changes its network, is not reported. Keeps at most 16 takeovers per client id for ten minutes.
 */

import type { Identity } from '@rollcall/protocol';
import { networkOf } from '../../limits/index.ts';
/** The pattern that was found. */
export type CloneEvidence =
  | 'alternating_addresses' // two networks displaced each other's live session, and both reconnected
  | 'takeover_ping_pong'; // live sessions were displaced faster than a device reboots, from any address

export interface Takeover {
  readonly identity: Identity;
  readonly clientId: string;
  /** Address and certificate of the session that was live. */
  readonly from: string;
  readonly fromSerial: string;
  /** Address and certificate of the connection that displaces it. */
  readonly to: string;
  readonly toSerial: string;
}

export interface CloneSuspicion {
  readonly identity: Identity;
  readonly clientId: string;
  readonly evidence: CloneEvidence;
  /** The addresses seen, at most eight. */
  readonly addresses: readonly string[];
  /** The certificates seen: one that was copied, or two that were renewed from each other. */
  readonly serials: readonly string[];
  /** How many takeovers the suspicion rests on. */
  readonly takeovers: number;
}

/** How long a takeover is considered, in milliseconds. */
const WINDOW = 600_000;
/**
 * How often a displaced client has to displace the other in turn. Once is a device that moved to another network and back, or
 * the old connection of a device that changed its network. Twice means that both are active.
 */
const RETURNS = 2;
const PING_PONG = { takeovers: 5, within: 60_000 } as const;
const TAKEOVERS_PER_CLIENT = 16;

interface Seen extends Takeover {
  readonly at: number;
}

interface History {
  readonly seen: Seen[];
  suspectedAt: number | undefined;
}

export class CloneDetector {
  readonly #histories = new Map<string, History>();

  /** Records that a live session is displaced. Reports a suspicion at most once in ten minutes per client id. */
  recordTakeover(takeover: Takeover, now: number): CloneSuspicion | undefined {
    const { clientId, identity } = takeover;
    const history = this.#histories.get(clientId) ?? { seen: [], suspectedAt: undefined };
    this.#histories.set(clientId, history);
    const { seen } = history;
    seen.push({ ...takeover, at: now });
    while (seen.length > TAKEOVERS_PER_CLIENT || (seen[0] !== undefined && Math.abs(now - seen[0].at) > WINDOW))
      seen.shift();
    if (history.suspectedAt !== undefined && Math.abs(now - history.suspectedAt) <= WINDOW) return undefined;
    const evidence = evidenceIn(seen, now);
    if (evidence === undefined) return undefined;
    history.suspectedAt = now;
    return {
      identity,
      clientId,
      evidence,
      addresses: [...new Set(seen.flatMap(({ from, to }) => [from, to]))].slice(0, 8),
      serials: [...new Set(seen.flatMap(({ fromSerial, toSerial }) => [fromSerial, toSerial]))].slice(0, 8),
      takeovers: seen.length,
    };
  }

  /** Removes takeovers outside the window. */
  sweep(now: number): void {
    for (const [clientId, { seen }] of this.#histories) {
      const last = seen.at(-1);
      if (last === undefined || Math.abs(now - last.at) > WINDOW) this.#histories.delete(clientId);
    }
  }
}

function evidenceIn(seen: readonly Seen[], now: number): CloneEvidence | undefined {
  const displaced = new Set<string>();
  let returns = 0;
  for (const { from, to } of seen) {
    const [left, came] = [networkOf(from), networkOf(to)];
    if (left === came) continue;
    if (displaced.has(came)) returns += 1;
    displaced.add(left);
  }
  if (returns >= RETURNS) return 'alternating_addresses';
  const lately = seen.filter(({ at }) => Math.abs(now - at) <= PING_PONG.within);
  return lately.length >= PING_PONG.takeovers ? 'takeover_ping_pong' : undefined;
}
