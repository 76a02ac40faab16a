/**
 * The rows of all sessions as changes that write them into another store. Ids of bodies and queue entries are counted anew, in their
 * order: the other store gives ids of its own, and each move would make them greater.
 */

import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SessionChange } from './session-changes.ts';
import type { SessionRows } from './session-rows.ts';

/** `idOf`: the id of the row with this place in the order, from 1 on. */
export function* changesOfRows(rows: SessionRows, idOf: (place: number) => number): Generator<SessionChange> {
  const { sessions, subscriptions, incoming, retained, wills } = rows;
  for (const one of sessions) {
    yield { name: 'putSession', values: [one.client_id, one.owner, one.about, one.away_since, one.expiry] };
  }
  for (const one of subscriptions) {
    const options = [one.no_local, one.retain_as_published, one.retain_handling, one.subscription_identifier];
    yield { name: 'putSubscription', values: [one.client_id, one.filter, one.qos, ...options] };
  }
  const { bodies, queued, bodyIds } = inOrder(rows, idOf);
  for (const one of bodies) {
    const about = [one.properties, one.expires_at, one.publisher];
    const id = bodyIds.get(one.id) as number;
    yield { name: 'putBody', values: [id, one.topic, one.payload, one.qos, one.retain, ...about] };
  }
  for (const [index, one] of queued.entries()) {
    const id = idOf(index + 1);
    const body = one.body === null ? null : (bodyIds.get(one.body) ?? null);
    const about = [one.qos, one.retain, one.subscription_identifiers, one.share];
    yield { name: 'putQueued', values: [id, one.client_id, body, ...about] };
    if (one.packet_id !== null) yield { name: 'numberQueued', values: [one.packet_id, id] };
  }
  for (const one of incoming) yield { name: 'putIncoming', values: [one.client_id, one.packet_id, one.key] };
  for (const one of retained) {
    const about = [one.qos, one.properties, one.expires_at, one.publisher];
    yield { name: 'putRetained', values: [one.topic, one.owner, one.payload, ...about] };
  }
  for (const one of wills) {
    const about = [one.qos, one.retain, one.properties, one.message_expiry, one.delay, one.due_at];
    yield { name: 'putWill', values: [one.client_id, one.about, one.topic, one.payload, ...about] };
  }
}

export interface SessionsDigest {
  /** Rows by what they are. */
  readonly rows: Readonly<Record<keyof SessionRows, number>>;
  /** SHA-256; the same for the same sessions with other ids of bodies and queue entries. */
  readonly hash: string;
}

/** Changes between two turns of the event loop, in which the lease of a migration is renewed. */
const CHANGES_A_TURN = 1_000;

export async function digestOfRows(rows: SessionRows): Promise<SessionsDigest> {
  // Of each change its hash alone: queues of many devices would be in memory twice as texts.
  const hashes: string[] = [];
  for (const { name, values } of changesOfRows(rows, (place) => place)) {
    if (hashes.length % CHANGES_A_TURN === 0) await nextTurn();
    const text = JSON.stringify([
      name,
      ...values.map((value) => (value instanceof Uint8Array ? base64(value) : value)),
    ]);
    hashes.push(createHash('sha256').update(text).digest('base64'));
  }
  const hash = createHash('sha256');
  for (const one of hashes.sort()) hash.update(one);
  return { rows: countRows(rows), hash: hash.digest('hex') };
}

export function countRows(rows: SessionRows): SessionsDigest['rows'] {
  const counts = Object.entries(rows).map(([name, list]) => [name, (list as readonly unknown[]).length]);
  return Object.fromEntries(counts) as SessionsDigest['rows'];
}

/** Clients that have anything in the store beside retained messages. */
export function clientsOf({ sessions, subscriptions, queued, incoming, wills }: SessionRows): ReadonlySet<string> {
  const all = [sessions, subscriptions, queued, incoming, wills];
  return new Set(all.flatMap((rows) => rows.map(({ client_id: clientId }) => clientId)));
}

function inOrder({ bodies, queued }: SessionRows, idOf: (place: number) => number) {
  const sorted = bodies.toSorted((a, b) => a.id - b.id);
  return {
    bodies: sorted,
    queued: queued.toSorted((a, b) => a.id - b.id),
    bodyIds: new Map(sorted.map(({ id }, index) => [id, idOf(index + 1)])),
  };
}

function base64(bytes: Uint8Array): readonly string[] {
  return [Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')];
}
