/** Whether this host reaches the database of the fleet by its own credentials, before a server is started. */

import { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { Config } from '../config/config.ts';
import { configuredStore } from '../config/store-settings.ts';

/** Throws what connecting throws, and Problem `database_settings_refused`. */
export async function expectStore(store: Config['store'], now: () => number): Promise<void> {
  const database = new PostgresDatabase({ ...configuredStore(store, now), applicationName: 'rollcall node join' });
  try {
    await database.check();
  } finally {
    await database.close();
  }
}
