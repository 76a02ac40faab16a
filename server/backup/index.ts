/** Backups of a data directory, and what restores them. */

export { backUp } from './backup.ts';
export { withDatabaseSnapshot } from './database-copy.ts';
export { restore } from './restore.ts';
export { type BackupSigner, readPublicKey } from './signature.ts';
