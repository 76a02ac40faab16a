/** Devices and services that would have no valid certificate, or may not know a root, after a step of a rotation. Read only. */

import type { DeviceId, Identity, ServiceName } from '@rollcall/protocol';
import type { SqlValue, Steps, Transaction } from '../transaction.ts';
import type { IssuerRecord } from './issuers.ts';

const HOLDERS = ['device_id', 'service_name'] as const;
type Holder = (typeof HOLDERS)[number];

/** Selects the names of holders of one kind; undefined selects none. */
interface HolderQuery {
  readonly sql: (holder: Holder) => string;
  readonly values: Readonly<Record<string, SqlValue>>;
}

/** Whom the retirement of this CA leaves without a valid certificate; of a root, those that may trust no other. */
export function* strandedBy(tx: Transaction, ca: IssuerRecord | undefined): Steps<HolderQuery | undefined> {
  if (ca?.role !== 'root') return ca && withoutOther(ca.id);
  const successor = yield* tx.get<{ prepared_at: number }>(
    `SELECT prepared_at FROM issuers WHERE role = 'root' AND state = 'active' AND id <> @id`,
    { id: ca.id },
  );
  if (successor === undefined || ca.state === 'prepared') return undefined;
  return notSeenSince(successor.prepared_at);
}

/** Holders that got no certificate since a root was made may not know it. */
export function notSeenSince(at: number): HolderQuery {
  return {
    values: { at },
    sql: (holder) =>
      `SELECT ${holder} AS name FROM certificates
       WHERE ${holder} IS NOT NULL AND revoked_at IS NULL AND not_after > @now GROUP BY ${holder} HAVING max(issued_at) < @at`,
  };
}

/** Holders without a valid certificate of another CA that is not being retired. */
function withoutOther(id: string): HolderQuery {
  return {
    values: { id },
    sql: (holder) =>
      `SELECT DISTINCT held.${holder} AS name FROM certificates AS held
       WHERE held.issuer_id = @id AND held.${holder} IS NOT NULL AND held.revoked_at IS NULL AND held.not_after > @now
         AND NOT EXISTS (
           SELECT 1 FROM certificates AS other JOIN issuers ON issuers.id = other.issuer_id
           WHERE other.${holder} = held.${holder} AND other.issuer_id <> @id AND other.revoked_at IS NULL
             AND other.not_after > @now AND issuers.state IN ('prepared', 'active', 'outgoing'))`,
  };
}

export function* countHolders(tx: Transaction, query: HolderQuery | undefined): Steps<number> {
  if (query === undefined) return 0;
  let count = 0;
  for (const holder of HOLDERS) {
    const sql = `SELECT count(*) AS n FROM (${query.sql(holder)}) AS holders`;
    count += (yield* tx.get<{ n: number }>(sql, { ...query.values, now: tx.now }))?.n ?? 0;
  }
  return count;
}

/** Devices first, each kind in the order of its names. */
export function* listHolders(
  tx: Transaction,
  query: HolderQuery | undefined,
  most: number,
): Steps<readonly Identity[]> {
  if (query === undefined) return [];
  const listed: Identity[] = [];
  for (const holder of HOLDERS) {
    const rows = yield* tx.all<{ name: string }>(
      `SELECT name FROM (${query.sql(holder)}) AS holders ORDER BY name LIMIT @most`,
      { ...query.values, now: tx.now, most: most - listed.length },
    );
    for (const { name } of rows) {
      listed.push(
        holder === 'device_id'
          ? { kind: 'device', id: name as DeviceId }
          : { kind: 'service', name: name as ServiceName },
      );
    }
  }
  return listed;
}
