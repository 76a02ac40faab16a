/**
 * At most one connection has a client id at any time. A connection that was replaced may be open for its client, for it learns of its end
 * late: what counts is that nothing is done for it any more. So a violation is a frame that was sent after the replacement was complete and
 * that was answered or delivered over the replaced connection.
 */

import type { DeviceHistory, PlacedEntry } from './history.ts';

interface Connection {
  readonly connection: number;
  readonly node: string;
  readonly begunAt: number;
  connectedAt: number | undefined;
  connectedTime: number;
  /** Where the last frame was sent that was answered or delivered over it; -1 without one. */
  served: number;
}

/** Each as `device connection N of NODE`. */
export function checkOwners({ device, entries }: DeviceHistory): readonly string[] {
  const connections = connectionsOf(entries);
  const claims = entries.filter((entry) => entry.type === 'claim read');
  const found = new Set<Connection>();
  for (const one of connections) {
    if (one.served < 0) continue;
    for (const other of connections) if (other !== one && isSecondOwner(one, other)) found.add(one);
    // The claim was another node's at a moment after this connection had it.
    const isClaimedElsewhere = claims.some(
      ({ node, askedAt, place }) => node !== one.node && one.connectedTime < askedAt && place < one.served,
    );
    if (isClaimedElsewhere) found.add(one);
  }
  return [...found].map(({ connection, node }) => `${device} connection ${connection} of ${node}`);
}

function isSecondOwner(one: Connection, other: Connection): boolean {
  const [first, second] = [one.connectedAt, other.connectedAt];
  if (first === undefined || second === undefined) return false;
  // The other one is certainly the later one.
  if (other.begunAt > first) return one.served > second;
  // Both connected at once: either may have it, and not both.
  const areConcurrent = one.begunAt < second && other.begunAt < first;
  const both = Math.max(first, second);
  return areConcurrent && one.served > both && other.served > both;
}

function connectionsOf(entries: readonly PlacedEntry[]): readonly Connection[] {
  const connections = new Map<number, Connection>();
  /** Where each message was sent last, by connection and key; of commands by key. */
  const sent = new Map<string, number>();
  for (const entry of entries) {
    const { type, place } = entry;
    if (type === 'command sent') sent.set(entry.key, place);
    if (!('connection' in entry)) continue;
    const { connection, node } = entry;
    if (type === 'connecting') {
      const begun = { connection, node, begunAt: place, connectedAt: undefined, connectedTime: entry.at, served: -1 };
      connections.set(connection, begun);
    }
    const own = connections.get(connection);
    if (own === undefined) throw new Error(`expected the beginning of connection ${connection} before ${type}`);
    if (type === 'connected') {
      own.connectedAt = place;
      own.connectedTime = entry.at;
    } else if (type === 'published') sent.set(`${connection} ${entry.key}`, place);
    else if (type === 'acknowledged') own.served = Math.max(own.served, sent.get(`${connection} ${entry.key}`) ?? -1);
    else if (type === 'delivered') own.served = Math.max(own.served, sent.get(entry.key) ?? -1);
  }
  return [...connections.values()];
}
