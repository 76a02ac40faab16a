/** Roles of the database for single nodes, on a real PostgreSQL. */

import { expect, it } from 'vitest';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { USER } from '../../test/fixtures/postgres-template.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { PostgresDatabase } from './database.ts';
import { NodeRoles, nodeRoleName } from './node-roles.ts';
import { createPasswordVerifier } from './password-verifier.ts';

describeWithClients('a role for a node', ['postgres'], () => {
  const postgres = suitePostgres();
  const ask = (sql: string) => postgres().primary.ask(sql);

  it('acts as the fleet from its login on, and ends with its connections, as far as the fleet may do that', async () => {
    const database = await postgres().open();
    const roles = new NodeRoles(database);
    const name = nodeRoleName('node-1');
    await expect(roles.create(name)).rejects.toMatchObject({
      code: 'database_roles_refused',
      message: expect.stringContaining('ALTER ROLE "rollcall" CREATEROLE'),
    });
    await ask(`ALTER ROLE ${USER} CREATEROLE`);
    await roles.create(name);
    const { schema } = database;
    const node = new PostgresDatabase(postgres().settings({ schema, user: name, password: () => 'chosen-there' }));
    try {
      await expect(node.query('SELECT 1')).rejects.toMatchObject({ code: 'database_access_refused' });
      await roles.enable(name, createPasswordVerifier('chosen-there'));
      await node.execute('CREATE TABLE made_by_a_node (id BIGINT)');
      expect((await node.query('SELECT current_user::text AS who')).rows).toEqual([{ who: USER }]);

      const end = expect.stringContaining('pg_terminate_backend');
      expect(await roles.remove(name)).toEqual({ role: 'dropped', connections: 'kept', sql: [end] });
      await expect(roles.create(`${name}; DROP`)).resolves.toBeUndefined(); // a name is quoted
      expect(await roles.remove(`${name}; DROP`)).toMatchObject({ role: 'dropped' });
    } finally {
      await node.close();
    }
  });

  it('has its connections ended where the fleet may signal them', async () => {
    await ask(`ALTER ROLE ${USER} CREATEROLE`);
    await ask(`GRANT pg_signal_backend TO ${USER}`);
    const database = await postgres().open();
    const roles = new NodeRoles(database);
    const name = nodeRoleName('node-2');
    await roles.create(name);
    await roles.enable(name, createPasswordVerifier('chosen-there'));
    const settings = postgres().settings({ schema: database.schema, user: name, password: () => 'chosen-there' });
    const node = new PostgresDatabase({ ...settings, timeouts: { ...settings.timeouts, retry: 100 } as never });
    try {
      await node.query('SELECT 1');
      expect(await roles.remove(name)).toEqual({ role: 'dropped', connections: 'ended', sql: [] });
      await expect(node.query('SELECT 1')).rejects.toMatchObject({ code: 'database_access_refused' });
    } finally {
      await node.close();
    }
  });

  it('takes nothing but a verifier as password', async () => {
    const roles = new NodeRoles(await postgres().open());
    await expect(roles.enable('x', "'; DROP ROLE x; --")).rejects.toThrow(RangeError);
  });
});
