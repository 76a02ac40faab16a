/** Moves a fleet from its data directory to a store that several nodes share, and back. No server uses either meanwhile. */

import { countDataDirectory, countSharedStore } from './count-fleet.ts';
import type { MigrationOptions, MigrationReport } from './migration.ts';
import { moveToDataDirectory } from './to-data-directory.ts';
import { moveToSharedStore } from './to-shared-store.ts';

export type { MigrationOptions, MigrationReport };

export type Direction = 'to the shared store' | 'to the data directory';

/** Throws what the stores throw; then the fleet is where it was, or running it again ends what has begun. */
export function moveFleet(direction: Direction, options: MigrationOptions): Promise<MigrationReport> {
  return direction === 'to the shared store' ? moveToSharedStore(options) : moveToDataDirectory(options);
}

/** What would be moved. Changes nothing. */
export function countFleet(direction: Direction, options: MigrationOptions): Promise<MigrationReport> {
  return direction === 'to the shared store' ? countDataDirectory(options) : countSharedStore(options);
}
