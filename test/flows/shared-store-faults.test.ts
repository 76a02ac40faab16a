/** Faults of the database that nodes share, while a node runs: nothing counts as stored meanwhile, and the node goes on by itself afterwards. */

import { randomBytes } from 'node:crypto';
import { chownSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { expect, it } from 'vitest';
import { sharedStore } from '../fixtures/cluster-node.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { postgresCluster, suitePostgres } from '../fixtures/postgres-cluster.ts';
import { postgresOwner } from '../fixtures/postgres-programs.ts';
import { PASSWORD, USER } from '../fixtures/postgres-template.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { smallDisk } from '../fixtures/small-disk.ts';

const STARTS_MS = 180_000;
const MIB = 1024 * 1024;

describeWithClients('a node whose database', ['postgres'], () => {
  const postgres = suitePostgres({ standbys: 2 });

  /** Messages that are sent and not acknowledged yet. */
  function publisher(client: MqttClient) {
    const pending = new Set<Promise<unknown>>();
    let sent = 0;
    return {
      pending,
      sent: () => sent,
      send: (payload: Buffer) => {
        sent += 1;
        const stored: Promise<unknown> = client.publishAsync('devices/pump-1/telemetry/heat', payload, { qos: 1 });
        pending.add(stored);
        return stored.finally(() => pending.delete(stored));
      },
    };
  }

  async function nodeWithPump(cluster = postgres(), standbys = '1') {
    const store = await sharedStore(cluster);
    const node = await store.node('a', { environment: { ROLLCALL_STORE_STANDBYS: standbys } });
    const client = await connectMqtt(await node.enroll('pump-1'), { keepalive: 0 });
    const stored = async () => (await node.operator.queryTelemetry({ device: 'pump-1', limit: 1_000 })).length;
    return { store, node, ...publisher(client), stored };
  }

  it(
    'refuses its password, or another connection, is not heard and says why, until the file and the limit are corrected',
    async () => {
      const { store, node, send, pending, stored } = await nodeWithPump();
      const { primary } = postgres();
      const endConnections = () =>
        primary.ask(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${USER}'`);
      await send(Buffer.from('before'));

      await primary.ask(`ALTER ROLE ${USER} PASSWORD 'another one'`);
      await endConnections();
      await node.server.untilLogged('database_access_refused');
      await node.server.untilLogged('this node is deaf');
      const first = send(Buffer.from('with the former password'));
      expect(pending.size).toBe(1);
      writeFileSync(store.settings.ROLLCALL_STORE_PASSWORD_FILE as string, 'another one');
      await first;

      await primary.ask(`ALTER ROLE ${USER} PASSWORD '${PASSWORD}' CONNECTION LIMIT 0`);
      writeFileSync(store.settings.ROLLCALL_STORE_PASSWORD_FILE as string, PASSWORD);
      await endConnections();
      await node.server.untilLogged('53300: too many connections');
      const second = send(Buffer.from('without a connection'));
      expect(pending.size).toBe(1);
      await primary.ask(`ALTER ROLE ${USER} CONNECTION LIMIT -1`);
      await second;
      await expect.poll(stored).toBe(3);
    },
    STARTS_MS,
  );

  it(
    'has lost one standby of two goes on, and waits without both of them',
    async () => {
      const { node, send, pending, stored } = await nodeWithPump();
      const [one, other] = postgres().standbys;
      one?.freeze();
      await send(Buffer.from('with one standby'));
      other?.freeze();
      await node.server.untilLogged('this node is deaf');
      const waiting = send(Buffer.from('without a standby'));
      expect(pending.size).toBe(1);
      other?.thaw();
      await waiting;
      one?.thaw();
      await expect.poll(stored).toBe(2);
    },
    STARTS_MS,
  );

  it(
    'has a full disk acknowledges nothing that is not stored, and goes on when there is space',
    async ({ skip }) => {
      const disk = smallDisk(64 * MIB);
      if (disk === undefined) return skip('expected the right to mount a file system');
      const { uid, gid } = postgresOwner();
      if (uid !== undefined) chownSync(disk, uid, gid as number);
      // A standby on this machine would have its files in the same place.
      const cluster = await postgresCluster();
      const { primary } = cluster;
      await primary.ask(`CREATE TABLESPACE small LOCATION '${disk}'`);
      await primary.ask(`GRANT CREATE ON TABLESPACE small TO ${USER}`);
      await primary.ask(`ALTER ROLE ${USER} SET default_tablespace = small`);
      const { node, send, pending, sent, stored } = await nodeWithPump(cluster, '0');
      const another = join(disk, 'of another program');
      fill(another);
      const isHeld = node.server.untilLogged('53100: could not extend file').then(() => true);
      while (!(await Promise.race([isHeld, send(randomBytes(100_000)).then(() => false)])));
      expect(pending.size).toBe(1);
      rmSync(another);
      await Promise.all(pending);
      await expect.poll(stored).toBe(sent());
    },
    STARTS_MS,
  );
});

/** Takes all space that is left. */
function fill(path: string): void {
  for (;;) {
    try {
      writeFileSync(path, Buffer.alloc(16_384), { flag: 'a' });
    } catch {
      return;
    }
  }
}
