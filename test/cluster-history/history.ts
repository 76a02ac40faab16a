/**
 * What devices, operators and the database did and saw while several nodes shared a store, in the order in which one process recorded it.
 * A history is plain data: `check-history.ts` judges it, and a file of JSON lines holds it.
 */

/** A connection of a client, as the client sees it. */
interface OnConnection {
  readonly device: string;
  readonly node: string;
  /** Given once in a history. */
  readonly connection: number;
}

export interface NodeInProof {
  readonly name: string;
  readonly state: 'confirmed' | 'late' | 'deaf' | 'closed';
  /** When its sockets are closed, by the clock of the history. */
  readonly closedBy?: number;
}

export type HistoryEvent =
  /** The client begins to connect; CONNACK 0 was received; the connection is closed. */
  | ({ readonly type: 'connecting' | 'connected' | 'closed' } & OnConnection)
  /** A message with this key, of which a device has one: it was sent, perhaps again; PUBACK was received. */
  | ({ readonly type: 'published' | 'acknowledged' } & OnConnection & { readonly key: string })
  /** A service sends a message to the device; the device has received it. */
  | { readonly type: 'command sent'; readonly device: string; readonly key: string }
  | ({ readonly type: 'delivered' } & OnConnection & { readonly key: string })
  /** What the database says of the owner of the device's session. `askedAt`: when it was asked. */
  | { readonly type: 'claim read'; readonly device: string; readonly node: string; readonly askedAt: number }
  /** The order was given to a node, while others were cut off and known to be deaf. */
  | {
      readonly type: 'revocation ordered';
      readonly device: string;
      readonly node: string;
      readonly cut?: readonly string[];
    }
  /** Its answer was received, and so many brokers had confirmed; with what it says of each. */
  | {
      readonly type: 'proof';
      readonly device: string;
      readonly node: string;
      readonly confirmed: number;
      readonly nodes?: readonly NodeInProof[];
    }
  /** What had reached this process before the proof has been read. */
  | { readonly type: 'drained'; readonly device: string }
  /** The device has received the certificate that it got for this token. */
  | { readonly type: 'enrolled'; readonly device: string; readonly node: string; readonly token: string }
  | { readonly type: 'fault' | 'fault ended'; readonly name: string };

/** `at`: milliseconds of one monotonic clock. */
export type HistoryEntry = HistoryEvent & { readonly at: number };

export type History = readonly HistoryEntry[];

/** What the database has in the end. */
export interface StoredState {
  /** The keys of each device's messages, in the order in which they are stored. */
  readonly messages: ReadonlyMap<string, readonly string[]>;
  readonly tokens: readonly StoredToken[];
}

export interface StoredToken {
  readonly token: string;
  readonly maximum: number;
  readonly used: number;
  /** Devices that exist because of it. */
  readonly devices: readonly string[];
}

/** Entries of one device, in order, with their places in the whole history. */
export interface DeviceHistory {
  readonly device: string;
  readonly entries: readonly PlacedEntry[];
}

export type PlacedEntry = HistoryEntry & { readonly device: string; readonly place: number };

/** Throws when entries are not in the order of their times: then they are of no one clock. */
export function historiesByDevice(history: History): readonly DeviceHistory[] {
  const found = new Map<string, PlacedEntry[]>();
  let time = Number.NEGATIVE_INFINITY;
  for (const [place, entry] of history.entries()) {
    if (entry.at < time)
      throw new Error(`expected entries in the order of their times, found ${entry.at} after ${time}`);
    time = entry.at;
    if (!('device' in entry)) continue;
    const entries = found.get(entry.device);
    if (entries === undefined) found.set(entry.device, [{ ...entry, place }]);
    else entries.push({ ...entry, place });
  }
  return [...found].map(([device, entries]) => ({ device, entries }));
}
