/**
 * Presence: whether a device is connected, from where, with what, and how its last session ended. It is written after the fact and
 * in batches, so it decides nothing: certificate status and live sessions do. Each row names the broker that has the session.
 */

import type { DeviceId } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { addressKey } from './address-range.ts';

/** Times are milliseconds since the epoch. */
export interface DevicePresence {
  readonly isOnline: boolean;
  /** The broker that has the session, or had the last one. */
  readonly broker: string;
  /** Begin of the newest session. */
  readonly connectedAt: number;
  /** When the last packet of the last session was read; for a device that is online, when it connected. */
  readonly lastSeenAt: number;
  readonly address: string;
  /** `3.1.1` or `5`. */
  readonly mqttVersion: string;
  /** As the client stated it in CONNECT: `name/version`. */
  readonly sdkVersion?: string;
  /** How the last session ended that has ended. */
  readonly lastDisconnect?: { readonly at: number; readonly reason: string };
}

export interface SessionBegin {
  /** Number of the connection: a later one is greater. */
  readonly sequence: number;
  readonly at: number;
  readonly address: string;
  readonly mqttVersion: string;
  readonly sdkVersion: string | undefined;
}

export interface SessionEnd {
  readonly sequence: number;
  readonly at: number;
  /** When the last packet was read. */
  readonly lastSeenAt: number;
  readonly reason: string;
}

/** What happened to a device since the last batch: the newest begin, the newest end, or both. */
export interface PresenceChange {
  readonly device: DeviceId;
  readonly begin?: SessionBegin | undefined;
  readonly end?: SessionEnd | undefined;
}

export interface PresenceStore {
  /**
   * A broker starts, and has no sessions: devices that it left online are offline, last seen when it wrote that last. Resolves with
   * their number.
   */
  resetPresence(broker: string): Promise<number>;
  /** One transaction. Ignores devices that do not exist. */
  recordPresence(broker: string, changes: readonly PresenceChange[]): Promise<void>;
}

/** Reason of a session whose end nobody recorded. */
export const SERVER_LOST = 'server_lost';

const RESET_AT_ONCE = 1_000;

export function createPresenceStore(database: RegistryDatabase): PresenceStore {
  return {
    resetPresence: async (broker) => {
      let reset = 0;
      for (let after = ''; ; ) {
        const from = after;
        const { changed, last } = await database.write((tx) => resetSome(tx, broker, from));
        reset += changed;
        if (last === undefined) return reset;
        after = last;
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    recordPresence: async (broker, changes) => {
      // In one order, so that the batches of two brokers rarely wait for each other.
      const sorted = [...changes].sort((a, b) => (a.device < b.device ? -1 : 1));
      await database.write(function* (tx) {
        yield* recordBegins(tx, broker, sorted);
        yield* recordEnds(tx, sorted);
      });
    },
  };
}

/** `last`: undefined when there are no more behind it. */
function* resetSome(
  tx: Transaction,
  broker: string,
  after: string,
): Steps<{ readonly changed: number; readonly last: string | undefined }> {
  const found = yield* tx.all<{ readonly id: string }>(
    'SELECT id FROM devices WHERE online = 1 AND id > @after AND broker = @broker ORDER BY id LIMIT @most',
    { broker, after, most: RESET_AT_ONCE },
  );
  const last = found.at(-1)?.id;
  if (last === undefined) return { changed: 0, last };
  // Not those that have connected to another broker meanwhile.
  const changed = yield* tx.run(
    `UPDATE devices SET online = 0, disconnected_at = @now, disconnect_reason = @reason
     WHERE online = 1 AND id > @after AND id <= @last AND broker = @broker`,
    { broker, after, last, now: tx.now, reason: SERVER_LOST },
  );
  return { changed, last: found.length < RESET_AT_ONCE ? undefined : last };
}

function* recordBegins(tx: Transaction, broker: string, changes: readonly PresenceChange[]): Steps<void> {
  yield* tx.runEach(
    `UPDATE devices SET online = 1, broker = @broker, connection = @sequence, connected_at = @at, last_seen_at = @at,
       last_address = @address, address_key = @key, mqtt_version = @mqttVersion, sdk_version = @sdkVersion
     WHERE id = @device AND deleted_at IS NULL`,
    changes.flatMap(({ device, begin }) =>
      begin === undefined
        ? []
        : { ...begin, device, broker, key: addressKey(begin.address) ?? null, sdkVersion: begin.sdkVersion ?? null },
    ),
  );
}

/** A session that another one has taken over ends without taking the device offline. */
function* recordEnds(tx: Transaction, changes: readonly PresenceChange[]): Steps<void> {
  yield* tx.runEach(
    `UPDATE devices SET online = CASE WHEN connection = @sequence THEN 0 ELSE online END,
       last_seen_at = CASE WHEN last_seen_at > @lastSeenAt THEN last_seen_at ELSE @lastSeenAt END,
       disconnected_at = @at, disconnect_reason = @reason
     WHERE id = @device AND deleted_at IS NULL`,
    changes.flatMap(({ device, end }) => (end === undefined ? [] : { ...end, device })),
  );
}

export interface PresenceRow {
  readonly online: 0 | 1;
  readonly broker: string | null;
  readonly connected_at: number | null;
  readonly last_seen_at: number | null;
  readonly last_address: string | null;
  readonly mqtt_version: string | null;
  readonly sdk_version: string | null;
  readonly disconnected_at: number | null;
  readonly disconnect_reason: string | null;
}

/** Undefined for a device that never connected. */
export function readPresence(row: PresenceRow): DevicePresence | undefined {
  const { connected_at: connectedAt, last_seen_at: lastSeenAt } = row;
  if (connectedAt === null || lastSeenAt === null) return undefined;
  return {
    isOnline: row.online === 1,
    broker: row.broker ?? '',
    connectedAt,
    lastSeenAt,
    address: row.last_address ?? '',
    mqttVersion: row.mqtt_version ?? '',
    ...(row.sdk_version !== null && { sdkVersion: row.sdk_version }),
    ...(row.disconnected_at !== null &&
      row.disconnect_reason !== null && { lastDisconnect: { at: row.disconnected_at, reason: row.disconnect_reason } }),
  };
}
