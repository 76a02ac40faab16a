/** Backup and restore of a data directory. */

export { backUp } from './backup.ts';
export { withDatabaseSnapshot } from './database-copy.ts';
export { restore } from './restore.ts';
export { type BackupSigner, readPublicKey } from './signature.ts';
