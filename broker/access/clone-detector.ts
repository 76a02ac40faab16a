import type { Identity } from '@rollcall/protocol';
import { networkOf } from '../../limits/index.ts';
/** What the pattern was. */
export type CloneEvidence =
  | 'alternating_addresses' // two places displaced each other's live session, and both came back for it
  | 'takeover_ping_pong'; // live sessions were displaced faster than a device reboots, wherever from

export interface Takeover {
  readonly identity: Identity;
  readonly clientId: string;
  /** Address and certificate of the session that was live. */
  readonly from: string;
  readonly fromSerial: string;
  /** Of the one that displaces it. */
  readonly to: string;
  readonly toSerial: string;
}

export interface CloneSuspicion {
  readonly identity: Identity;
  readonly clientId: string;
  readonly evidence: CloneEvidence;
  /** The addresses seen, at most eight. */
  readonly addresses: readonly string[];
  /** The certificates seen: one that was copied, or two of one line. */
  readonly serials: readonly string[];
  /** How many takeovers the suspicion rests on. */
  readonly takeovers: number;
}

/** How long a takeover counts, milliseconds. */
const WINDOW = 600_000;
/**
 * How often somebody who was displaced has to displace the other in turn. Once is a device that went there and back, or
 * the old connection of one that changed its network; the second time both are at it.
 */
const RETURNS = 2;
const PING_PONG = { takeovers: 5, within: 60_000 } as const;
const REMEMBERED = 16;

interface Seen extends Takeover {
  readonly at: number;
}

interface History {
  readonly seen: Seen[];
  suspectedAt: number | undefined;
}

export class CloneDetector {
  readonly #histories = new Map<string, History>();

  /** A live session is being displaced. Answers at most once in ten minutes for each client id. */
  recordTakeover(takeover: Takeover, now: number): CloneSuspicion | undefined {
    const { clientId, identity } = takeover;
    const history = this.#histories.get(clientId) ?? { seen: [], suspectedAt: undefined };
    this.#histories.set(clientId, history);
    const { seen } = history;
    seen.push({ ...takeover, at: now });
    while (seen.length > REMEMBERED || (seen[0] !== undefined && Math.abs(now - seen[0].at) > WINDOW)) seen.shift();
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

  /** Forgets what no longer counts. */
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
