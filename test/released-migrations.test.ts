/**
 * Migrations on PostgreSQL do not change once a fleet has made them: its tables would be others than those of a new one, under the same version.
 * What is new is a migration of its own (CONTRIBUTING.md).
 */

import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { fleetTables } from '../server/cluster/fleet-tables.ts';

/** Of each set: the number of the migration, and a digest of its statements. New ones are added with the release that has them. */
const MADE = [
  'leases 1: 8cdd779bb33ba96a, for code of version 1 or newer',
  'leases 2: 9e36586071bc0ab7, for code of version 1 or newer',
  'nodes 1: 0d7b152e970f1085, for code of version 1 or newer',
  'nodes 2: 9b617168777a3e46, for code of version 1 or newer',
  'nodes 3: 03553976d0bbe4ec, for code of version 1 or newer',
  'nodes 4: 85c9773637168a2b, for code of version 1 or newer',
  'cursors 1: c060b3fc4d968d31, for code of version 1 or newer',
  'store_note 1: 2c3e805e257d4e14, for code of version 1 or newer',
  'store_generations 1: 9f9c17de5401fb37, for code of version 1 or newer',
  'registry 1: eb8513ddb4c18bcb, for code of version 1 or newer',
  'registry 2: bbf772cd5fea454a, for code of version 2 or newer',
  'registry 3: 7076879eb8bff2e9, for code of version 2 or newer',
  'registry 4: 91624c9b0a3fbb59, for code of version 2 or newer',
  'registry 5: 08432a6dacb2f7e0, for code of version 2 or newer',
  'sessions 1: ac0e7ce8f3797571, for code of version 1 or newer',
  'sessions 2: e40c582db8984a1a, for code of version 2 or newer',
  'telemetry_journal 1: b5bf04c6a6be0fa0, for code of version 1 or newer',
  'events_journal 1: 0b1213eb985ce707, for code of version 1 or newer',
];

it('each migration of a shared store is as it was when it was added', () => {
  const made = fleetTables().flatMap(({ name, migrations }) =>
    migrations.map(({ sql, oldest }, index) => {
      const statements = sql.replace(/--.*$/gm, '').replace(/\s+/g, ' ').trim();
      const digest = createHash('sha256').update(statements).digest('hex').slice(0, 16);
      return `${name} ${index + 1}: ${digest}, for code of version ${oldest} or newer`;
    }),
  );
  expect(made).toEqual(expect.arrayContaining(MADE));
});
