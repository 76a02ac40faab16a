/**
 * A seeded fault, loaded before the program of a node: the warning with which a commit ends that no standby has is not seen, and neither is that
 * the database lacks renewals of its lease, or commits that were confirmed, after a failover.
 */

import { PostgresConnection } from '../../storage/postgres/connection.ts';
import { PostgresDatabase } from '../../storage/postgres/database.ts';
import { LeaseTable } from '../../storage/postgres/leases.ts';

PostgresConnection.prototype.takeCommitWarning = () => undefined;
PostgresDatabase.prototype.checkConnections = () => {};

const { renew } = LeaseTable.prototype;
let renewals = 1_000_000;
LeaseTable.prototype.renew = async function (leases) {
  const held = await renew.call(this, leases);
  renewals += 1;
  return new Map([...held.keys()].map((name) => [name, renewals]));
};
