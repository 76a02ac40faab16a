/** What the doctor finds out about the store that several nodes share, of a server that runs or of one that does not. */

import type { Finding } from '../../console/index.ts';
import {
  examinePostgres,
  NodeRecords,
  PostgresDatabase,
  type PostgresExamination,
  readStoreNote,
} from '../../storage/postgres/index.ts';
import { isSkewed } from '../cluster/clock-skew.ts';
import { nodeNameOf } from '../cluster/node-settings.ts';
import type { Config } from '../config/config.ts';
import { configuredStore } from '../config/store-settings.ts';
import { expectUsable } from '../migration/usable-store.ts';
import { failed, ok, problemFinding, warning } from './machine-findings.ts';

/** `now`: milliseconds since the epoch. Never rejects because of what it finds. */
export async function sharedStoreFindings(
  database: PostgresDatabase,
  config: Pick<Config, 'store'>,
  now: () => number,
): Promise<readonly Finding[]> {
  try {
    const found = await examinePostgres(database, now);
    return [storeFinding(found, config.store.standbys), storeClockFinding(found)];
  } catch (error) {
    return [problemFinding('store', error)];
  }
}

/** Of a node that does not run: connects as it would at its start. */
export async function stoppedNodeFindings(config: Pick<Config, 'store' | 'node'>): Promise<readonly Finding[]> {
  let database: PostgresDatabase | undefined;
  try {
    const name = nodeNameOf(config);
    database = new PostgresDatabase({ ...configuredStore(config.store, Date.now), applicationName: 'rollcall doctor' });
    const findings = await sharedStoreFindings(database, config, Date.now);
    if (findings.some(({ outcome }) => outcome === 'failed')) return findings;
    return [...findings, ...(await migrationFindings(database)), await nameFinding(database, name)];
  } catch (error) {
    return [problemFinding('store', error)];
  } finally {
    await database?.close();
  }
}

function storeFinding(found: PostgresExamination, wanted: number): Finding {
  const { version, tls, demandedStandbys, connectedStandbys, lagMs, bytes } = found;
  const lag = lagMs === undefined ? '' : `, the last one ${lagMs} ms behind`;
  const standbys = `${demandedStandbys} of its standbys confirm each commit, ${connectedStandbys} are connected${lag}`;
  const text = `PostgreSQL ${version} over ${tls ?? 'plaintext'}; ${standbys}; ${(bytes / 1_048_576).toFixed(1)} MiB`;
  if (connectedStandbys < demandedStandbys) {
    return failed('store', `${text}: commits wait, and nothing is acknowledged`, 'start a standby');
  }
  if (wanted === 0 && demandedStandbys === 0) {
    const fix = 'add standbys, and set store.standbys (docs/grow-beyond-one-machine.md)';
    return warning('store', `${text}: what is acknowledged is lost with its disk`, fix);
  }
  return ok('store', text);
}

function storeClockFinding({ clock }: PostgresExamination): Finding {
  const found = `${Math.round(-clock.skew)} ms ahead of the database's, to within ${Math.ceil(clock.uncertainty)} ms`;
  if (!isSkewed(clock)) return ok('store clock', found);
  return warning('store clock', found, 'set the clock (timedatectl set-ntp true), here or on the database');
}

/** Only of a store whose fleet has moved away, or is being moved into it: a node refuses it. */
async function migrationFindings(database: PostgresDatabase): Promise<readonly Finding[]> {
  const note = await readStoreNote(database).catch(() => undefined); // no node has made the tables yet
  try {
    expectUsable(note);
    return [];
  } catch (error) {
    return [problemFinding('migration', error)];
  }
}

async function nameFinding(database: PostgresDatabase, name: string): Promise<Finding> {
  const records = new NodeRecords(database, name, () => performance.now());
  const nodes = await records.list().catch(() => []); // no node has made the tables yet
  const known = nodes.find((node) => node.name === name);
  if (known === undefined) return ok('node name', `no node has the name ${name} yet`);
  if (known.removedAt !== undefined)
    return failed('node name', `an operator removed the node ${name}`, '--node-name NAME');
  if (known.liveness.state === 'alive') {
    return failed('node name', `another process runs as the node ${name}`, 'stop it, or choose another --node-name');
  }
  return ok('node name', `${name}, which no process has now`);
}
